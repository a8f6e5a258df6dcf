//! What the kinds of resource.k8s.io must satisfy (`pkg/apis/resource/validation`). CEL selectors are not compiled here.
use crate::field::{Errors, Path};
use crate::names::{dns1123_label, dns1123_subdomain, label_value, qualified_name};
use crate::value::{flag, int, items, text};
use serde_json::Value;
use std::collections::BTreeSet;

const REQUESTS_MAX: usize = 32;
const FIRST_AVAILABLE_MAX: usize = 8;
const SELECTORS_MAX: usize = 32;
const RESERVED_MAX: usize = 256;
const DEVICES_MAX: usize = 128;
const ADVANCED_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const EXPRESSION_MAX: usize = 10 * 1024;
const PARAMETERS_MAX: usize = 10 * 1024;

mod device;

/// Judges each item of a list that has at most `max` items with different keys.
fn set(
    list: &Value,
    max: usize,
    path: &Path<'_>,
    errors: &mut Errors,
    key: impl Fn(&Value) -> String,
    judge: impl Fn(&Value, &Path<'_>, &mut Errors),
) {
    let list = items(list);
    if list.len() > max {
        return errors.too_many(path, list.len(), max);
    }
    for (index, item) in list.iter().enumerate() {
        judge(item, &path.index(index), errors);
    }
    let mut seen = BTreeSet::new();
    for (index, item) in list.iter().enumerate() {
        let key = key(item);
        if !seen.insert(key.clone()) {
            errors.duplicate(&path.index(index), key);
        }
    }
}

fn named(item: &Value) -> String {
    text(&item["name"]).to_owned()
}

fn request_name(request: &Value, path: &Path<'_>, errors: &mut Errors) {
    let name = text(&request["name"]);
    errors.invalid_each(&path.child("name"), name, dns1123_label(name));
}

/// A DeviceClass' spec.
pub(super) fn class(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    selectors(&spec["selectors"], &path.child("selectors"), errors);
    let (config, list) = (path.child("config"), items(&spec["config"]));
    if list.len() > REQUESTS_MAX {
        return errors.too_many(&config, list.len(), REQUESTS_MAX);
    }
    for (index, one) in list.iter().enumerate() {
        opaque(one, &config.index(index), errors);
    }
}

/// A claim's spec.
pub(super) fn claim(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (devices, path) = (&spec["devices"], path.child("devices"));
    set(&devices["requests"], REQUESTS_MAX, &path.child("requests"), errors, named, request);
    let known = |name: &str| {
        let mut parts = name.splitn(2, '/');
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        items(&devices["requests"]).iter().filter(|request| text(&request["name"]) == first).any(|request| match second
        {
            None => true,
            Some(sub) => items(&request["firstAvailable"]).iter().any(|s| text(&s["name"]) == sub),
        })
    };
    let references = |of: &Value, path: &Path<'_>, errors: &mut Errors| {
        let judge = |name: &Value, path: &Path<'_>, errors: &mut Errors| {
            let name = text(name);
            for part in name.split('/') {
                errors.invalid_each(path, part, dns1123_label(part));
            }
            if !known(name) {
                errors.invalid(path, name, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'");
            }
        };
        set(&of["requests"], REQUESTS_MAX, &path.child("requests"), errors, |n| text(n).to_owned(), judge);
    };
    let constraints = path.child("constraints");
    let list = items(&devices["constraints"]);
    if list.len() > REQUESTS_MAX {
        errors.too_many(&constraints, list.len(), REQUESTS_MAX);
    } else {
        for (index, constraint) in list.iter().enumerate() {
            let path = constraints.index(index);
            references(constraint, &path, errors);
            match (&constraint["matchAttribute"], &constraint["distinctAttribute"]) {
                (Value::Null, Value::Null) => errors.required(
                    &path,
                    "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
                ),
                (Value::Null, name) => qualified(text(name), &path.child("distinctAttribute"), errors),
                (name, _) => qualified(text(name), &path.child("matchAttribute"), errors),
            }
        }
    }
    let configs = path.child("config");
    let list = items(&devices["config"]);
    if list.len() > REQUESTS_MAX {
        return errors.too_many(&configs, list.len(), REQUESTS_MAX);
    }
    for (index, config) in list.iter().enumerate() {
        references(config, &configs.index(index), errors);
        opaque(config, &configs.index(index), errors);
    }
}

fn qualified(name: &str, path: &Path<'_>, errors: &mut Errors) {
    device::qualified_name(name, path, errors);
    if !name.contains('/') {
        errors.invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

/// A claim template's spec.
pub(super) fn template(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    crate::labels::validate_labels(&spec["metadata"]["labels"], &path.child("labels"), errors);
    crate::meta::validate_annotations(&spec["metadata"]["annotations"], &path.child("annotations"), errors);
    claim(&spec["spec"], &path.child("spec"), errors);
}

fn request(request: &Value, path: &Path<'_>, errors: &mut Errors) {
    request_name(request, path, errors);
    let any = !items(&request["firstAvailable"]).is_empty();
    match (any, request["exactly"].is_object()) {
        (false, false) => errors.required(path, "exactly one of `exactly` or `firstAvailable` is required"),
        (true, true) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(path, Value::Null, detail);
        }
        (true, false) => {
            let path = path.child("firstAvailable");
            set(&request["firstAvailable"], FIRST_AVAILABLE_MAX, &path, errors, named, |sub, path, errors| {
                request_name(sub, path, errors);
                exact(sub, path, errors);
            });
        }
        (false, true) => exact(&request["exactly"], &path.child("exactly"), errors),
    }
}

fn exact(request: &Value, path: &Path<'_>, errors: &mut Errors) {
    match text(&request["deviceClassName"]) {
        "" => errors.required(&path.child("deviceClassName"), ""),
        name => errors.invalid_each(&path.child("deviceClassName"), name, dns1123_subdomain(name)),
    }
    selectors(&request["selectors"], &path.child("selectors"), errors);
    let count = int(&request["count"]);
    match text(&request["allocationMode"]) {
        "All" if count != 0 => {
            errors.invalid(&path.child("count"), count, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if count <= 0 => errors.invalid(&path.child("count"), count, "must be greater than zero"),
        "ExactCount" => {}
        other => errors.not_supported(&path.child("allocationMode"), other, &["All", "ExactCount"]),
    }
    let list = path.child("tolerations");
    for (index, one) in items(&request["tolerations"]).iter().enumerate() {
        toleration(one, &list.index(index), errors);
    }
}

fn toleration(toleration: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (key, value) = (text(&toleration["key"]), text(&toleration["value"]));
    if !key.is_empty() {
        errors.invalid_each(&path.child("key"), key, qualified_name(key));
    }
    match text(&toleration["operator"]) {
        "Exists" if !value.is_empty() => {
            errors.invalid(&path.child("value"), value, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => errors.invalid_each(&path.child("value"), value, label_value(value)),
        "" => errors.required(&path.child("operator"), ""),
        other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
    }
    effect(text(&toleration["effect"]), true, path, errors);
}

fn effect(effect: &str, optional: bool, path: &Path<'_>, errors: &mut Errors) {
    match effect {
        "" if optional => {}
        "" => errors.required(&path.child("effect"), ""),
        "NoExecute" | "NoSchedule" | "None" => {}
        other => errors.not_supported(&path.child("effect"), other, &["NoExecute", "NoSchedule", "None"]),
    }
}

fn selectors(list: &Value, path: &Path<'_>, errors: &mut Errors) {
    let list = items(list);
    if list.len() > SELECTORS_MAX {
        return errors.too_many(path, list.len(), SELECTORS_MAX);
    }
    for (index, selector) in list.iter().enumerate() {
        let cel = path.index(index);
        let cel = cel.child("cel");
        if !selector["cel"].is_object() {
            errors.required(&cel, "");
        } else if text(&selector["cel"]["expression"]).len() > EXPRESSION_MAX {
            errors.too_long(&cel.child("expression"), EXPRESSION_MAX);
        }
    }
}

fn opaque(config: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (opaque, path) = (&config["opaque"], path.child("opaque"));
    if !opaque.is_object() {
        return errors.required(&path, "");
    }
    driver(text(&opaque["driver"]), &path.child("driver"), errors);
    let parameters = path.child("parameters");
    match &opaque["parameters"] {
        Value::Null => errors.required(&parameters, ""),
        Value::Object(_) if opaque["parameters"].to_string().len() > PARAMETERS_MAX => {
            errors.too_long(&parameters, PARAMETERS_MAX);
        }
        Value::Object(_) => {}
        _ => errors.invalid(&parameters, "<value omitted>", "must be a valid JSON object"),
    }
}

fn driver(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > 63 {
        errors.too_long(path, 63);
    }
    errors.invalid_each(path, name, dns1123_subdomain(&name.to_lowercase()));
}

/// A claim's status against what it was.
pub(super) fn claim_status(new: &Value, old: &Value, errors: &mut Errors) {
    let (status, before, path) = (&new["status"], &old["status"], Path::new("status"));
    let reserved = path.child("reservedFor");
    let uid = |consumer: &Value| text(&consumer["uid"]).to_owned();
    set(&status["reservedFor"], RESERVED_MAX, &reserved, errors, uid, |consumer, path, errors| {
        for member in ["resource", "name", "uid"] {
            if text(&consumer[member]).is_empty() {
                errors.required(&path.child(member), "");
            }
        }
    });
    let list = items(&status["reservedFor"]);
    if !list.is_empty() && !status["allocation"].is_object() {
        errors.forbidden(&reserved, "may not be specified when `allocated` is not set");
    } else if !new["metadata"]["deletionTimestamp"].is_null()
        && list.iter().any(|consumer| !items(&before["reservedFor"]).contains(consumer))
    {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.forbidden(&reserved, detail);
    }
    let allocation = path.child("allocation");
    if before["allocation"].is_object() && status["allocation"].is_object() {
        crate::meta::immutable(&status["allocation"], &before["allocation"], &allocation, errors);
    } else if status["allocation"].is_object() {
        let results = allocation.child("devices.results");
        for (index, result) in items(&status["allocation"]["devices"]["results"]).iter().enumerate() {
            let path = results.index(index);
            driver(text(&result["driver"]), &path.child("driver"), errors);
            pool(text(&result["pool"]), &path.child("pool"), errors);
            let device = text(&result["device"]);
            errors.invalid_each(&path.child("device"), device, dns1123_label(device));
        }
    }
}

fn pool(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > 253 {
        errors.too_long(path, 253);
    }
    for part in name.split('/') {
        errors.invalid_each(path, part, dns1123_subdomain(part));
    }
}

/// A slice's spec.
pub(super) fn slice(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    driver(text(&spec["driver"]), &path.child("driver"), errors);
    pool(text(&spec["pool"]["name"]), &path.child("pool.name"), errors);
    let (count, generation) = (int(&spec["pool"]["resourceSliceCount"]), int(&spec["pool"]["generation"]));
    if count <= 0 {
        errors.invalid(&path.child("pool.resourceSliceCount"), count, "must be greater than zero");
    }
    if generation < 0 {
        errors.invalid(&path.child("pool.generation"), generation, "must be greater than or equal to zero");
    }
    let mut set_fields = placed(spec, &path, errors);
    if flag(&spec["perDeviceNodeSelection"]) {
        set_fields.push("`perDeviceNodeSelection`");
    } else if !spec["perDeviceNodeSelection"].is_null() {
        errors.invalid(&path.child("perDeviceNodeSelection"), false, "must be either unset or set to true");
    }
    let one_of = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set_fields.len() {
        0 => errors.required(&path, one_of),
        1 => {}
        _ => {
            let detail = format!("{one_of}, but multiple fields are set");
            errors.invalid(&path, format!("{{{}}}", set_fields.join(", ")), detail);
        }
    }
    if !spec["sharedCounters"].is_null() && !spec["devices"].is_null() {
        errors.invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let each = flag(&spec["perDeviceNodeSelection"]);
    let advanced = items(&spec["devices"]).iter().any(device::is_advanced);
    let most = if advanced { ADVANCED_DEVICES_MAX } else { DEVICES_MAX };
    set(&spec["devices"], most, &path.child("devices"), errors, named, |device, path, errors| {
        request_name(device, path, errors);
        device::validate(device, path, errors);
        let list = path.child("taints");
        for (index, taint) in items(&device["taints"]).iter().enumerate() {
            let path = list.index(index);
            errors.invalid_each(&path.child("key"), text(&taint["key"]), qualified_name(text(&taint["key"])));
            errors.invalid_each(&path.child("value"), text(&taint["value"]), label_value(text(&taint["value"])));
            effect(text(&taint["effect"]), false, &path, errors);
        }
        let placed_itself = ["nodeName", "nodeSelector", "allNodes"].iter().any(|member| !device[*member].is_null());
        if !each && placed_itself {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.invalid(path, Value::Null, detail);
        } else if each {
            let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            match placed(device, path, errors).as_slice() {
                [] => errors.required(path, detail),
                [_] => {}
                several => errors.invalid(path, format!("{{{}}}", several.join(", ")), detail),
            }
        }
        device::binding(device, path, errors);
    });
    set(&spec["sharedCounters"], COUNTER_SETS_MAX, &path.child("sharedCounters"), errors, named, device::counter_set);
}

/// Which of the fields that place a slice or a device are set.
fn placed(of: &Value, path: &Path<'_>, errors: &mut Errors) -> Vec<&'static str> {
    let mut fields = Vec::new();
    match of["nodeName"].as_str() {
        Some("") => errors.invalid(&path.child("nodeName"), "", "must be either unset or set to a non-empty string"),
        Some(name) => {
            fields.push("`nodeName`");
            errors.invalid_each(&path.child("nodeName"), name, dns1123_subdomain(name));
        }
        None => {}
    }
    if of["nodeSelector"].is_object() {
        fields.push("`nodeSelector`");
        if items(&of["nodeSelector"]["nodeSelectorTerms"]).len() != 1 {
            let detail = "must have exactly one node selector term";
            errors.invalid(&path.child("nodeSelector.nodeSelectorTerms"), of["nodeSelector"].clone(), detail);
        }
    }
    match of["allNodes"].as_bool() {
        Some(true) => fields.push("`allNodes`"),
        Some(false) => errors.invalid(&path.child("allNodes"), false, "must be either unset or set to true"),
        None => {}
    }
    fields
}

/// What of a slice must stay.
pub(super) fn slice_update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    crate::meta::immutable_text(&new["pool"]["name"], &old["pool"]["name"], &path.child("pool.name"), errors);
    crate::meta::immutable_text(&new["driver"], &old["driver"], &path.child("driver"), errors);
    crate::meta::immutable(&new["nodeName"], &old["nodeName"], &path.child("nodeName"), errors);
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::{Value, json};

    const GROUP: &str = "resource.k8s.io";

    fn claim() -> Value {
        json!({
            "metadata": {"name": "foo", "namespace": "ns", "resourceVersion": "1"},
            "spec": {"devices": {"requests": [{"name": "req-0", "exactly": {"deviceClassName": "class"}}]}},
        })
    }

    // TestValidateClaim
    #[test]
    fn claims_are_judged_as_kubernetes_judges_them() {
        let rules = kind(GROUP, "ResourceClaim");
        let mut good = claim();
        rules.default("v1", &mut good);
        assert_eq!(good["spec"]["devices"]["requests"][0]["exactly"]["count"], 1);
        assert_eq!(rules.validate_create(&good).message(), "[]");
        let path = "spec.devices.requests[0]";
        for (request, message) in [
            (
                json!({"name": "req-0"}),
                format!("{path}: Required value: exactly one of `exactly` or `firstAvailable` is required"),
            ),
            (
                json!({"name": "req-0", "exactly": {"allocationMode": "All"}}),
                format!("{path}.exactly.deviceClassName: Required value"),
            ),
            (
                json!({"name": "req-0", "exactly": {"deviceClassName": "c", "allocationMode": "other"}}),
                format!(
                    "{path}.exactly.allocationMode: Unsupported value: \"other\": supported values: \"All\", \"ExactCount\""
                ),
            ),
            (
                json!({"name": "req-0", "exactly": {"deviceClassName": "c", "allocationMode": "All", "count": 2}}),
                format!("{path}.exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'"),
            ),
        ] {
            let mut object = claim();
            object["spec"]["devices"]["requests"] = json!([request]);
            assert_eq!(rules.validate_create(&object).message(), message);
        }
    }

    // TestValidateClaimUpdate, TestValidateClaimStatusUpdate
    #[test]
    fn a_claim_is_fixed_and_reserved_once_it_is_allocated() {
        let rules = kind(GROUP, "ResourceClaim");
        let mut new = claim();
        new["spec"]["devices"]["requests"][0]["name"] = "other".into();
        assert!(rules.validate_update(&new, &claim(), Subresource::None).message().ends_with("field is immutable"));
        let mut new = claim();
        new["status"] = json!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "1"}]});
        assert_eq!(
            rules.validate_update(&new, &claim(), Subresource::Status).message(),
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"
        );
    }

    // TestValidateResourceSlice
    #[test]
    fn a_slice_is_placed_one_way() {
        let rules = kind(GROUP, "ResourceSlice");
        let slice = |more: Value| {
            let mut object = json!({"metadata": {"name": "s"}, "spec": {"driver": "test.example.com", "pool": {"name": "p", "resourceSliceCount": 1}}});
            for (key, value) in more.as_object().unwrap() {
                object["spec"][key] = value.clone();
            }
            rules.validate_create(&object).message()
        };
        assert_eq!(slice(json!({"nodeName": "n", "devices": [{"name": "a"}]})), "[]");
        let one_of = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        assert_eq!(slice(json!({})), format!("spec: Required value: {one_of}"));
        assert_eq!(
            slice(json!({"nodeName": "n", "allNodes": true})),
            format!("spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {one_of}, but multiple fields are set")
        );
        assert_eq!(
            slice(json!({"allNodes": true, "devices": [{"name": "a"}, {"name": "a"}]})),
            "spec.devices[1]: Duplicate value: \"a\""
        );
    }
}
