//! Label selectors: `app=web,tier in (a,b),!debug,replicas>2`.

use crate::status::Status;

/// A conjunction of requirements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operator {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses a selector; the empty one matches everything.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(unparsable(text, "found ',', expected: identifier"));
            }
            requirements.push(
                requirement(part).ok_or_else(|| {
                    unparsable(text, &format!("found '{part}', expected: in, notin, =, ==, !=, gt, lt"))
                })?,
            );
        }
        Ok(Self(requirements))
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Matches against the values that `label` gives.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| {
            let value = label(&requirement.key);
            match &requirement.operator {
                Operator::Exists => value.is_some(),
                Operator::Absent => value.is_none(),
                Operator::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
                Operator::NotIn(values) => value.is_none_or(|v| !values.iter().any(|w| w == v)),
                Operator::Greater(n) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *n),
                Operator::Less(n) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *n),
            }
        })
    }
}

fn unparsable(text: &str, why: &str) -> Status {
    Status::bad_request(format!("unable to parse requirement: {why} (selector '{text}')"))
}

fn requirement(part: &str) -> Option<Requirement> {
    let make =
        |key: &str, operator| valid_key(key.trim()).then(|| Requirement { key: key.trim().to_owned(), operator });
    if let Some(key) = part.strip_prefix('!') {
        return make(key, Operator::Absent);
    }
    if let Some(open) = part.find('(') {
        let list = part[open + 1..].trim_end().strip_suffix(')')?;
        let values = list.split(',').map(|v| v.trim().to_owned()).collect();
        let mut words = part[..open].split_whitespace();
        let (key, operator) = (words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        return match operator {
            "in" => make(key, Operator::In(values)),
            "notin" => make(key, Operator::NotIn(values)),
            _ => None,
        };
    }
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, value)) = part.split_once("!=") {
        make(key, Operator::NotIn(one(value)))
    } else if let Some((key, value)) = part.split_once("==").filter(|(_, value)| !value.starts_with('=')) {
        make(key, Operator::In(one(value)))
    } else if let Some((key, value)) = part.split_once('=').filter(|(_, value)| !value.starts_with('=')) {
        make(key, Operator::In(one(value)))
    } else if let Some((key, value)) = part.split_once('>') {
        make(key, Operator::Greater(value.trim().parse().ok()?))
    } else if let Some((key, value)) = part.split_once('<') {
        make(key, Operator::Less(value.trim().parse().ok()?))
    } else {
        make(part, Operator::Exists)
    }
}

fn valid_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
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
