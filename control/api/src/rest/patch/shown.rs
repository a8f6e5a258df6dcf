//! A patched document in the order in which kube-apiserver quotes it: the keys of what the patch looked into are sorted, the rest stands
//! as it was.

use std::collections::BTreeSet;

use json_patch::PatchOperation;
use serde_json::Value;

/// As Go's encoder writes JSON into JSON.
pub(super) fn text(document: &Value) -> String {
    let text = document.to_string();
    match text.contains(['<', '>', '&']) {
        true => text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
        false => text,
    }
}

/// After a merge patch: whatever it names is sorted, and what it brings in.
pub(super) fn merged(document: &mut Value, old: &Value, patch: &Value) {
    match (patch, old) {
        (Value::Object(patch), Value::Object(old)) => {
            let Value::Object(fields) = document else { return };
            for (name, patch) in patch {
                if let Some(field) = fields.get_mut(name) {
                    merged(field, old.get(name).unwrap_or(&Value::Null), patch);
                }
            }
            fields.sort_keys();
        }
        // Not looked into.
        (Value::Array(_), Value::Object(_)) => {}
        _ => document.sort_all_objects(),
    }
}

/// After a JSON patch: whatever its paths lead through is sorted, and what it compares. Elements that a later operation moves to another
/// place are not followed.
pub(super) fn patched(document: &mut Value, patch: &[PatchOperation]) {
    let mut through = BTreeSet::from([""]);
    for operation in patch {
        let from = match operation {
            PatchOperation::Copy(copy) => copy.from.as_str(),
            PatchOperation::Move(moved) => moved.from.as_str(),
            _ => "",
        };
        for path in [operation.path().as_str(), from] {
            through.extend(path.match_indices('/').map(|(end, _)| &path[..end]));
        }
    }
    for path in through {
        if let Some(Value::Object(fields)) = document.pointer_mut(path) {
            fields.sort_keys();
        }
    }
    let tests = patch.iter().filter_map(|operation| match operation {
        PatchOperation::Test(test) => Some(test.path.as_str()),
        _ => None,
    });
    for path in tests.collect::<BTreeSet<_>>() {
        if let Some(compared) = document.pointer_mut(path) {
            compared.sort_all_objects();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    const OLD: &str = r#"{"c":{"z":1,"y":{"b":1,"a":2},"x":{"d":1,"c":2}},"b":[{"f":1,"e":2}],"a":{"h":1,"g":2}}"#;

    #[test]
    fn a_merge_patch_sorts_what_it_names() {
        let old = parsed(OLD);
        let sorted = |patch: &str| {
            let patch = parsed(patch);
            let mut document = old.clone();
            json_patch::merge(&mut document, &patch);
            merged(&mut document, &old, &patch);
            text(&document)
        };
        assert_eq!(
            sorted(r#"{"c":{"y":{"n":"<"},"w":{"l":[{"k":1,"j":2}],"i":{}}}}"#),
            r#"{"a":{"h":1,"g":2},"b":[{"f":1,"e":2}],"c":{"w":{"i":{},"l":[{"j":2,"k":1}]},"x":{"d":1,"c":2},"y":{"a":2,"b":1,"n":"\u003c"},"z":1}}"#
        );
        assert_eq!(
            sorted(r#"{"a":null,"b":[{"f":1,"e":2}],"c":[{"f":1,"e":2}]}"#),
            r#"{"b":[{"e":2,"f":1}],"c":[{"f":1,"e":2}]}"#
        );
    }

    #[test]
    fn a_json_patch_sorts_what_its_paths_lead_through() {
        let sorted = |patch: Value| {
            let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
            let mut document = parsed(OLD);
            json_patch::patch(&mut document, &patch).unwrap();
            patched(&mut document, &patch);
            text(&document)
        };
        assert_eq!(
            sorted(json!([{"op": "add", "path": "/c/y/c", "value": parsed(r#"{"n":1,"m":2}"#)}])),
            r#"{"a":{"h":1,"g":2},"b":[{"f":1,"e":2}],"c":{"x":{"d":1,"c":2},"y":{"a":2,"b":1,"c":{"n":1,"m":2}},"z":1}}"#
        );
        assert_eq!(
            sorted(
                json!([{"op": "test", "path": "/a", "value": {"g": 2, "h": 1}}, {"op": "remove", "path": "/b/0/f"}, {"op": "remove", "path": "/c"}])
            ),
            r#"{"a":{"g":2,"h":1},"b":[{"e":2}]}"#
        );
    }
}
