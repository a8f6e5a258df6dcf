//! StorageClass and VolumeAttributesClass.
use super::is_default;
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind};
use crate::meta::immutable;
use crate::names;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{default_to, entries, flag, same, text};
use jiff::Timestamp;
use serde_json::Value;

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
        if !same(&new["parameters"], &old["parameters"]) {
            errors.forbidden(&Path::new("parameters"), "updates to parameters are forbidden.");
        }
        if new["provisioner"] != old["provisioner"] {
            errors.forbidden(&Path::new("provisioner"), "updates to provisioner are forbidden.");
        }
        if new["reclaimPolicy"] != old["reclaimPolicy"] {
            errors.forbidden(&Path::new("reclaimPolicy"), "updates to reclaimPolicy are forbidden.");
        }
        immutable(&new["volumeBindingMode"], &old["volumeBindingMode"], &Path::new("volumeBindingMode"), errors);
    },
    columns: &[
        NAME,
        Column::text("Provisioner", "Who makes the volumes."),
        Column::text("ReclaimPolicy", "What happens to a volume when its claim is gone."),
        Column::text("VolumeBindingMode", "When a volume is bound to a claim."),
        Column::text("AllowVolumeExpansion", "Whether volumes may grow."),
        AGE,
    ],
    cells,
    ..GENERAL
};

pub(super) const VOLUME_ATTRIBUTES_CLASS: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttributesClass",
    namespaced: false,
    validate: |class, errors| provisioner(text(&class["driverName"]), &Path::new("driverName"), errors),
    validate_update: |new, old, _, errors| {
        for member in ["driverName", "parameters"] {
            if !same(&new[member], &old[member]) {
                errors.forbidden(&Path::new(member), format!("updates to {member} are forbidden."));
            }
        }
    },
    columns: &[NAME, Column::text("DriverName", "The CSI driver that applies the attributes."), AGE],
    cells: |class, now| vec![name(class), text(&class["driverName"]).into(), age(class, now)],
    ..GENERAL
};

fn provisioner(value: &str, path: &Path<'_>, errors: &mut Errors) {
    if value.is_empty() {
        errors.required(path, "");
    } else {
        errors.invalid_each(path, value, names::qualified_name(&value.to_lowercase()));
    }
}

fn validate(class: &Value, errors: &mut Errors) {
    provisioner(text(&class["provisioner"]), &Path::new("provisioner"), errors);
    let (parameters, path) = (&class["parameters"], Path::new("parameters"));
    if entries(parameters).count() > 512 {
        errors.too_long(&path, 512);
    }
    if entries(parameters).any(|(key, _)| key.is_empty()) {
        errors.invalid(&path, "", "field can not be empty.");
    }
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
            "[provisioner: Forbidden: updates to provisioner are forbidden., volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable]"
        );
    }
}
