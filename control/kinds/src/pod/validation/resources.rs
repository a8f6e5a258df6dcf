//! Requests and limits.
use crate::field::{ErrorType, Errors, Path};
use crate::meta::NEGATIVE;
use crate::quantity::Quantity;
use crate::resource_names::{self, is_huge_page, is_whole, may_overcommit, validate_of_container};
use crate::resources::{effective_limits, effective_requests};
use crate::value::{entries, is_empty, items, text};
use serde_json::Value;
use std::collections::BTreeSet;

type NameCheck = fn(&str, &Path<'_>, &mut Errors);

/// Limits alone, as a RuntimeClass's overhead has them.
pub(crate) fn validate_limits(limits: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !is_empty(limits) {
        validate(&serde_json::json!({"limits": limits}), path, errors);
    }
}

/// `limits` and `requests` of a container.
pub(super) fn validate(resources: &Value, path: &Path<'_>, errors: &mut Errors) {
    validate_with(resources, validate_of_container, path, errors);
}

fn validate_with(resources: &Value, check: NameCheck, path: &Path<'_>, errors: &mut Errors) {
    let (limits, requests) = (&resources["limits"], &resources["requests"]);
    let (path_limits, path_requests) = (path.child("limits"), path.child("requests"));
    for (name, quantity) in entries(limits) {
        let path = path_limits.key(name);
        if let Some(limit) = validate_one(name, quantity, check, &path, errors) {
            validate_pages(name, &limit, &path, errors);
        }
    }
    for (name, quantity) in entries(requests) {
        let request = validate_one(name, quantity, check, &path_requests.key(name), errors);
        match (&request, limits.get(name).map(Quantity::from_value)) {
            (Some(request), Some(Ok(limit))) => {
                if *request != limit && !may_overcommit(name) {
                    errors.invalid(
                        &path_requests,
                        request.to_string(),
                        format!("must be equal to {name} limit of {limit}"),
                    );
                } else if *request > limit {
                    let detail = format!("must be less than or equal to {name} limit of {limit}");
                    errors.invalid(&path_requests, request.to_string(), detail);
                }
            }
            (Some(_), None) if !may_overcommit(name) => {
                errors.required(&path_limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        if let Some(request) = request {
            validate_pages(name, &request, &path_requests.key(name), errors);
        }
    }
    let names: Vec<&str> = entries(limits).chain(entries(requests)).map(|(name, _)| name).collect();
    if names.iter().any(|name| is_huge_page(name)) && !names.iter().any(|name| matches!(*name, "cpu" | "memory")) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

/// Whether a quantity is a whole number of pages of the size that the name ends in.
fn is_page_multiple(name: &str, quantity: &Quantity) -> bool {
    let page = Quantity::from_value(&name.trim_start_matches("hugepages-").into());
    page.is_ok_and(|page| page.value() > 0 && quantity.value() % page.value() == 0)
}

/// Whether a container or the overhead of a pod names an amount of huge pages that is no whole number of them.
pub(super) fn has_indivisible_pages(spec: &Value) -> bool {
    let indivisible = |amounts: &Value| {
        let pages = entries(amounts).filter(|(name, _)| is_huge_page(name));
        pages
            .filter_map(|(name, amount)| Some((name, Quantity::from_value(amount).ok()?)))
            .any(|(name, amount)| !is_page_multiple(name, &amount))
    };
    let mut containers =
        ["containers", "initContainers", "ephemeralContainers"].into_iter().flat_map(|list| items(&spec[list]));
    indivisible(&spec["overhead"])
        || containers.any(|one| ["limits", "requests"].iter().any(|list| indivisible(&one["resources"][*list])))
}

fn validate_pages(name: &str, quantity: &Quantity, path: &Path<'_>, errors: &mut Errors) {
    if is_huge_page(name) && !is_page_multiple(name, quantity) && !errors.kept().indivisible_huge_pages {
        errors.invalid(path, quantity.to_string(), format!("{quantity} is not positive integer multiple of {name}"));
    }
}

/// One entry: a name that may be used there and a quantity that is not negative.
fn validate_one(
    name: &str,
    quantity: &Value,
    check: NameCheck,
    path: &Path<'_>,
    errors: &mut Errors,
) -> Option<Quantity> {
    check(name, path, errors);
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
    if is_whole(name) && !parsed.is_integer() {
        errors.invalid(path, parsed.to_string(), "must be an integer");
    }
    Some(parsed)
}

/// The pod's own requests and limits, which its containers must fit in together.
pub(super) fn validate_pod_level(spec: &Value, claims: &BTreeSet<&str>, path: &Path<'_>, errors: &mut Errors) {
    let resources = &spec["resources"];
    if resources.is_null() {
        return;
    }
    if text(&spec["os"]["name"]) == "windows" {
        return errors.forbidden(path, "may not be set for a windows pod");
    }
    if !is_empty(&resources["claims"]) {
        errors.forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level");
    }
    validate_with(resources, validate_of_pod, path, errors);
    super::claims::validate_used(&resources["claims"], claims, &path.child("claims"), errors);
    let requests = &resources["requests"];
    for (name, sum) in effective_requests(spec) {
        if let Some(Ok(request)) = requests.get(&name).map(Quantity::from_value)
            && sum > request
        {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.invalid(&path.child("requests").key(&name), request.to_string(), detail);
        }
    }
    let limits = &resources["limits"];
    for (name, sum) in effective_limits(spec).into_iter().filter(|(name, _)| is_huge_page(name)) {
        if let Some(Ok(limit)) = limits.get(&name).map(Quantity::from_value)
            && sum > limit
        {
            let detail = format!("must be greater than or equal to aggregate container limits of {sum}");
            errors.invalid(&path.child("limits").key(&name), limit.to_string(), detail);
        }
    }
    let containers = path.child("containers");
    for (index, container) in items(&spec["containers"]).iter().enumerate() {
        let path = containers.index(index);
        for (name, own) in entries(&container["resources"]["limits"]) {
            if let (Ok(own), Some(Ok(limit))) = (Quantity::from_value(own), limits.get(name).map(Quantity::from_value))
                && own > limit
            {
                let detail = format!("must be less than or equal to pod limits of {limit}");
                errors.invalid(&path.key(name).child("limits"), own.to_string(), detail);
            }
        }
    }
}

/// A name that a pod as a whole may ask for.
fn validate_of_pod(name: &str, path: &Path<'_>, errors: &mut Errors) {
    let found = errors.0.len();
    resource_names::validate(name, path, errors);
    if errors.0.len() == found && !matches!(name, "cpu" | "memory") && !is_huge_page(name) {
        errors.not_supported(path, name, &["cpu", "hugepages-", "memory"]);
    }
}
