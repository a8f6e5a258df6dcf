//! Field selectors: `spec.nodeName=node1,status.phase!=Running`.

use crate::status::Status;

/// A conjunction of comparisons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    path: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Parses a selector; the empty one matches everything.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for part in split(text) {
            if part.is_empty() {
                continue;
            }
            let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, false)
            } else if let Some((path, value)) = part.split_once("==") {
                (path, value, true)
            } else if let Some((path, value)) = part.split_once('=') {
                (path, value, true)
            } else {
                return Err(Status::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            terms.push(Term { path: path.trim().to_owned(), value: unescape(value.trim()), equal });
        }
        Ok(Self(terms))
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths that it names.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|t| t.path.as_str())
    }

    /// The value that a path must have, if it is asked to equal one.
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|t| t.equal && t.path == path).map(|t| t.value.as_str())
    }

    /// Renames a path (the two Event APIs name the same fields differently).
    pub fn rename(&mut self, from: &str, to: &str) {
        for term in &mut self.0 {
            if term.path == from {
                to.clone_into(&mut term.path);
            }
        }
    }

    /// Matches against the values that `field` gives; a missing field is the empty string.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|term| (field(&term.path).unwrap_or_default() == term.value) == term.equal)
    }
}

/// Splits at commas that are not escaped.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                if let Some(last) = parts.last_mut() {
                    last.push('\\');
                    last.extend(chars.next());
                }
            }
            ',' => parts.push(String::new()),
            c => {
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    parts
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c == '\\' { out.extend(chars.next()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_term_must_hold() {
        let selector = FieldSelector::parse("spec.nodeName=n1,status.phase!=Running").unwrap();
        let pod = |node: &'static str, phase: &'static str| {
            selector.matches(move |p| match p {
                "spec.nodeName" => Some(node),
                "status.phase" => Some(phase),
                _ => None,
            })
        };
        assert!(pod("n1", "Pending"));
        assert!(!pod("n1", "Running"));
        assert!(!pod("n2", "Pending"));
    }

    #[test]
    fn a_comma_can_be_escaped() {
        let selector = FieldSelector::parse(r"reason=a\,b").unwrap();
        assert_eq!(selector.exact("reason"), Some("a,b"));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(FieldSelector::parse("nonsense").unwrap_err().code, 400);
    }
}
