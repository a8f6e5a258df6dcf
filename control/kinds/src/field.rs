//! Field errors as Kubernetes' validation reports them: a path, an error type, the offending value and a detail, printed exactly
//! as `k8s.io/apimachinery/pkg/util/validation/field` prints them. [`Errors`] collects; nothing here decides.
use crate::value::go_quote;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt;

/// Why a field is wrong; its `reason()` is the machine-readable cause in a Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// A required value is missing or empty.
    Required,
    /// Two entries collide.
    Duplicate,
    /// The value is malformed.
    Invalid,
    /// The value is malformed and too large to be repeated.
    InvalidUnshown,
    /// The value is none of an enumeration.
    NotSupported,
    /// The value would be accepted under other conditions.
    Forbidden,
    /// The value is too long; it is not repeated in the message.
    TooLong,
    /// The list has too many items.
    TooMany,
    /// A referenced value does not exist.
    NotFound,
    /// The value has another JSON type than the schema says.
    TypeInvalid,
    /// A fault of the server, not of the request.
    Internal,
}

impl ErrorType {
    /// The `reason` of a StatusCause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid | Self::InvalidUnshown => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::InvalidUnshown | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::Internal | Self::InvalidUnshown)
    }
}

/// One field of an object that is not acceptable. `Display` is `path: type: value: detail`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Why.
    pub kind: ErrorType,
    /// Where, e.g. `spec.containers[0].image`.
    pub field: String,
    /// What was there.
    pub value: Value,
    /// What is expected; may be empty.
    pub detail: String,
}

impl FieldError {
    /// The message without the path, as in a StatusCause.
    pub fn body(&self) -> String {
        let mut body = self.kind.text().to_owned();
        if self.kind.shows_value() {
            body.push_str(": ");
            body.push_str(&show(&self.value));
        }
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }

    /// The entry of `status.details.causes`: reason, message and field.
    pub fn to_cause(&self) -> Value {
        json!({"reason": self.kind.reason(), "message": self.body(), "field": self.field})
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A value as Go prints it in a field error: strings quoted, everything else as encoding/json writes it (with `<`, `>`, `&` escaped).
fn show(value: &Value) -> String {
    match value {
        Value::String(s) => go_quote(s),
        Value::Number(_) | Value::Bool(_) | Value::Null => value.to_string(),
        _ => value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
    }
}

/// A field's path, built on the stack while walking an object and printed only when something is wrong.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// A path that starts at the object's root; `name` may be dotted (`spec.template`).
    pub const fn new(name: &'a str) -> Self {
        Self { parent: None, step: Step::Name(name) }
    }

    /// `self.name`; `name` may be dotted, and an empty one is `self` again.
    pub const fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Name(name) }
    }

    /// `self[index]`.
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// `self[key]`.
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = match self.parent {
            Some(parent) => {
                parent.fmt(f)?;
                matches!(parent, Path { parent: None, step: Step::Name("") })
            }
            None => true,
        };
        match self.step {
            Step::Name(name) if root || name.is_empty() => f.write_str(name),
            Step::Name(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// The field errors of one object, in the order in which they were found. What is taken is bounded: an object that is wrong in
/// very many places is refused for the first of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors(pub Vec<FieldError>, Context);

/// What [`Errors`] know beside the errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Context {
    /// How much text was taken.
    text: usize,
    kept: Kept,
}

/// What is refused in new objects, and yet may stay in one that has it already.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Kept {
    /// A pod's policy of changing SELinux labels.
    pub(crate) se_linux_change_policy: bool,
    /// Amounts of huge pages that are no whole number of pages.
    pub(crate) indivisible_huge_pages: bool,
}

/// How many errors are taken.
const ERRORS_MAX: usize = 1000;

/// How many bytes of text are taken before the last error.
const TEXT_MAX: usize = 1 << 20;

/// About how long a value is when it is printed.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(length).sum::<usize>() + list.len(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + length(value) + 1).sum(),
        _ => 4,
    }
}

impl From<Vec<FieldError>> for Errors {
    fn from(errors: Vec<FieldError>) -> Self {
        let mut taken = Self::default();
        taken.extend(errors);
        taken
    }
}

impl Errors {
    /// No errors yet, of an object in whose place is one that has what is `kept`.
    pub(crate) fn keeping(kept: Kept) -> Self {
        Self(Vec::new(), Context { kept, ..Context::default() })
    }

    /// What may stay as it is.
    pub(crate) fn kept(&self) -> Kept {
        self.1.kept
    }

    /// Whether nothing more is taken, so that nobody needs to look for it.
    pub fn is_full(&self) -> bool {
        self.0.len() >= ERRORS_MAX || self.1.text >= TEXT_MAX
    }

    /// Adds an error if there is room for it.
    pub fn add(&mut self, error: FieldError) {
        if !self.is_full() {
            self.1.text += error.field.len() + error.detail.len() + length(&error.value);
            self.0.push(error);
        }
    }

    /// Adds as many errors as there is room for.
    pub fn extend(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        for error in errors {
            if self.is_full() {
                return;
            }
            self.add(error);
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an error of any type.
    pub fn push(&mut self, kind: ErrorType, path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) {
        if !self.is_full() {
            self.add(FieldError { kind, field: path.to_string(), value: value.into(), detail: detail.into() });
        }
    }

    /// `path: Required value: detail`.
    pub fn required(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        self.push(ErrorType::Required, path, Value::Null, detail);
    }

    /// `path: Invalid value: value: detail`.
    pub fn invalid(&mut self, path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(ErrorType::Invalid, path, value, detail);
    }

    /// One [`Self::invalid`] for each message.
    pub fn invalid_each(&mut self, path: &Path<'_>, value: &str, messages: Vec<String>) {
        for message in messages {
            self.invalid(path, value, message);
        }
    }

    /// `path: Duplicate value: value`.
    pub fn duplicate(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.push(ErrorType::Duplicate, path, value, "");
    }

    /// `path: Not found: value`.
    pub fn not_found(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.push(ErrorType::NotFound, path, value, "");
    }

    /// `path: Forbidden: detail`.
    pub fn forbidden(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        self.push(ErrorType::Forbidden, path, Value::Null, detail);
    }

    /// `path: Unsupported value: value: supported values: "A", "B"`.
    pub fn not_supported(&mut self, path: &Path<'_>, value: impl Into<Value>, supported: &[&str]) {
        if self.is_full() {
            return;
        }
        let quoted: Vec<String> = supported.iter().map(|s| go_quote(s)).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        self.push(ErrorType::NotSupported, path, value, detail);
    }

    /// `path: Too long: may not be more than N bytes`.
    pub fn too_long(&mut self, path: &Path<'_>, max: usize) {
        let unit = if max == 1 { "byte" } else { "bytes" };
        self.push(ErrorType::TooLong, path, Value::Null, format!("may not be more than {max} {unit}"));
    }

    /// `path: Too many: N: must have at most M items`.
    pub fn too_many(&mut self, path: &Path<'_>, actual: usize, max: usize) {
        let unit = if max == 1 { "item" } else { "items" };
        self.push(ErrorType::TooMany, path, actual, format!("must have at most {max} {unit}"));
    }

    /// The aggregate as Go prints it: nothing, the one message, or `[a, b]` with repetitions left out.
    pub fn message(&self) -> String {
        let mut seen = HashSet::new();
        let mut messages: Vec<String> = self.0.iter().map(FieldError::to_string).collect();
        messages.retain(|message| seen.insert(message.clone()));
        match messages.as_slice() {
            [one] => one.clone(),
            _ => format!("[{}]", messages.join(", ")),
        }
    }

    /// The whole `Status` (reason Invalid, code 422) for an object of that group and kind, as `errors.NewInvalid` builds it.
    pub fn to_status(&self, group: &str, kind: &str, name: &str) -> Value {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut details = serde_json::Map::new();
        for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                details.insert(key.to_owned(), value.into());
            }
        }
        let mut message = format!("{qualified} {} is invalid", go_quote(name));
        if !self.is_empty() {
            details.insert("causes".to_owned(), self.0.iter().map(FieldError::to_cause).collect());
            message = format!("{message}: {}", self.message());
        }
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": "Invalid", "details": details, "code": 422,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_as_kubernetes_prints_them() {
        let root = Path::new("spec.template");
        let containers = root.child("spec.containers");
        let first = containers.index(0);
        assert_eq!(first.child("image").to_string(), "spec.template.spec.containers[0].image");
        assert_eq!(containers.key("cpu").to_string(), "spec.template.spec.containers[cpu]");
        assert_eq!(Path::new("").child("roleRef").to_string(), "roleRef");
    }

    #[test]
    fn one_error_stands_alone_and_several_stand_in_brackets() {
        let mut errors = Errors::default();
        errors.required(&Path::new("spec.containers").index(0).child("image"), "");
        assert_eq!(errors.message(), "spec.containers[0].image: Required value");
        errors.invalid(&Path::new("metadata.name"), "Foo", "must be \"lower\"");
        errors.not_supported(&Path::new("spec.type"), "X", &["A", "B"]);
        errors.invalid(&Path::new("spec.replicas"), -1, "must be greater than or equal to 0");
        assert_eq!(
            errors.message(),
            "[spec.containers[0].image: Required value, metadata.name: Invalid value: \"Foo\": must be \"lower\", \
             spec.type: Unsupported value: \"X\": supported values: \"A\", \"B\", \
             spec.replicas: Invalid value: -1: must be greater than or equal to 0]"
        );
        let status = errors.to_status("apps", "Deployment", "x");
        assert!(status["message"].as_str().unwrap().starts_with("Deployment.apps \"x\" is invalid: [spec."));
        assert_eq!(status["details"]["causes"][0]["reason"], "FieldValueRequired");
        assert_eq!(status["details"]["causes"][0]["message"], "Required value");
    }

    #[test]
    fn so_many_errors_are_taken_and_no_more() {
        let mut errors = Errors::default();
        (0..2000).for_each(|index| errors.required(&Path::new("spec.list").index(index), ""));
        assert_eq!((errors.0.len(), errors.is_full()), (ERRORS_MAX, true));
        let mut errors = Errors::default();
        let long = "x".repeat(TEXT_MAX / 2);
        (0..9).for_each(|index| errors.invalid(&Path::new("spec.list").index(index), long.as_str(), "is long"));
        assert_eq!(errors.0.len(), 2);
        assert_eq!(Errors::from(vec![errors.0[0].clone(); 9]).0.len(), 2);
    }

    #[test]
    fn a_too_long_value_is_not_repeated() {
        let mut errors = Errors::default();
        errors.too_long(&Path::new("metadata.annotations"), 262144);
        assert_eq!(errors.message(), "metadata.annotations: Too long: may not be more than 262144 bytes");
    }
}
