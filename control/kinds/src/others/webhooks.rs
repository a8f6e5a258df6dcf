//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration.
use super::admission::{ADMISSION, default_match};
use super::*;

pub(super) mod validation;

const WEBHOOK_COLUMNS: &[Column] = &[
    NAME,
    Column::integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
    AGE,
];

pub(super) const VALIDATING: Kind = Kind {
    kind: "ValidatingWebhookConfiguration",
    defaults: |_, configuration| {
        for webhook in items_at(configuration, &["webhooks"]) {
            default_webhook(webhook);
        }
    },
    validate: |configuration, errors| validation::validate(configuration, None, errors),
    validate_update: |new, old, _, errors| validation::validate(new, Some(old), errors),
    columns: WEBHOOK_COLUMNS,
    cells: |object, now| vec![name(object), items(&object["webhooks"]).len().into(), age(object, now)],
    ..ADMISSION
};

pub(super) const MUTATING: Kind = Kind {
    kind: "MutatingWebhookConfiguration",
    defaults: |_, configuration| {
        for webhook in items_at(configuration, &["webhooks"]) {
            default_webhook(webhook);
            default_to(webhook, "reinvocationPolicy", "Never");
        }
    },
    validate: |configuration, errors| validation::validate(configuration, None, errors),
    validate_update: |new, old, _, errors| validation::validate(new, Some(old), errors),
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
