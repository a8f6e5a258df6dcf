//! PodDisruptionBudget.
use crate::field::{Errors, Path};
use crate::int_or_string;
use crate::kind::{GENERAL, Kind, Subresource};
use crate::labels::validate_selector;
use crate::meta::non_negative;
use crate::names::NameRule;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{int, object_at, set};
use serde_json::{Value, json};

pub(crate) static KINDS: &[Kind] = &[Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    status: true,
    generation: true,
    names_version: true,
    name: NameRule::PathSegment,
    defaults: |_, budget| {
        object_at(budget, "spec");
    },
    prepare_create: |budget| {
        let zero = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        set(budget, "status", zero);
    },
    validate,
    validate_update: |new, _, subresource, errors| match subresource {
        Subresource::Status => {
            let path = Path::new("status");
            for member in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
                non_negative(&new["status"][member], &path.child(member), errors);
            }
        }
        _ => validate(new, errors),
    },
    columns: &[
        NAME,
        Column::text("Min Available", "The minimum number of pods that must be available."),
        Column::text("Max Unavailable", "The maximum number of pods that may be unavailable."),
        Column::integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
        AGE,
    ],
    cells: |budget, now| {
        vec![
            name(budget),
            int_or_string::show(&budget["spec"]["minAvailable"], "N/A").into(),
            int_or_string::show(&budget["spec"]["maxUnavailable"], "N/A").into(),
            int(&budget["status"]["disruptionsAllowed"]).into(),
            age(budget, now),
        ]
    },
    ..GENERAL
}];

fn validate(budget: &Value, errors: &mut Errors) {
    let (spec, path) = (&budget["spec"], Path::new("spec"));
    let both = ["minAvailable", "maxUnavailable"];
    if both.iter().all(|member| !spec[*member].is_null()) {
        errors.invalid(&path, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
    }
    for member in both.into_iter().filter(|member| !spec[*member].is_null()) {
        int_or_string::validate(&spec[member], &path.child(member), errors);
        int_or_string::validate_at_most_100_percent(&spec[member], &path.child(member), errors);
    }
    validate_selector(&spec["selector"], &path.child("selector"), errors);
    if let Some(eviction) = spec["unhealthyPodEvictionPolicy"].as_str()
        && !matches!(eviction, "AlwaysAllow" | "IfHealthyBudget")
    {
        let path = path.child("unhealthyPodEvictionPolicy");
        errors.not_supported(&path, eviction, &["AlwaysAllow", "IfHealthyBudget"]);
    }
}

#[cfg(test)]
mod tests {
    use crate::kind;
    use serde_json::json;

    #[test]
    fn a_budget_has_one_bound() {
        let rules = kind("policy", "PodDisruptionBudget");
        let mut object = json!({"metadata": {"name": "b", "namespace": "n"}, "spec": {"minAvailable": "50%"}});
        assert_eq!(rules.validate_create(&object).message(), "[]");
        let row = rules.cells(&object, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(row[1..4], [json!("50%"), json!("N/A"), json!(0)]);
        object["spec"] = json!({"minAvailable": "150%"});
        assert_eq!(
            rules.validate_create(&object).message(),
            "spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%"
        );
        object["spec"] = json!({"minAvailable": 1, "maxUnavailable": 1});
        assert!(
            rules.validate_create(&object).message().contains("minAvailable and maxUnavailable cannot be both set")
        );
    }
}
