//! PriorityClass (`pkg/apis/scheduling/validation`).
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind};
use crate::meta::immutable;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{default_to, flag, int, set, text};
use serde_json::Value;

pub(super) const KIND: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    namespaced: false,
    defaults: |_, class| {
        default_to(class, "value", 0);
        default_to(class, "preemptionPolicy", "PreemptLowerPriority");
    },
    // It is the first and the last generation.
    prepare_create: |class| {
        if let Some(meta) = class.get_mut("metadata") {
            set(meta, "generation", 1);
        }
    },
    validate,
    validate_update: |new, old, _, errors| {
        if int(&new["value"]) != int(&old["value"]) {
            errors.forbidden(&Path::new("value"), "may not be changed in an update.");
        }
        immutable(&new["preemptionPolicy"], &old["preemptionPolicy"], &Path::new("preemptionPolicy"), errors);
    },
    columns: &[
        NAME,
        Column::integer(
            "Value",
            "value represents the integer value of this priority class. This is the actual priority that pods receive when they have the name of this class in their pod spec.",
        ),
        Column::boolean(
            "Global-Default",
            "globalDefault specifies whether this PriorityClass should be considered as the default priority for pods that do not have any priority class. Only one PriorityClass can be marked as `globalDefault`. However, if more than one PriorityClasses exists with their `globalDefault` field set to true, the smallest value of such global default PriorityClasses will be used as the default priority.",
        ),
        AGE,
        Column::text(
            "PreemptionPolicy",
            "preemptionPolicy is the Policy for preempting pods with lower priority. One of Never, PreemptLowerPriority. Defaults to PreemptLowerPriority if unset.",
        ),
    ],
    cells: |class, now| {
        vec![
            name(class),
            int(&class["value"]).into(),
            flag(&class["globalDefault"]).into(),
            age(class, now),
            text(&class["preemptionPolicy"]).into(),
        ]
    },
    ..GENERAL
};

const USER_MAX: i64 = 1_000_000_000;

/// The classes that the system itself has, and their values.
const SYSTEM: [(&str, i64); 2] =
    [("system-node-critical", 2 * USER_MAX + 1000), ("system-cluster-critical", 2 * USER_MAX)];

fn validate(class: &Value, errors: &mut Errors) {
    let (name, value) = (text(&class["metadata"]["name"]), int(&class["value"]));
    if name.starts_with("system-") {
        if let Some(why) = not_known(name, value, flag(&class["globalDefault"])) {
            let detail = "priority class names with 'system-' prefix are reserved for system use only. error: ";
            errors.forbidden(&Path::new("metadata.name"), format!("{detail}{why}"));
        }
    } else if value > USER_MAX {
        let detail = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        errors.forbidden(&Path::new("value"), detail);
    }
    match class["preemptionPolicy"].as_str() {
        None | Some("PreemptLowerPriority" | "Never") => {}
        Some("") => errors.required(&Path::new("preemptionPolicy"), ""),
        Some(policy) => {
            errors.not_supported(&Path::new("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
        }
    }
}

fn not_known(name: &str, value: i64, global: bool) -> Option<String> {
    match SYSTEM.into_iter().find(|(known, _)| *known == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, known)) if known != value => Some(format!("value of {name} PriorityClass must be {known}")),
        Some(_) if global => Some(format!("globalDefault of {name} PriorityClass must be false")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::{Value, json};

    fn class(name: &str, value: i64) -> Value {
        json!({"metadata": {"name": name, "resourceVersion": "1"}, "value": value, "preemptionPolicy": "Never"})
    }

    // TestValidatePriorityClass
    #[test]
    fn names_of_the_system_are_the_systems() {
        let rules = kind("scheduling.k8s.io", "PriorityClass");
        for (name, value, message) in [
            ("tier1", 100, "[]"),
            (
                "tier1",
                1_000_000_001,
                "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
            ),
            ("system-node-critical", 2_000_001_000, "[]"),
            (
                "system-node-critical",
                1,
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000",
            ),
            (
                "system-x",
                1,
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class",
            ),
        ] {
            assert_eq!(rules.validate_create(&class(name, value)).message(), message);
        }
        let mut wrong = class("a", 1);
        wrong["preemptionPolicy"] = "Sometimes".into();
        assert_eq!(
            rules.validate_create(&wrong).message(),
            "preemptionPolicy: Unsupported value: \"Sometimes\": supported values: \"PreemptLowerPriority\", \"Never\""
        );
    }

    // TestValidatePriorityClassUpdate
    #[test]
    fn a_class_keeps_its_value_and_policy() {
        let rules = kind("scheduling.k8s.io", "PriorityClass");
        let (old, mut new) = (class("a", 1), class("a", 2));
        new["preemptionPolicy"] = "PreemptLowerPriority".into();
        assert_eq!(
            rules.validate_update(&new, &old, Subresource::None).message(),
            "[value: Forbidden: may not be changed in an update., \
             preemptionPolicy: Invalid value: \"PreemptLowerPriority\": field is immutable]"
        );
    }
}
