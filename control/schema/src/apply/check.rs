//! Whether a configuration that is applied has the form of its type, in the words of `sigs.k8s.io/structured-merge-diff`
//! (`typed/validate.go`): the wrong kind of value, an element that does not say which one it is, one that is there twice.

use std::collections::HashSet;

use serde_json::Value;

use super::set::{Element, Path};
use super::walk::{Shape, Walker};
use crate::{ListTopology, Ty, TypeRef};

impl TypeRef<'_> {
    /// Everything that is wrong with the form of a configuration; fields that the type does not know are not among it.
    pub fn malformed(self, config: &Value) -> Vec<String> {
        let walker = Walker { schema: self.schema() };
        let mut found = Vec::new();
        walker.check_struct(&self.whole(), config, &mut Vec::new(), &mut found);
        found
    }
}

type At = Vec<Element>;

impl<'a> Walker<'a> {
    fn check_struct(self, shape: &Shape<'a>, value: &Value, at: &mut At, found: &mut Vec<String>) {
        let (Shape::Struct(ty), Value::Object(map)) = (shape, value) else { return };
        for (name, value) in map {
            let Some(field) = ty.field(name) else { continue };
            at.push(Element::Field(name.clone()));
            self.check(&field.ty, value, at, found);
            at.pop();
        }
    }

    fn check(self, ty: &'a Ty, value: &Value, at: &mut At, found: &mut Vec<String>) {
        if value.is_null() {
            return;
        }
        let mut wrong = |what: String| found.push(format!("{}: {what}", Path(at.clone())));
        match ty {
            Ty::Any => {}
            Ty::String | Ty::Bytes if !value.is_string() => {
                wrong(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go(value)));
            }
            Ty::Bool if !value.is_boolean() => wrong(format!("expected boolean, got &{{{}}}", go(value))),
            Ty::Int32 | Ty::Int64 | Ty::Double if !value.is_number() => {
                wrong(format!("expected numeric (int or float), got {}", go_type(value)));
            }
            Ty::Ref(id) => match self.schema.get(*id).map(|found| found.get()) {
                Some(ty) if ty.special.is_none() => match value {
                    Value::Object(_) => self.check_struct(&Shape::Struct(ty), value, at, found),
                    _ => wrong(format!("expected map, got &{{{}}}", go(value))),
                },
                _ => {}
            },
            Ty::Map(map) => match value {
                Value::Object(entries) => {
                    for (name, value) in entries {
                        at.push(Element::Field(name.clone()));
                        self.check(&map.value, value, at, found);
                        at.pop();
                    }
                }
                _ => wrong(format!("expected map, got &{{{}}}", go(value))),
            },
            Ty::List(list) => {
                let Value::Array(items) = value else { return wrong(format!("expected list, got &{{{}}}", go(value))) };
                let mut seen = HashSet::new();
                for (index, item) in items.iter().enumerate() {
                    let place = || Path(at.clone());
                    let element = match &list.topology {
                        ListTopology::Atomic => Element::Index(index),
                        ListTopology::Map(_) if !item.is_object() => {
                            let why = "associative list with keys may not have non-map elements";
                            found.push(format!("{}: element {index}: {why}", place()));
                            return;
                        }
                        _ => match self.element(list, item) {
                            Ok(element) => element,
                            Err(error) => {
                                found.push(format!("{}: element {index}: {error}", place()));
                                return;
                            }
                        },
                    };
                    if seen.contains(&element) {
                        let key = Path(vec![element.clone()]);
                        found.push(format!("{}: duplicate entries for key {key}", place()));
                    }
                    at.push(element.clone());
                    seen.insert(element);
                    self.check(&list.item, item, at, found);
                    at.pop();
                }
            }
            _ => {}
        }
    }
}

/// A value as Go prints it: `map[a:1 b:[x y]]`.
pub fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(name, value)| format!("{name}:{}", go(value))).collect();
            entries.sort_unstable();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

/// Its type in Go.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        _ => "int64",
    }
}
