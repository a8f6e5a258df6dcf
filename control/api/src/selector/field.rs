//! Field selectors: `spec.nodeName=node1,status.phase!=Running`.

use crate::status::Status;

/// A conjunction of comparisons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(orlop_kinds::FieldSelector);

impl FieldSelector {
    /// Parses a selector; the empty one matches everything.
    pub fn parse(text: &str) -> Result<Self, Status> {
        orlop_kinds::FieldSelector::parse(text).map(Self).map_err(|error| Status::bad_request(error.to_string()))
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths that it names.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.terms.iter().map(|term| term.field.as_str())
    }

    /// The value that a path must have, if it is asked to equal one.
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.0.requires_exact(path)
    }

    /// Renames a path (the two Event APIs name the same fields differently).
    pub fn rename(&mut self, from: &str, to: &str) {
        for term in &mut self.0.terms {
            if term.field == from {
                to.clone_into(&mut term.field);
            }
        }
    }

    /// Matches against the values that `field` gives; a missing field is the empty string.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.terms.iter().all(|term| (field(&term.field).unwrap_or_default() == term.value) == term.equals)
    }
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
