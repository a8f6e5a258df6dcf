//! Parameters of the v2 document that are written once and referred to (`kube-openapi/pkg/builder/parameters.go`).

use std::collections::BTreeMap;

use serde_json::Value;

/// These say which kind they belong to, or are what older versions of kubectl look for in each operation.
const OWN: [&str; 3] = ["name", "fieldValidation", "dryRun"];

/// Parameters by the name under which they are referred to.
pub(super) type Shared = BTreeMap<String, Value>;

/// Replaces the parameters of a path and of its operations by references.
pub(super) fn share(item: &mut Value, shared: &mut Shared) {
    let Some(item) = item.as_object_mut() else { return };
    for (member, value) in item {
        let parameters = if member == "parameters" { Some(value) } else { value.get_mut("parameters") };
        for parameter in parameters.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(name) = name(parameter) {
                let reference = serde_json::json!({ "$ref": format!("#/parameters/{name}") });
                let whole = std::mem::replace(parameter, reference);
                shared.entry(name).or_insert(whole);
            }
        }
    }
}

/// What a parameter is called if it is shared: its name and a hash of all that it says.
fn name(parameter: &Value) -> Option<String> {
    let name = parameter["name"].as_str()?;
    let of_a_kind =
        |body: &Value| !body["$ref"].as_str().is_some_and(|name| name.starts_with("#/definitions/io.k8s.apimachinery"));
    if OWN.contains(&name) || parameter.get("schema").is_some_and(of_a_kind) {
        return None;
    }
    // FNV-1, which multiplies first.
    let hash = parameter
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    Some(format!("{name}-{hash:016x}"))
}
