//! The kinds of admissionregistration.k8s.io.
use super::webhooks::validation::policies;
use super::*;
use crate::kind::Subresource;

pub(super) const ADMISSION: Kind =
    Kind { group: "admissionregistration.k8s.io", namespaced: false, generation: true, names_version: true, ..GENERAL };

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
    status_keeps_metadata: true,
    prepare_create: |policy| set(policy, "status", json!({})),
    defaults: |_, policy| {
        object_at(policy, "spec");
        if let Some(spec) = at(policy, &["spec"]) {
            default_to(spec, "failurePolicy", "Fail");
            if let Some(constraints) = at(spec, &["matchConstraints"]) {
                default_constraints(constraints);
            }
        }
    },
    validate: |policy, errors| policies::validate_validating(policy, None, errors),
    validate_update: |new, old, part, errors| {
        if part == Subresource::None {
            policies::validate_validating(new, Some(old), errors);
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
        vec![name(policy), items(&policy["spec"]["validations"]).len().into(), param_kind(policy), age(policy, now)]
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
    validate: |binding, errors| policies::validate_binding(binding, true, errors),
    validate_update: |new, _, _, errors| policies::validate_binding(new, true, errors),
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

fn param_kind(policy: &Value) -> Value {
    match &policy["spec"]["paramKind"] {
        Value::Null => "<unset>".into(),
        kind => format!("{}/{}", text(&kind["apiVersion"]), text(&kind["kind"])).into(),
    }
}

pub(super) const MUTATING_POLICY: Kind = Kind {
    kind: "MutatingAdmissionPolicy",
    defaults: POLICY.defaults,
    validate: |policy, errors| policies::validate_mutating(policy, None, errors),
    validate_update: |new, old, _, errors| policies::validate_mutating(new, Some(old), errors),
    columns: &[
        NAME,
        Column::integer("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
        Column::text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
        AGE,
    ],
    cells: |policy, now| {
        vec![name(policy), items(&policy["spec"]["mutations"]).len().into(), param_kind(policy), age(policy, now)]
    },
    ..ADMISSION
};

pub(super) const MUTATING_POLICY_BINDING: Kind = Kind {
    kind: "MutatingAdmissionPolicyBinding",
    validate: |binding, errors| policies::validate_binding(binding, false, errors),
    validate_update: |new, _, _, errors| policies::validate_binding(new, false, errors),
    ..POLICY_BINDING
};
