//! ResourceQuota and LimitRange.
use super::*;
use crate::resources::canonical_list;

mod limit_range;
mod validation;

pub(super) const RESOURCE_QUOTA: Kind = Kind {
    kind: "ResourceQuota",
    status: true,
    defaults: |_, quota| {
        for path in [["spec", "hard"], ["status", "hard"], ["status", "used"]] {
            if let Some(list) = at(quota, &path) {
                canonical_list(list);
            }
        }
    },
    validate: |quota, errors| validation::validate_quota(quota, errors),
    validate_update: |new, old, subresource, errors| match subresource {
        crate::Subresource::Status => validation::validate_quota_status(&new["status"], errors),
        _ => validation::validate_quota_update(new, old, errors),
    },
    prepare_create: |quota| set(quota, "status", json!({})),
    columns: &[
        NAME,
        Column::text("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
        Column::text(
            "Limit",
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        AGE,
    ],
    cells: |quota, now| {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let status = &quota["status"];
        for (resource, hard) in crate::value::sorted(&status["hard"]) {
            let used = status["used"][resource].as_str().unwrap_or("0");
            let shown = format!("{resource}: {used}/{}", text(hard));
            if resource.starts_with("limits.") { limits.push(shown) } else { requests.push(shown) }
        }
        vec![name(quota), requests.join(", ").into(), limits.join(", ").into(), age(quota, now)]
    },
    ..GENERAL
};

pub(super) const LIMIT_RANGE: Kind = Kind {
    kind: "LimitRange",
    validate: |range, errors| limit_range::validate(range, errors),
    validate_update: |new, _, _, errors| limit_range::validate(new, errors),
    defaults: |_, range| items_at(range, &["spec", "limits"]).iter_mut().for_each(default_item),
    columns: &[NAME, Column { data_type: "date", ..Column::text("Created At", crate::table::CREATED) }],
    cells: |range, _| vec![name(range), range["metadata"]["creationTimestamp"].clone()],
    ..GENERAL
};

/// Container limits default to the maximum, requests to the limit and then to the minimum.
fn default_item(item: &mut Value) {
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        if let Some(list) = at(item, &[list]) {
            canonical_list(list);
        }
    }
    if text(&item["type"]) != "Container" {
        return;
    }
    for (list, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
        let source = item[from].as_object().cloned().unwrap_or_default();
        if let Some(target) = object_at(item, list) {
            for (resource, quantity) in source {
                target.entry(resource).or_insert(quantity);
            }
        }
    }
}
