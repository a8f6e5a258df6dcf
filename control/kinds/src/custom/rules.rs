//! `x-kubernetes-validations`: the expression language's findings as field errors.
use orlop_cel::crd::{RuleError, RuleErrorKind, Validator, check_schema};
use serde_json::Value;

use crate::field::{ErrorType, Errors, FieldError, Path};

/// Told when values are so wrong that expressions about them say nothing.
const UNCHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// Checks the rules of a schema that is right in everything else.
pub(super) fn check(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    errors.extend(check_schema(schema, &path.to_string()).into_iter().map(field_error));
}

/// The compiled rules of a version.
#[derive(Clone, Debug)]
pub struct Rules(Validator);

impl Rules {
    /// Compiles the rules of an `openAPIV3Schema`; none if it has none.
    pub fn new(schema: &Value) -> Option<Self> {
        Validator::new(schema).map(Self)
    }

    /// Adds what the rules say of an object; `old` is what an update replaces.
    pub fn validate(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        if errors.is_full() {
            return;
        }
        let blocks = |error: &FieldError| {
            use ErrorType::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
            matches!(error.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
        };
        if errors.0.iter().any(blocks) {
            let (kind, field) = (ErrorType::Invalid, "<nil>".to_owned());
            return errors.add(FieldError { kind, field, value: "null".into(), detail: UNCHECKED.into() });
        }
        errors.extend(self.0.validate(object, old).errors.into_iter().map(field_error));
    }
}

/// Adds what the rules of a part of a schema say of its default.
pub(super) fn check_default(schema: &Value, default: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(validator) = Validator::of_part(schema) else { return };
    for error in validator.validate_default(default) {
        let mut error = field_error(error);
        error.field = match error.field.as_str() {
            "<nil>" => path.to_string(),
            inner if inner.starts_with('[') => format!("{path}{inner}"),
            inner => format!("{path}.{inner}"),
        };
        errors.add(error);
    }
}

fn field_error(error: RuleError) -> FieldError {
    let kind = match error.kind {
        RuleErrorKind::Invalid if error.value.is_none() => ErrorType::InvalidUnshown,
        RuleErrorKind::Invalid => ErrorType::Invalid,
        RuleErrorKind::Forbidden => ErrorType::Forbidden,
        RuleErrorKind::Required => ErrorType::Required,
        RuleErrorKind::Duplicate => ErrorType::Duplicate,
        RuleErrorKind::NotSupported => ErrorType::NotSupported,
    };
    let field = if error.path.is_empty() { "<nil>".to_owned() } else { error.path };
    FieldError { kind, field, value: error.value.unwrap_or_default(), detail: error.detail }
}
