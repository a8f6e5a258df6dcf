//! Label selectors: `app=web,tier in (a,b),!debug,replicas>2`.

use orlop_kinds::labels::Requirement;

use crate::status::Status;

/// A conjunction of requirements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Parses a selector; the empty one matches everything.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let parsed = orlop_kinds::LabelSelector::parse(text);
        parsed.map(|selector| Self(selector.requirements().to_vec())).map_err(|e| Status::bad_request(e.to_string()))
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Matches against the values that `label` gives.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| requirement.selects(label(&requirement.key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        LabelSelector::parse(selector).unwrap().matches(|k| labels.iter().find(|(l, _)| *l == k).map(|(_, v)| *v))
    }

    #[test]
    fn each_operator_does_what_it_says() {
        let web = [("app", "web"), ("n", "3")];
        for yes in [
            "",
            "app",
            "app=web",
            "app==web",
            "app in (web, db)",
            "app notin (db)",
            "!debug",
            "debug!=on",
            "n>2",
            "n<4",
            "app=web,n in (3)",
        ] {
            assert!(matches(yes, &web), "{yes}");
        }
        for no in ["debug", "app=db", "app!=web", "app notin (web)", "!app", "n>3", "n<3", "app=web,debug", "x>1"] {
            assert!(!matches(no, &web), "{no}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["a b", "a in b", "=x", "a in (b", "n>x", "a,,b", "a===b"] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().code, 400, "{text}");
        }
    }
}
