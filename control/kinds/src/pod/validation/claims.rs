//! Resource claims of a pod, and containers' use of them.
use crate::field::{ErrorType, Errors, Path};
use crate::names;
use crate::value::{items, text};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// `spec.resourceClaims`; the names that containers may use.
pub(super) fn validate<'a>(claims: &'a Value, mirror: bool, path: &Path<'_>, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, claim) in items(claims).iter().enumerate() {
        if mirror {
            errors.forbidden(&Path::new(""), "static pods do not support resource claims");
            continue;
        }
        let (path, name) = (path.index(index), text(&claim["name"]));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        } else {
            errors.invalid_each(&path.child("name"), name, names::dns1123_label(name));
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let shown = || json!({"Name": name, "ResourceClaimName": claim[sources[0]], "ResourceClaimTemplateName": claim[sources[1]]});
        match sources.iter().filter(|source| !claim[**source].is_null()).count() {
            0 => {
                errors.invalid(&path, shown(), "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
            }
            1 => {}
            _ => errors.invalid(
                &path,
                shown(),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
        }
        for source in sources {
            if let Some(named) = claim[source].as_str() {
                errors.invalid_each(&path.child(source), named, names::dns1123_subdomain(named));
            }
        }
    }
    seen
}

/// `resources.claims` of a container.
pub(super) fn validate_used(claims: &Value, pod: &BTreeSet<&str>, path: &Path<'_>, errors: &mut Errors) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut requests: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, claim) in items(claims).iter().enumerate() {
        let (path, name, request) = (path.index(index), text(&claim["name"]), text(&claim["request"]));
        if name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        if seen.contains(name) {
            errors.duplicate(&path, name);
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                errors.invalid_each(&path.child("request"), request, names::dns1123_label(request));
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                errors.duplicate(&path, key.as_str());
            } else if request.is_empty() {
                (0..requests.get(name).copied().unwrap_or_default()).for_each(|_| errors.duplicate(&path, name));
            } else {
                *requests.entry(name).or_default() += 1;
            }
            seen.insert(key);
        }
        if !pod.contains(name) && !errors.is_full() {
            let known = match pod.iter().copied().collect::<Vec<_>>().join(", ") {
                names if names.is_empty() => " which is empty".to_owned(),
                names => format!(": {names}"),
            };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{known}");
            errors.push(ErrorType::NotFound, &path, name, detail);
        }
    }
}
