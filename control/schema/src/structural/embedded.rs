//! Objects within an object: where a schema has them, whoever knows metadata finds them.

use serde_json::Value;

use super::Structural;

impl Structural {
    /// Shows every embedded object below a value, with its path, until one is refused. The value itself is not shown.
    pub fn visit_embedded<E>(
        &self,
        value: &mut Value,
        visit: &mut impl FnMut(&str, &mut Value) -> Result<(), E>,
    ) -> Result<(), E> {
        self.walk_embedded(value, &mut String::new(), visit)
    }

    fn walk_embedded<E>(
        &self,
        value: &mut Value,
        path: &mut String,
        visit: &mut impl FnMut(&str, &mut Value) -> Result<(), E>,
    ) -> Result<(), E> {
        let length = path.len();
        match value {
            Value::Object(map) => {
                for (name, value) in map.iter_mut() {
                    let Some(node) = self.field(name) else { continue };
                    if length > 0 {
                        path.push('.');
                    }
                    path.push_str(name);
                    if node.embedded && value.is_object() {
                        visit(path, value)?;
                    }
                    node.walk_embedded(value, path, visit)?;
                    path.truncate(length);
                }
            }
            Value::Array(items) => {
                let Some(node) = &self.items else { return Ok(()) };
                for (at, value) in items.iter_mut().enumerate() {
                    path.push_str(&format!("[{at}]"));
                    if node.embedded && value.is_object() {
                        visit(path, value)?;
                    }
                    node.walk_embedded(value, path, visit)?;
                    path.truncate(length);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn embedded_objects_are_shown_with_their_paths() {
        let inner = json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
        let schema = json!({"type": "object", "properties": {
            "one": inner, "list": {"type": "array", "items": inner}, "map": {"type": "object", "additionalProperties": inner}}});
        let schema = Structural::parse(&schema).unwrap();
        let mut value = json!({"one": {}, "list": [{}, "x", {}], "map": {"a": {}}, "other": {}});
        let mut seen = Vec::new();
        let all: Result<(), ()> = schema.visit_embedded(&mut value, &mut |path, _| {
            seen.push(path.to_owned());
            Ok(())
        });
        assert_eq!((all, seen.join(" ")), (Ok(()), "one list[0] list[2] map.a".into()));
    }
}
