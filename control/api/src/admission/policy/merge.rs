//! Apply configurations merged into an object by its type: objects and maps by field, lists by key; what merges only as a whole
//! is not accepted.

use orlop_schema::{ListTopology, Schema, Ty, TypeRef};
use serde_json::{Map, Value};

/// Merges `patch` into an object of a type. `atomics` collects what may not be set.
pub(super) fn merge(
    object: &mut Value,
    patch: &Value,
    ty: Option<TypeRef<'_>>,
    atomics: &mut Vec<String>,
) -> Result<(), String> {
    let schema = ty.map_or(Schema::builtin(), TypeRef::schema);
    fields(object, patch, ty, schema, "", atomics)
}

fn fields(
    object: &mut Value,
    patch: &Value,
    ty: Option<TypeRef<'_>>,
    schema: &Schema,
    path: &str,
    atomics: &mut Vec<String>,
) -> Result<(), String> {
    let Some(patch) = patch.as_object() else { return Err(format!("{path}: expected map")) };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(own) = object.as_object_mut() else { return Ok(()) };
    for (name, value) in patch {
        let path = format!("{path}.{name}");
        let field = ty.and_then(|t| t.get().field(name));
        if ty.is_some_and(|t| !t.preserve_unknown) && field.is_none() {
            return Err(format!(
                "failed to convert patch object to typed object: {path}: field not declared in schema"
            ));
        }
        let slot = own.entry(name.clone()).or_insert(Value::Null);
        match field {
            Some(field) if field.atomic && value.is_object() => atomics.push(path),
            Some(field) => one(slot, value, &field.ty, schema, &path, atomics)?,
            None => unknown(slot, value, schema, &path, atomics)?,
        }
    }
    own.retain(|_, value| !value.is_null());
    Ok(())
}

fn unknown(
    slot: &mut Value,
    value: &Value,
    schema: &Schema,
    path: &str,
    atomics: &mut Vec<String>,
) -> Result<(), String> {
    match value {
        Value::Object(_) => fields(slot, value, None, schema, path, atomics)?,
        Value::Array(_) => atomics.push(path.to_owned()),
        scalar => *slot = scalar.clone(),
    }
    Ok(())
}

fn one(
    slot: &mut Value,
    value: &Value,
    ty: &Ty,
    schema: &Schema,
    path: &str,
    atomics: &mut Vec<String>,
) -> Result<(), String> {
    match ty {
        Ty::Ref(id) => match schema.get(*id) {
            Some(ty) if ty.special.is_some() => *slot = value.clone(),
            Some(ty) if ty.atomic => atomics.push(path.to_owned()),
            ty => fields(slot, value, ty, schema, path, atomics)?,
        },
        Ty::Map(map) if map.atomic => atomics.push(path.to_owned()),
        Ty::Map(map) => {
            let Some(entries) = value.as_object() else { return Err(format!("{path}: expected map")) };
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            let Some(own) = slot.as_object_mut() else { return Ok(()) };
            for (key, value) in entries {
                let slot = own.entry(key.clone()).or_insert(Value::Null);
                one(slot, value, &map.value, schema, &format!("{path}.{key}"), atomics)?;
            }
        }
        Ty::List(list) => {
            let Some(items) = value.as_array() else { return Err(format!("{path}: expected list")) };
            let keys = match &list.topology {
                ListTopology::Atomic => {
                    atomics.push(path.to_owned());
                    return Ok(());
                }
                ListTopology::Set => None,
                ListTopology::Map(keys) => Some(keys),
            };
            if !slot.is_array() {
                *slot = Value::Array(Vec::new());
            }
            let Some(own) = slot.as_array_mut() else { return Ok(()) };
            for item in items {
                let same = |other: &Value| match keys {
                    None => other == item,
                    Some(keys) => keys.iter().all(|key| other.get(&**key) == item.get(&**key)),
                };
                let at = own.iter().position(same).unwrap_or_else(|| {
                    own.push(Value::Null);
                    own.len() - 1
                });
                one(&mut own[at], item, &list.item, schema, &format!("{path}[{at}]"), atomics)?;
            }
        }
        _ => *slot = value.clone(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rest::type_of;

    #[test]
    fn containers_merge_by_name_and_atomic_lists_are_refused() {
        let mut pod = json!({"spec": {"containers": [{"name": "a", "image": "x"}], "nodeName": "n"}});
        let mut atomics = Vec::new();
        let patch = json!({"spec": {"containers": [{"name": "a", "image": "y"}, {"name": "b"}]},
            "metadata": {"labels": {"k": "v"}}});
        merge(&mut pod, &patch, type_of("v1", "Pod"), &mut atomics).expect("merges");
        assert_eq!(pod["spec"]["containers"], json!([{"name": "a", "image": "y"}, {"name": "b"}]));
        assert_eq!(pod["metadata"]["labels"]["k"], "v");
        assert_eq!(pod["spec"]["nodeName"], "n");
        let patch = json!({"spec": {"containers": [{"name": "a", "args": ["x"]}]}});
        merge(&mut pod, &patch, type_of("v1", "Pod"), &mut atomics).expect("merges");
        assert_eq!(atomics, [".spec.containers[0].args"]);
        let patch = json!({"spec": {"nope": 1}});
        assert!(merge(&mut pod, &patch, type_of("v1", "Pod"), &mut atomics).is_err());
    }
}
