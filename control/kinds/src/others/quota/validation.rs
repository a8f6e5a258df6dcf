//! What Kubernetes checks of a ResourceQuota (`ValidateResourceQuota`).
use crate::field::{Errors, Path};
use crate::resource_names::{is_quota, validate_of_quota};
use crate::value::{items, sorted, strings, text};
use serde_json::Value;
use std::collections::BTreeSet;

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];
const CONFLICTING: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

pub(super) fn validate_quota(quota: &Value, errors: &mut Errors) {
    let spec = &quota["spec"];
    let path = Path::new("spec");
    validate_list(&spec["hard"], &path.child("hard"), errors);
    validate_scopes(spec, &path, errors);
    validate_selector(spec, &path.child("scopeSelector").child("matchExpressions"), errors);
}

pub(super) fn validate_quota_update(new: &Value, old: &Value, errors: &mut Errors) {
    validate_quota(new, errors);
    let scopes =
        |quota: &Value| strings(&quota["spec"]["scopes"]).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    if scopes(new) != scopes(old) {
        errors.invalid(&Path::new("spec.scopes"), new["spec"]["scopes"].clone(), "field is immutable");
    }
}

pub(super) fn validate_quota_status(status: &Value, errors: &mut Errors) {
    for list in ["hard", "used"] {
        validate_list(&status[list], &Path::new("status").child(list), errors);
    }
}

fn validate_list(list: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (name, quantity) in sorted(list) {
        validate_of_quota(name, quantity, &path.key(name), errors);
    }
}

/// Whether a scope can choose among objects that count for a resource.
fn chooses(scope: &str, resource: &str) -> bool {
    let compute = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ if SCOPES.contains(&scope) => resource == "pods" || compute.contains(&resource),
        _ => true,
    }
}

fn fits(spec: &Value, scope: &str) -> bool {
    sorted(&spec["hard"]).keys().all(|name| !is_quota(name) || chooses(scope, name))
}

fn validate_scopes(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (value, path) = (&spec["scopes"], path.child("scopes"));
    let scopes = strings(value);
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            errors.invalid(&path, value.clone(), "unsupported scope");
        }
        if !fits(spec, scope) {
            errors.invalid(&path, value.clone(), "unsupported scope applied to resource");
        }
    }
    if CONFLICTING.iter().any(|pair| pair.iter().all(|scope| scopes.contains(scope))) {
        errors.invalid(&path, value.clone(), "conflicting scopes");
    }
}

fn validate_selector(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let selector = &spec["scopeSelector"];
    let mut scopes = Vec::new();
    for requirement in items(&selector["matchExpressions"]) {
        let (scope, operator) = (text(&requirement["scopeName"]), text(&requirement["operator"]));
        let values = &requirement["values"];
        scopes.push(scope);
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        if !fits(spec, scope) {
            errors.invalid(path, selector.clone(), "unsupported scope applied to resource");
        }
        let named = matches!(scope, "PriorityClass" | "VolumeAttributesClass") || !SCOPES.contains(&scope);
        if !named && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&path.child("operator"), operator, detail);
        }
        match operator {
            "In" | "NotIn" if items(values).is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(&path.child("values"), detail);
            }
            "Exists" | "DoesNotExist" if !items(values).is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.invalid(&path.child("values"), values.clone(), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
    }
    if CONFLICTING.iter().any(|pair| pair.iter().all(|scope| scopes.contains(scope))) {
        errors.invalid(path, spec["scopes"].clone(), "conflicting scopes");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn wrong(spec: Value) -> String {
        let object = json!({"metadata": {"name": "q", "namespace": "n"}, "spec": spec});
        crate::kind("", "ResourceQuota").validate_create(&object).message()
    }

    #[test]
    fn hard_limits_name_what_quotas_know() {
        let known = json!({"hard": {"pods": "10", "cpu": "100", "requests.storage": "1Gi", "count/jobs.batch": "3",
            "example.com/gpu": "1", "requests.example.com/gpu": "1", "gold.storageclass.storage.k8s.io/requests.storage": "5Gi"}});
        assert_eq!(wrong(known), "[]");
        assert_eq!(
            wrong(json!({"hard": {"nonsense": "1"}})),
            "[spec.hard[nonsense]: Invalid value: \"nonsense\": must be a standard resource type or fully qualified, \
             spec.hard[nonsense]: Invalid value: \"nonsense\": must be a standard resource for quota]"
        );
        assert!(wrong(json!({"hard": {"pods": "-1"}})).contains("must be greater than or equal to 0"));
        assert!(wrong(json!({"hard": {"pods": "1500m"}})).contains("must be an integer"));
    }

    #[test]
    fn scopes_fit_each_other_and_what_is_limited() {
        let scoped = |scopes: Value, resource: &str| wrong(json!({"hard": {resource: "1"}, "scopes": scopes}));
        assert_eq!(scoped(json!(["NotTerminating"]), "requests.cpu"), "[]");
        assert!(scoped(json!(["Terminating"]), "services").contains("unsupported scope applied to resource"));
        assert!(scoped(json!(["BestEffort"]), "cpu").contains("unsupported scope applied to resource"));
        assert!(scoped(json!(["BestEffort", "NotBestEffort"]), "pods").contains("conflicting scopes"));
        assert!(scoped(json!(["Odd"]), "pods").contains("unsupported scope"));
        let selects = |requirement: Value| {
            wrong(json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [requirement]}}))
        };
        assert_eq!(selects(json!({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]})), "[]");
        assert!(
            selects(json!({"scopeName": "PriorityClass", "operator": "In"})).contains("must be at least one value")
        );
        assert!(
            selects(json!({"scopeName": "BestEffort", "operator": "In", "values": ["x"]})).contains("must be 'Exists'")
        );
    }
}
