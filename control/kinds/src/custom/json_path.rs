//! The JSONPath that definitions may use: names joined by dots, with quoted names in brackets, indexes and wildcards (printer
//! columns, scale paths, selectable fields).
use serde_json::Value;

/// A path into an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(i64),
    Each,
    /// `[?(@.name=="value")]`, with `==` or `!=`.
    Filter(Vec<Step>, bool, Value),
}

impl JsonPath {
    /// Parses a path that begins with a dot; none if it is more than this reads.
    pub fn parse(text: &str) -> Option<Self> {
        let steps = steps(text)?;
        Some(Self(steps))
    }

    /// The names, if the path consists of nothing else.
    pub fn names(&self) -> Option<Vec<&str>> {
        self.0.iter().map(|step| if let Step::Name(name) = step { Some(name.as_str()) } else { None }).collect()
    }

    /// The first value that it leads to.
    pub fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        find(&self.0, value)
    }
}

fn find<'a>(steps: &[Step], value: &'a Value) -> Option<&'a Value> {
    let Some((first, rest)) = steps.split_first() else { return Some(value) };
    match first {
        Step::Name(name) => find(rest, value.get(name)?),
        Step::Index(at) => {
            let items = value.as_array()?;
            let at = if *at < 0 { i64::try_from(items.len()).ok()? + at } else { *at };
            find(rest, items.get(usize::try_from(at).ok()?)?)
        }
        Step::Each => children(value).find_map(|child| find(rest, child)),
        Step::Filter(path, equal, wanted) => value
            .as_array()?
            .iter()
            .filter(|item| find(path, item).is_some_and(|found| (found == wanted) == *equal))
            .find_map(|item| find(rest, item)),
    }
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn steps(text: &str) -> Option<Vec<Step>> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = closing(inner)?;
            out.push(bracket(&inner[..end])?);
            rest = &inner[end + 1..];
        } else {
            rest = rest.strip_prefix('.')?;
            let mut name = String::new();
            let mut chars = rest.char_indices();
            let mut end = rest.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => name.extend(chars.next().map(|(_, c)| c)),
                    '.' | '[' => {
                        end = at;
                        break;
                    }
                    c => name.push(c),
                }
            }
            rest = &rest[end..];
            match name.as_str() {
                "" if rest.starts_with('[') || (rest.is_empty() && out.is_empty()) => {}
                "" => return None,
                "*" => out.push(Step::Each),
                _ => out.push(Step::Name(name)),
            }
        }
    }
    Some(out)
}

/// Where the bracket closes: not within quotes, nor within a filter's own brackets.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    let unquoted = |text: &str| -> Option<String> {
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        text.strip_prefix(quote)?.strip_suffix(quote).map(Into::into)
    };
    if inner == "*" {
        return Some(Step::Each);
    }
    if let Some(name) = unquoted(inner) {
        return Some(Step::Name(name));
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        let (left, equal, right) = match (filter.split_once("=="), filter.split_once("!=")) {
            (Some((left, right)), _) => (left, true, right),
            (None, Some((left, right))) => (left, false, right),
            (None, None) => return None,
        };
        let right = right.trim();
        let value = match unquoted(right) {
            Some(text) => Value::String(text),
            None => serde_json::from_str(right).ok()?,
        };
        return Some(Step::Filter(steps(left.trim().strip_prefix('@')?)?, equal, value));
    }
    inner.parse().ok().map(Step::Index)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_to_its_first_value() {
        let object = json!({
            "spec": {"a.b": 1, "list": [{"n": "x"}, {"n": "y"}]},
            "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        for (path, value) in [
            (".spec.list[1].n", json!("y")),
            (".spec.list[-1].n", json!("y")),
            (".spec.list[*].n", json!("x")),
            (".spec['a.b']", json!(1)),
            (".spec.a\\.b", json!(1)),
            (".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
            (".status.conditions[?(@.type!='Ready')].status", json!("False")),
        ] {
            assert_eq!(JsonPath::parse(path).and_then(|p| p.find(&object).cloned()), Some(value), "{path}");
        }
        assert!(JsonPath::parse(".spec.none").unwrap().find(&object).is_none());
        assert!(JsonPath::parse(".spec[").is_none());
        assert!(JsonPath::parse("spec").is_none());
    }
}
