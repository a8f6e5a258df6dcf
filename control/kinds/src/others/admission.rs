//! The kinds of admissionregistration.k8s.io.
use super::*;

const ADMISSION: Kind = Kind { group: "admissionregistration.k8s.io", namespaced: false, generation: true, ..GENERAL };

const WEBHOOK_COLUMNS: &[Column] = &[
    NAME,
    Column::integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
    AGE,
];

pub(super) const VALIDATING_WEBHOOKS: Kind = Kind {
    kind: "ValidatingWebhookConfiguration",
    defaults: |_, configuration| {
        for webhook in items_at(configuration, &["webhooks"]) {
            default_webhook(webhook);
        }
    },
    columns: WEBHOOK_COLUMNS,
    cells: |object, now| vec![name(object), items(&object["webhooks"]).len().into(), age(object, now)],
    ..ADMISSION
};

pub(super) const MUTATING_WEBHOOKS: Kind = Kind {
    kind: "MutatingWebhookConfiguration",
    defaults: |_, configuration| {
        for webhook in items_at(configuration, &["webhooks"]) {
            default_webhook(webhook);
            default_to(webhook, "reinvocationPolicy", "Never");
        }
    },
    columns: WEBHOOK_COLUMNS,
    cells: |object, now| vec![name(object), items(&object["webhooks"]).len().into(), age(object, now)],
    ..ADMISSION
};

fn default_webhook(webhook: &mut Value) {
    default_to(webhook, "failurePolicy", "Fail");
    default_match(webhook);
    default_to(webhook, "timeoutSeconds", 10);
    if let Some(service) = at(webhook, &["clientConfig", "service"]) {
        default_to(service, "port", 443);
    }
    items_at(webhook, &["rules"]).iter_mut().for_each(|rule| default_to(rule, "scope", "*"));
}

fn default_match(object: &mut Value) {
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
