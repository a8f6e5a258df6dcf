//! Requests and limits.
use crate::field::{ErrorType, Errors, Path};
use crate::meta::NEGATIVE;
use crate::quantity::Quantity;
use crate::resource_names::{is_extended, is_huge_page, may_overcommit, validate_of_container};
use crate::resources::effective_requests;
use crate::value::{entries, is_empty};
use serde_json::Value;

pub(super) fn validate(resources: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (limits, requests) = (&resources["limits"], &resources["requests"]);
    let (path_limits, path_requests) = (path.child("limits"), path.child("requests"));
    for (name, quantity) in entries(limits) {
        validate_one(name, quantity, &path_limits.key(name), errors);
    }
    for (name, quantity) in entries(requests) {
        let request = validate_one(name, quantity, &path_requests.key(name), errors);
        match (request, limits.get(name).map(Quantity::from_value)) {
            (Some(request), Some(Ok(limit))) => {
                if request != limit && !may_overcommit(name) {
                    errors.invalid(
                        &path_requests,
                        request.to_string(),
                        format!("must be equal to {name} limit of {limit}"),
                    );
                } else if request > limit {
                    let detail = format!("must be less than or equal to {name} limit of {limit}");
                    errors.invalid(&path_requests, request.to_string(), detail);
                }
            }
            (Some(_), None) if !may_overcommit(name) => {
                errors.required(&path_limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    let names: Vec<&str> = entries(limits).chain(entries(requests)).map(|(name, _)| name).collect();
    if names.iter().any(|name| is_huge_page(name)) && !names.iter().any(|name| matches!(*name, "cpu" | "memory")) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

/// One entry: a name that containers may use and a quantity that is not negative.
fn validate_one(name: &str, quantity: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Quantity> {
    validate_of_container(name, path, errors);
    let parsed = match Quantity::from_value(quantity) {
        Ok(parsed) => parsed,
        Err(error) => {
            errors.push(ErrorType::Invalid, path, quantity.clone(), error.to_string());
            return None;
        }
    };
    if parsed.is_negative() {
        errors.invalid(path, parsed.to_string(), NEGATIVE);
    }
    if is_extended(name) && !parsed.is_integer() {
        errors.invalid(path, parsed.to_string(), "must be an integer");
    }
    Some(parsed)
}

/// The pod's own requests and limits, which its containers must fit in together.
pub(super) fn validate_pod_level(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let resources = &spec["resources"];
    if resources.is_null() {
        return;
    }
    if !is_empty(&resources["claims"]) {
        errors.forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level");
    }
    for list in ["limits", "requests"] {
        for (name, _) in entries(&resources[list]) {
            if !matches!(name, "cpu" | "memory") && !is_huge_page(name) {
                errors.not_supported(&path.child(list).key(name), name, &["cpu", "hugepages-", "memory"]);
            }
        }
    }
    validate(resources, path, errors);
    let requests = &resources["requests"];
    for (name, sum) in effective_requests(spec) {
        if let Some(Ok(request)) = requests.get(&name).map(Quantity::from_value)
            && sum > request
        {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.invalid(&path.child("requests").key(&name), request.to_string(), detail);
        }
    }
}
