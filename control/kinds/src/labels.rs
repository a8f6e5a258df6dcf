//! Label selectors: the string form of `labels.Parse` (`a=b,c in (d,e),!f`) and the object form (matchLabels, matchExpressions).
use crate::field::{Errors, Path};
use crate::names;
use crate::value::{items, sorted, strings, text};
use serde_json::Value;
use std::fmt;

mod lexer;
mod parser;

pub use parser::ParseError;

/// What a requirement asks of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `k in (v)`
    In,
    /// `k notin (v)`
    NotIn,
    /// `k=v`
    Equals,
    /// `k==v`
    DoubleEquals,
    /// `k!=v`
    NotEquals,
    /// `k`
    Exists,
    /// `!k`
    DoesNotExist,
    /// `k>1`
    GreaterThan,
    /// `k<1`
    LessThan,
}

/// One term of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// The relation.
    pub operator: Operator,
    /// The values, as many as the operator takes.
    pub values: Vec<String>,
}

/// A label selector: all requirements must hold; none selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Reads the string form; the error is Kubernetes' text.
    pub fn parse(selector: &str) -> Result<Self, ParseError> {
        let mut requirements = parser::parse(selector)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// The selector of a plain map of labels (a Service's or ReplicationController's): every pair must be there.
    pub fn from_map(labels: &Value) -> Self {
        let requirements = sorted(labels)
            .into_iter()
            .map(|(key, value)| Requirement {
                key: key.to_owned(),
                operator: Operator::Equals,
                values: vec![text(value).to_owned()],
            })
            .collect();
        Self { requirements, nothing: false }
    }

    /// The selector of a `LabelSelector` object: absent selects nothing, empty everything. `Err` names what is malformed.
    pub fn from_object(selector: &Value) -> Result<Self, String> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        for (key, value) in crate::value::entries(&selector["matchLabels"]) {
            let wrong = [crate::names::qualified_name(key), crate::names::label_value(text(value))].concat();
            if let Some(wrong) = wrong.first() {
                return Err(format!("{key}={}: {wrong}", text(value)));
            }
        }
        let mut requirements = Self::from_map(&selector["matchLabels"]).requirements;
        for expression in items(&selector["matchExpressions"]) {
            let operator = match text(&expression["operator"]) {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(format!("{} is not a valid label selector operator", crate::value::go_quote(other)));
                }
            };
            requirements.push(
                parser::requirement(
                    text(&expression["key"]),
                    operator,
                    strings(&expression["values"]).into_iter().map(str::to_owned).collect(),
                )
                .map_err(|error| error.to_string())?,
            );
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// The terms, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it restricts nothing.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Whether these labels (an object's `metadata.labels`, possibly null) are selected.
    pub fn matches(&self, labels: &Value) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// The value that a key must have, when the selector fixes one.
    pub fn requires_exact(&self, key: &str) -> Option<&str> {
        let requirement = self.requirements.iter().find(|requirement| requirement.key == key)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::In | Operator::Equals | Operator::DoubleEquals, [value]) => Some(value),
            _ => None,
        }
    }
}

impl Requirement {
    /// Whether these labels satisfy it.
    pub fn matches(&self, labels: &Value) -> bool {
        self.selects(labels.get(&self.key).and_then(Value::as_str))
    }

    /// Whether this value of its label (or none) satisfies it.
    pub fn selects(&self, value: Option<&str>) -> bool {
        let has = |value: &str| self.values.iter().any(|v| v == value);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(has),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(has),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let number = |s: &str| s.parse::<i64>().ok();
                match (value.and_then(number), self.values.first().and_then(|v| number(v))) {
                    (Some(have), Some(want)) if self.operator == Operator::GreaterThan => have > want,
                    (Some(have), Some(want)) => have < want,
                    _ => false,
                }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let key = &self.key;
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

/// A LabelSelector object as printers show it: `<none>` when empty, `<error>` when malformed.
pub fn format_selector(selector: &Value) -> String {
    match LabelSelector::from_object(selector) {
        Ok(selector) if selector.requirements.is_empty() => "<none>".to_owned(),
        Ok(selector) => selector.to_string(),
        Err(_) => "<error>".to_owned(),
    }
}

/// A map of labels as printers show it: `a=b,c=d` or `<none>`.
pub fn format_labels(labels: &Value) -> String {
    let pairs: Vec<String> = sorted(labels).into_iter().map(|(k, v)| format!("{k}={}", text(v))).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A LabelSelector as Go writes it whole: a requirement's key and operator always stand there.
pub(crate) fn shown_selector(selector: &Value) -> Value {
    let mut shown = selector.clone();
    for expression in crate::value::items_at(&mut shown, &["matchExpressions"]) {
        let members = ["key", "operator"].map(|member| (member.to_owned(), text(&expression[member]).into()));
        let mut whole = serde_json::Map::from_iter(members);
        if !crate::value::is_empty(&expression["values"]) {
            whole.insert("values".to_owned(), expression["values"].take());
        }
        *expression = whole.into();
    }
    shown
}

/// Checks a map of labels.
pub fn validate_labels(labels: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (key, value) in crate::value::entries(labels) {
        errors.invalid_each(path, key, names::qualified_name(key));
        errors.invalid_each(path, text(value), names::label_value(text(value)));
    }
}

/// Checks a LabelSelector object.
pub fn validate_selector(selector: &Value, path: &Path<'_>, errors: &mut Errors) {
    validate_labels(&selector["matchLabels"], &path.child("matchLabels"), errors);
    let expressions = path.child("matchExpressions");
    for (index, expression) in items(&selector["matchExpressions"]).iter().enumerate() {
        validate_requirement(expression, false, &expressions.index(index), errors);
    }
}

/// Checks one requirement of a LabelSelector object; `any_operator` where one that is not known is for somebody else to judge.
pub(crate) fn validate_requirement(requirement: &Value, any_operator: bool, path: &Path<'_>, errors: &mut Errors) {
    let values = strings(&requirement["values"]);
    let values_path = path.child("values");
    match text(&requirement["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&values_path, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Exists" | "DoesNotExist" => {}
        _ if any_operator => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    let key = text(&requirement["key"]);
    errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
    for (index, value) in values.into_iter().enumerate() {
        errors.invalid_each(&values_path.index(index), value, names::label_value(value));
    }
}

#[cfg(test)]
mod tests;
