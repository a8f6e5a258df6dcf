//! Which element of one list is the same as one of another. Lists may be long: an element is found by what its keys say, not by
//! looking at all of them.

use std::collections::HashMap;

use serde_json::Value;

/// The same text for equal values.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut parts: Vec<String> =
                map.iter().map(|(k, v)| format!("{}:{}", Value::String(k.clone()), canonical(v))).collect();
            parts.sort();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// The elements of a list of type `map`, by their keys.
#[derive(Debug)]
pub struct Correlation<'a> {
    keys: &'a [String],
    elements: HashMap<String, &'a Value>,
}

impl<'a> Correlation<'a> {
    /// Of several elements with the same keys the first counts.
    pub fn new(keys: &'a [String], elements: &'a [Value]) -> Self {
        let mut by_key = HashMap::with_capacity(elements.len());
        for element in elements {
            by_key.entry(key(keys, element)).or_insert(element);
        }
        Self { keys, elements: by_key }
    }

    /// The element that is the same one.
    pub fn find(&self, element: &Value) -> Option<&'a Value> {
        self.elements.get(&key(self.keys, element)).copied()
    }
}

fn key(keys: &[String], element: &Value) -> String {
    let mut text = String::new();
    for key in keys {
        if let Some(value) = element.get(key) {
            text.push_str(&canonical(value));
        }
        text.push(',');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_element_is_found_by_its_keys() {
        let keys = ["name".to_owned(), "port".to_owned()];
        let olds =
            [json!({"name": "a", "port": 1, "v": 1}), json!({"name": "a", "v": 2}), json!({"name": "a", "v": 3})];
        let correlation = Correlation::new(&keys, &olds);
        assert_eq!(correlation.find(&json!({"port": 1, "name": "a", "v": 9})), Some(&olds[0]));
        assert_eq!(correlation.find(&json!({"name": "a"})), Some(&olds[1]), "the first of those that look alike");
        assert_eq!(correlation.find(&json!({"name": "a", "port": "1"})), None);
        assert_eq!(correlation.find(&json!({"name": "a,", "port": 1})), None);
    }

    #[test]
    fn equal_values_have_one_text() {
        assert_eq!(canonical(&json!({"b": [1, "x"], "a": null})), canonical(&json!({"a": null, "b": [1, "x"]})));
        assert_ne!(canonical(&json!(["a,b"])), canonical(&json!(["a", "b"])));
    }
}
