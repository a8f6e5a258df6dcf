//! Field selectors: `metadata.name=a,status.phase!=Running`, with the escapes and error texts of `k8s.io/apimachinery/pkg/fields`.
//! Which labels a kind supports is said by [`crate::Kind::field_value`].
use std::fmt;
use thiserror::Error;

/// A field selector that cannot be read or that the kind does not support, in Kubernetes' words.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct FieldSelectorError(pub String);

/// One `field=value` or `field!=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The field's label, e.g. `spec.nodeName`.
    pub field: String,
    /// Whether it must equal (or else differ).
    pub equals: bool,
    /// The value, unescaped.
    pub value: String,
}

/// A conjunction of terms; none selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// The terms, sorted as written.
    pub terms: Vec<Term>,
}

impl FieldSelector {
    /// Reads the string form.
    pub fn parse(selector: &str) -> Result<Self, FieldSelectorError> {
        let mut parts = split_terms(selector);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let (field, equals, value) = split_term(part).ok_or_else(|| {
                FieldSelectorError(format!("invalid selector: '{selector}'; can't understand '{part}'"))
            })?;
            terms.push(Term { field: field.to_owned(), equals, value: unescape(value)? });
        }
        Ok(Self { terms })
    }

    /// Whether it restricts nothing.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an object is selected whose fields `value` reads ("" for an absent one).
    pub fn matches(&self, value: impl Fn(&str) -> String) -> bool {
        self.terms.iter().all(|term| (value(&term.field) == term.value) == term.equals)
    }

    /// The value that a field must have, when the selector fixes one (`metadata.name=x`).
    pub fn requires_exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equals && term.field == field).map(|term| term.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if term.equals { "=" } else { "!=" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

/// Splits at commas that no backslash escapes.
fn split_terms(selector: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, c) in selector.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&selector[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (index, _) in term.char_indices() {
        for (operator, equals) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = term[index..].strip_prefix(operator) {
                return Some((&term[..index], equals, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    let bad =
        |sequence: String| FieldSelectorError(format!("invalid field selector: invalid escape sequence: {sequence}"));
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                Some(next) => return Err(bad(format!("\\{next}"))),
                None => return Err(bad("\\".to_owned())),
            },
            ',' | '=' => {
                return Err(FieldSelectorError(format!(
                    "invalid field selector: unescaped character in value: {}",
                    c as u32
                )));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_split_unescaped_and_printed_again() {
        let selector = FieldSelector::parse("x=a,y!=b\\,c,z==d\\=e").unwrap();
        assert_eq!(selector.to_string(), "x=a,y!=b\\,c,z=d\\=e");
        assert_eq!(selector.terms[1], Term { field: "y".into(), equals: false, value: "b,c".into() });
        assert_eq!(selector.requires_exact("z"), Some("d=e"));
        assert_eq!(FieldSelector::parse("").unwrap(), FieldSelector::default());
    }

    #[test]
    fn bad_selectors_say_why() {
        for (written, message) in [
            ("x", "invalid selector: 'x'; can't understand 'x'"),
            ("x=a\\z", "invalid field selector: invalid escape sequence: \\z"),
            ("x=a=b", "invalid field selector: unescaped character in value: 61"),
        ] {
            assert_eq!(FieldSelector::parse(written).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn an_absent_field_reads_as_empty() {
        let selector = FieldSelector::parse("spec.nodeName=,status.phase!=Failed").unwrap();
        assert!(selector.matches(|_| String::new()));
        assert!(!selector.matches(|_| "Failed".to_owned()));
    }
}
