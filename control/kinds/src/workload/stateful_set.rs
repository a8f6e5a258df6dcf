//! StatefulSet.
use super::{
    APPS, SPEC, validate_collisions, validate_endless, validate_match, validate_non_negative, validate_replica_status,
    validate_required_selector,
};
use crate::field::{Errors, Path};
use crate::int_or_string;
use crate::kind::{Kind, Subresource};
use crate::labels::LabelSelector;
use crate::names::{NameRule, dns1123_label};
use crate::pod::validation::validate_template;
use crate::storage::default_claim;
use crate::table::{AGE, CONTAINERS, Column, IMAGES, NAME, age, containers, name};
use crate::value::{
    at, copy, default_to, default_zero, int, is_empty, items, items_at, object_at, remove, same, set, text,
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) const KIND: Kind = Kind {
    kind: "StatefulSet",
    name: NameRule::Label,
    defaults: |_, stateful_set| defaults(stateful_set),
    prepare_create: |stateful_set| {
        drop_max_unavailable(stateful_set, &Value::Null);
        set(stateful_set, "status", json!({"replicas": 0, "availableReplicas": 0}));
    },
    prepare_update: |new, old, _| drop_max_unavailable(new, old),
    validate: |stateful_set, errors| validate(stateful_set, false, errors),
    validate_update,
    columns: COLUMNS,
    cells,
    ..APPS
};

const COLUMNS: &[Column] =
    &[NAME, Column::text("Ready", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES];

fn defaults(stateful_set: &mut Value) {
    object_at(stateful_set, "spec");
    let Some(spec) = at(stateful_set, &["spec"]) else { return };
    super::default_template(spec);
    for claim in items_at(spec, &["volumeClaimTemplates"]) {
        set(claim, "kind", "PersistentVolumeClaim");
        set(claim, "apiVersion", "v1");
        default_claim(claim);
    }
    default_zero(spec, "podManagementPolicy", "OrderedReady");
    object_at(spec, "updateStrategy");
    if let Some(strategy) = at(spec, &["updateStrategy"]) {
        if is_empty(&strategy["type"]) {
            set(strategy, "type", "RollingUpdate");
            object_at(strategy, "rollingUpdate");
        }
        if text(&strategy["type"]) == "RollingUpdate"
            && let Some(rolling) = at(strategy, &["rollingUpdate"])
        {
            default_to(rolling, "partition", 0);
        }
    }
    object_at(spec, "persistentVolumeClaimRetentionPolicy");
    if let Some(policy) = at(spec, &["persistentVolumeClaimRetentionPolicy"]) {
        default_zero(policy, "whenDeleted", "Retain");
        default_zero(policy, "whenScaled", "Retain");
    }
    default_to(spec, "replicas", 1);
    default_to(spec, "revisionHistoryLimit", 10);
}

/// The gate MaxUnavailableStatefulSet is off: the field goes, unless it is stored already.
fn drop_max_unavailable(new: &mut Value, old: &Value) {
    if old["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"].is_null()
        && let Some(rolling) = at(new, &["spec", "updateStrategy", "rollingUpdate"])
    {
        remove(rolling, "maxUnavailable");
    }
}

/// `update` when names and claims of the stored object, which cannot change, need not be checked again.
fn validate(stateful_set: &Value, update: bool, errors: &mut Errors) {
    let spec = &stateful_set["spec"];
    match text(&spec["podManagementPolicy"]) {
        "OrderedReady" | "Parallel" => {}
        "" => errors.required(&SPEC.child("podManagementPolicy"), ""),
        other => errors.invalid(&SPEC.child("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'"),
    }
    validate_strategy(&spec["updateStrategy"], &SPEC.child("updateStrategy"), errors);
    let policy = SPEC.child("persistentVolumeClaimRetentionPolicy");
    for when in ["whenDeleted", "whenScaled"] {
        let value = text(&spec["persistentVolumeClaimRetentionPolicy"][when]);
        if !matches!(value, "Retain" | "Delete") {
            errors.not_supported(&policy.child(when), value, &["Retain", "Delete"]);
        }
    }
    if !update {
        let claims = SPEC.child("volumeClaimTemplates");
        for (index, claim) in items(&spec["volumeClaimTemplates"]).iter().enumerate() {
            crate::storage::validate_claim_spec(&claim["spec"], &claims.index(index).child("spec"), errors);
        }
    }
    validate_non_negative(spec, &SPEC, &["replicas", "minReadySeconds"], errors);
    validate_non_negative(&spec["ordinals"], &SPEC.child("ordinals"), &["start"], errors);
    let service = text(&spec["serviceName"]);
    if !update && !service.is_empty() {
        errors.invalid_each(&SPEC.child("serviceName"), service, dns1123_label(service));
    }
    validate_required_selector(&spec["selector"], "statefulset", &SPEC.child("selector"), errors);
    let path = SPEC.child("template");
    match LabelSelector::from_object(&spec["selector"]) {
        Ok(selector) => {
            let pods = with_claims(spec);
            validate_match(&pods, &selector, &path, errors);
            validate_template(&pods, &path, errors);
        }
        Err(_) => errors.invalid(&SPEC.child("selector"), spec["selector"].clone(), ""),
    }
    validate_endless(&spec["template"], "StatefulSet", &path, errors);
}

/// The template as its pods will be: with a volume for each claim, and without the host name that the controller sets.
fn with_claims(spec: &Value) -> Value {
    let mut pods = spec["template"].clone();
    let Some(pod) = at(&mut pods, &["spec"]) else { return pods };
    remove(pod, "subdomain");
    remove(pod, "hostname");
    let mut claims: Vec<&str> = Vec::new();
    for claim in items(&spec["volumeClaimTemplates"]) {
        let name = text(&claim["metadata"]["name"]);
        if !claims.contains(&name) {
            claims.push(name);
        }
    }
    let mut volumes: Vec<Value> =
        claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}})).collect();
    volumes.extend(items(&pod["volumes"]).iter().filter(|volume| !claims.contains(&text(&volume["name"]))).cloned());
    set(pod, "volumes", volumes);
    pods
}

fn validate_strategy(strategy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (rolling, path_rolling) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
    match text(&strategy["type"]) {
        "" => errors.required(path, ""),
        "OnDelete" if !rolling.is_null() => {
            errors.invalid(&path_rolling, rolling.clone(), "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            validate_non_negative(rolling, &path_rolling, &["partition"], errors);
            let (unavailable, path) = (&rolling["maxUnavailable"], path_rolling.child("maxUnavailable"));
            if !unavailable.is_null() {
                int_or_string::validate(unavailable, &path, errors);
                if int_or_string::number(unavailable) == 0 {
                    errors.invalid(&path, unavailable.clone(), "cannot be 0");
                }
                int_or_string::validate_at_most_100_percent(unavailable, &path, errors);
            }
        }
        _ => errors.invalid(
            path,
            super::shown_strategy(strategy, &[("Partition", "partition"), ("MaxUnavailable", "maxUnavailable")]),
            "must be 'RollingUpdate' or 'OnDelete'",
        ),
    }
}

const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn validate_update(new: &Value, old: &Value, subresource: Subresource, errors: &mut Errors) {
    if subresource == Subresource::Status {
        let counts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        let all = ["replicas", counts[0], counts[1], counts[2], counts[3], "observedGeneration", "collisionCount"];
        validate_replica_status(&new["status"], &all, &counts, errors);
        return validate_collisions(new, old, errors);
    }
    validate(new, true, errors);
    let mut fixed = new["spec"].clone();
    for member in MUTABLE {
        copy(&mut fixed, &old["spec"], member);
    }
    if !same(&fixed, &old["spec"]) {
        errors.forbidden(
            &SPEC,
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

fn cells(stateful_set: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(&stateful_set["spec"]["template"]["spec"]);
    let ready = int(&stateful_set["status"]["readyReplicas"]);
    vec![
        name(stateful_set),
        format!("{ready}/{}", int(&stateful_set["spec"]["replicas"])).into(),
        age(stateful_set, now),
        names,
        images,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn stateful_set() -> Value {
        let mut object = json!({"metadata": {"name": "db", "namespace": "n", "resourceVersion": "1"}, "spec": {"serviceName": "db", "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}});
        kind("apps", "StatefulSet").default("v1", &mut object);
        object
    }

    #[test]
    fn a_claim_template_is_a_volume_of_its_pods() {
        let object = stateful_set();
        assert_eq!(kind("apps", "StatefulSet").validate_create(&object).message(), "[]");
        assert_eq!(object["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"], "Filesystem");
        assert_eq!(object["spec"]["updateStrategy"]["rollingUpdate"]["partition"], 0);
    }

    #[test]
    fn only_some_fields_change() {
        let rules = kind("apps", "StatefulSet");
        let (old, mut new) = (stateful_set(), stateful_set());
        new["spec"]["replicas"] = 3.into();
        assert_eq!(rules.validate_update(&new, &old, Subresource::None).message(), "[]");
        new["spec"]["serviceName"] = "other".into();
        assert!(
            rules
                .validate_update(&new, &old, Subresource::None)
                .message()
                .starts_with("spec: Forbidden: updates to statefulset spec for fields other than 'replicas'")
        );
    }
}
