//! StorageClass and VolumeAttributesClass.
use super::is_default;
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind};
use crate::meta::{immutable, immutable_text};
use crate::names;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{default_to, entries, flag, items, same, strings, text};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_SIZE: usize = 256 * 1024;

pub(super) const STORAGE_CLASS: Kind = Kind {
    group: "storage.k8s.io",
    kind: "StorageClass",
    namespaced: false,
    defaults: |_, class| {
        default_to(class, "reclaimPolicy", "Delete");
        default_to(class, "volumeBindingMode", "Immediate");
    },
    validate,
    validate_update: |new, old, _, errors| {
        validate(new, errors);
        immutable(&new["parameters"], &old["parameters"], &Path::new("parameters"), errors);
        immutable_text(&new["provisioner"], &old["provisioner"], &Path::new("provisioner"), errors);
        for member in ["reclaimPolicy", "volumeBindingMode"] {
            immutable(&new[member], &old[member], &Path::new(member), errors);
        }
    },
    columns: &[
        NAME,
        Column::text("Provisioner", "provisioner indicates the type of the provisioner."),
        Column::text(
            "ReclaimPolicy",
            "reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this storage class. Defaults to Delete.",
        ),
        Column::text(
            "VolumeBindingMode",
            "volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound.  When unset, VolumeBindingImmediate is used. This field is only honored by servers that enable the VolumeScheduling feature.",
        ),
        Column::text(
            "AllowVolumeExpansion",
            "allowVolumeExpansion shows whether the storage class allow volume expand.",
        ),
        AGE,
    ],
    cells,
    ..GENERAL
};

pub(super) const VOLUME_ATTRIBUTES_CLASS: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttributesClass",
    namespaced: false,
    validate: validate_attributes,
    validate_update: |new, old, _, errors| {
        for member in ["driverName", "parameters"] {
            if !same(&new[member], &old[member]) {
                errors.forbidden(&Path::new(member), format!("updates to {member} are forbidden."));
            }
        }
        validate_attributes(new, errors);
    },
    columns: &[NAME, Column::text("DriverName", "Name of the CSI driver This field is immutable."), AGE],
    cells: |class, now| vec![name(class), text(&class["driverName"]).into(), age(class, now)],
    ..GENERAL
};

fn provisioner(value: &str, path: &Path<'_>, errors: &mut Errors) {
    if value.is_empty() {
        errors.required(path, "");
    } else {
        let lower = value.to_lowercase();
        errors.invalid_each(path, &lower, names::qualified_name(&lower));
    }
}

fn validate_attributes(class: &Value, errors: &mut Errors) {
    provisioner(text(&class["driverName"]), &Path::new("driverName"), errors);
    parameters(&class["parameters"], errors);
    if entries(&class["parameters"]).next().is_none() {
        errors.required(&Path::new("parameters"), "must contain at least one key/value pair");
    }
}

/// At most 512 of them, at most 256 KiB in all, none without a name.
fn parameters(parameters: &Value, errors: &mut Errors) {
    let path = Path::new("parameters");
    if entries(parameters).count() > PARAMETERS_MAX {
        return errors.too_long(&path, PARAMETERS_MAX);
    }
    if entries(parameters).any(|(key, _)| key.is_empty()) {
        errors.invalid(&path, "", "field can not be empty.");
    }
    if entries(parameters).map(|(key, value)| key.len() + text(value).len()).sum::<usize>() > PARAMETERS_SIZE {
        errors.too_long(&path, PARAMETERS_SIZE);
    }
}

fn validate(class: &Value, errors: &mut Errors) {
    provisioner(text(&class["provisioner"]), &Path::new("provisioner"), errors);
    parameters(&class["parameters"], errors);
    let policy = text(&class["reclaimPolicy"]);
    if !matches!(policy, "" | "Delete" | "Retain") {
        errors.not_supported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
    }
    let mode = &class["volumeBindingMode"];
    if mode.is_null() {
        errors.required(&Path::new("volumeBindingMode"), "");
    } else if !matches!(text(mode), "Immediate" | "WaitForFirstConsumer") {
        errors.not_supported(&Path::new("volumeBindingMode"), text(mode), &["Immediate", "WaitForFirstConsumer"]);
    }
    topologies(&class["allowedTopologies"], errors);
}

/// Terms that all differ, each with requirements whose keys differ.
fn topologies(terms: &Value, errors: &mut Errors) {
    let path = Path::new("allowedTopologies");
    let terms = items(terms);
    // Kubernetes compares each term with as many nothings as there are terms, and then with those before it.
    let mut seen: HashMap<BTreeMap<&str, BTreeSet<&str>>, usize> = HashMap::new();
    for (index, term) in terms.iter().enumerate() {
        let path = path.index(index);
        let requirements = path.child("matchLabelExpressions");
        let mut keys = BTreeMap::new();
        for (index, requirement) in items(&term["matchLabelExpressions"]).iter().enumerate() {
            let (path, key) = (requirements.index(index), text(&requirement["key"]));
            let values = strings(&requirement["values"]);
            let mut distinct = BTreeSet::new();
            if values.is_empty() {
                errors.required(&path.child("values"), "");
            }
            for (index, value) in values.into_iter().enumerate() {
                if !distinct.insert(value) {
                    errors.duplicate(&path.child("values").index(index), value);
                }
            }
            errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
            if keys.insert(key, distinct).is_some() {
                errors.duplicate(&path.child("key"), key);
            }
        }
        let nothings = if keys.is_empty() { terms.len() } else { 0 };
        let earlier = seen.entry(keys).or_default();
        for _ in 0..nothings + *earlier {
            if errors.is_full() {
                return;
            }
            errors.duplicate(&requirements, "");
        }
        *earlier += 1;
    }
}

fn cells(class: &Value, now: Timestamp) -> Vec<Value> {
    let suffix = if is_default(class) { " (default)" } else { "" };
    let or = |key: &str, default: &str| Value::from(class[key].as_str().unwrap_or(default));
    vec![
        format!("{}{suffix}", text(&class["metadata"]["name"])).into(),
        text(&class["provisioner"]).into(),
        or("reclaimPolicy", "Delete"),
        or("volumeBindingMode", "Immediate"),
        flag(&class["allowVolumeExpansion"]).into(),
        age(class, now),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::json;

    #[test]
    fn very_many_empty_topologies_are_refused_at_once() {
        let class = json!({"metadata": {"name": "fast"}, "provisioner": "x.io/y", "volumeBindingMode": "Immediate",
            "allowedTopologies": vec![json!({}); 50_000]});
        assert_eq!(kind("storage.k8s.io", "StorageClass").validate_create(&class).0.len(), 1000);
    }

    #[test]
    fn a_class_is_fixed_and_the_default_one_is_marked() {
        let rules = kind("storage.k8s.io", "StorageClass");
        let mut old = json!({"metadata": {"name": "fast", "resourceVersion": "1", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "x.io/y"});
        rules.default("v1", &mut old);
        assert_eq!(rules.validate_create(&old).message(), "[]");
        assert_eq!(
            rules.cells(&old, jiff::Timestamp::UNIX_EPOCH)[..4],
            [json!("fast (default)"), json!("x.io/y"), json!("Delete"), json!("Immediate")]
        );
        let mut new = old.clone();
        new["provisioner"] = "z".into();
        new["volumeBindingMode"] = "WaitForFirstConsumer".into();
        assert_eq!(
            rules.validate_update(&new, &old, Subresource::None).message(),
            "[provisioner: Invalid value: \"z\": field is immutable, volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable]"
        );
    }
}
