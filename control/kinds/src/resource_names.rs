//! Names of resources (`pkg/apis/core/helper`): which are Kubernetes' own, which a container, a LimitRange or a quota may name.
use crate::field::{ErrorType, Errors, Path};
use crate::meta::NEGATIVE;
use crate::names;
use crate::quantity::Quantity;
use serde_json::Value;

/// Objects that quotas count under names of their own.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

const COMPUTE: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

/// `hugepages-2Mi` and its like.
pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Resources of Kubernetes itself rather than of a vendor.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a request may be below the limit.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// A vendor's, like `example.com/gpu`.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether a quota may limit it, if it is not qualified.
pub(crate) fn is_quota(name: &str) -> bool {
    COUNTED.contains(&name) || COMPUTE.contains(&name) || is_huge_page(name) || name.starts_with("requests.hugepages-")
}

/// Whether there are only whole ones.
pub(crate) fn is_whole(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

/// `validateResourceName`. Whether it is qualified at all.
pub(crate) fn validate(name: &str, path: &Path<'_>, errors: &mut Errors) -> bool {
    let wrong = names::qualified_name(name);
    if !wrong.is_empty() {
        errors.invalid_each(path, name, wrong);
        return false;
    }
    if !name.contains('/') && name != "storage" && !is_quota(name) {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
    true
}

/// `validateContainerResourceName`.
pub(crate) fn validate_of_container(name: &str, path: &Path<'_>, errors: &mut Errors) {
    validate(name, path, errors);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_page(name) {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

/// One entry of a quota's lists.
pub(crate) fn validate_of_quota(name: &str, quantity: &Value, path: &Path<'_>, errors: &mut Errors) {
    validate(name, path, errors);
    if !name.contains('/') && !is_quota(name) {
        errors.invalid(path, name, "must be a standard resource for quota");
    }
    match Quantity::from_value(quantity) {
        Err(error) => errors.push(ErrorType::Invalid, path, quantity.clone(), error.to_string()),
        Ok(quantity) => {
            if quantity.is_negative() {
                errors.invalid(path, quantity.to_string(), NEGATIVE);
            }
            if is_whole(name) && quantity.milli_value() % 1000 != 0 {
                errors.invalid(path, quantity.to_string(), "must be an integer");
            }
        }
    }
}
