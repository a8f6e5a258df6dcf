//! The kinds of admissionregistration.k8s.io.
use super::*;

pub(super) const ADMISSION: Kind =
    Kind { group: "admissionregistration.k8s.io", namespaced: false, generation: true, ..GENERAL };

pub(super) fn default_match(object: &mut Value) {
    default_to(object, "matchPolicy", "Equivalent");
    default_to(object, "namespaceSelector", json!({}));
    default_to(object, "objectSelector", json!({}));
}

fn default_constraints(constraints: &mut Value) {
    default_match(constraints);
    for list in ["resourceRules", "excludeResourceRules"] {
        items_at(constraints, &[list]).iter_mut().for_each(|rule| default_to(rule, "scope", "*"));
    }
}

pub(super) const POLICY: Kind = Kind {
    kind: "ValidatingAdmissionPolicy",
    status: true,
    defaults: |_, policy| {
        object_at(policy, "spec");
        if let Some(spec) = at(policy, &["spec"]) {
            default_to(spec, "failurePolicy", "Fail");
            if let Some(constraints) = at(spec, &["matchConstraints"]) {
                default_constraints(constraints);
            }
        }
    },
    columns: &[
        NAME,
        Column::integer(
            "Validations",
            "Validations indicates the number of validation rules defined in this configuration",
        ),
        Column::text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
        AGE,
    ],
    cells: |policy, now| {
        let kind = &policy["spec"]["paramKind"];
        let shown = match kind {
            Value::Null => "<unset>".to_owned(),
            _ => format!("{}/{}", text(&kind["apiVersion"]), text(&kind["kind"])),
        };
        vec![name(policy), items(&policy["spec"]["validations"]).len().into(), shown.into(), age(policy, now)]
    },
    ..ADMISSION
};

pub(super) const POLICY_BINDING: Kind = Kind {
    kind: "ValidatingAdmissionPolicyBinding",
    defaults: |_, binding| {
        if let Some(resources) = at(binding, &["spec", "matchResources"]) {
            default_constraints(resources);
        }
    },
    columns: &[
        NAME,
        Column::text("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
        Column::text("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
        AGE,
    ],
    cells: |binding, now| {
        let (spec, parameter) = (&binding["spec"], &binding["spec"]["paramRef"]);
        let shown = match (text(&parameter["namespace"]), text(&parameter["name"])) {
            (_, "") => "<unset>".to_owned(),
            ("", name) => format!("*/{name}"),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        vec![name(binding), text(&spec["policyName"]).into(), shown.into(), age(binding, now)]
    },
    ..ADMISSION
};
