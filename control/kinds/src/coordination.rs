//! Lease and LeaseCandidate.
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind};
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{at, int, object_at, remove, text};
use serde_json::Value;

const COORDINATION: Kind = Kind { group: "coordination.k8s.io", ..GENERAL };

pub(crate) static KINDS: &[Kind] = &[
    Kind {
        kind: "Lease",
        names_version: true,
        defaults: |_, lease| {
            object_at(lease, "spec");
        },
        prepare_create: |lease| drop_coordinated(lease, &Value::Null),
        prepare_update: |new, old, _| drop_coordinated(new, old),
        validate,
        validate_update: |new, _, _, errors| validate(new, errors),
        columns: &[
            NAME,
            Column::text(
                "Holder",
                "holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader Election is used, the holder identity must be equal to the elected LeaseCandidate.metadata.name field.",
            ),
            AGE,
        ],
        cells: |lease, now| vec![name(lease), text(&lease["spec"]["holderIdentity"]).into(), age(lease, now)],
        ..COORDINATION
    },
    Kind {
        kind: "LeaseCandidate",
        columns: &[
            NAME,
            Column::text("LeaseName", "The lease it stands for."),
            Column::text("BinaryVersion", "The version that runs."),
            Column::text("EmulationVersion", "The version it behaves as."),
            AGE,
        ],
        cells: |candidate, now| {
            let spec = &candidate["spec"];
            let [lease, binary, emulation] =
                ["leaseName", "binaryVersion", "emulationVersion"].map(|member| Value::from(text(&spec[member])));
            vec![name(candidate), lease, binary, emulation, age(candidate, now)]
        },
        ..COORDINATION
    },
];

/// Coordinated leader election is off by default: its members are dropped unless they are stored already.
fn drop_coordinated(new: &mut Value, old: &Value) {
    let Some(spec) = at(new, &["spec"]) else { return };
    for member in ["strategy", "preferredHolder"] {
        if old["spec"][member].is_null() {
            remove(spec, member);
        }
    }
}

fn validate(lease: &Value, errors: &mut Errors) {
    let (spec, path) = (&lease["spec"], Path::new("spec"));
    let (duration, transitions) = (&spec["leaseDurationSeconds"], &spec["leaseTransitions"]);
    if !duration.is_null() && int(duration) <= 0 {
        errors.invalid(&path.child("leaseDurationSeconds"), int(duration), "must be greater than 0");
    }
    if int(transitions) < 0 {
        errors.invalid(&path.child("leaseTransitions"), int(transitions), crate::meta::NEGATIVE);
    }
    let strategy = text(&spec["strategy"]);
    if !text(&spec["preferredHolder"]).is_empty() && strategy.is_empty() {
        errors.forbidden(&path.child("preferredHolder"), "may only be specified if `strategy` is defined");
    }
}

#[cfg(test)]
mod tests {
    use crate::kind;
    use serde_json::json;

    #[test]
    fn a_lease_lasts_longer_than_nothing() {
        let lease = json!({"metadata": {"name": "l", "namespace": "n"}, "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}});
        assert_eq!(
            kind("coordination.k8s.io", "Lease").validate_create(&lease).message(),
            "[spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0, spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0]"
        );
    }
}
