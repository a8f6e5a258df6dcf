//! A Service's cluster IPs and IP families.
use super::*;

const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];

pub(super) fn validate(spec: &Value, errors: &mut Errors) {
    let (ip, ips, path) = (text(&spec["clusterIP"]), strings(&spec["clusterIPs"]), SPEC.child("clusterIPs"));
    let list = || spec["clusterIPs"].clone();
    match (ip, ips.first()) {
        ("", Some(_)) => errors.invalid(&path, list(), "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => errors.required(&path, ""),
        (ip, Some(first)) if *first != ip => errors.invalid(&path, list(), "first value must match `clusterIP`"),
        _ => {}
    }
    let families = validate_families(spec, errors);
    let found = errors.0.len();
    let mut parsed = Vec::new();
    for (index, ip) in ips.iter().enumerate() {
        if index == 0 && *ip == "None" {
            if ips.len() > 1 {
                errors.invalid(&path, list(), "'None' must be the first and only value");
            }
            continue;
        }
        parsed.extend(validate_ip(ip, &path.index(index), errors));
    }
    let readable = errors.0.len() == found;
    if ips.len() > 2 {
        errors.invalid(&path, list(), "may only hold up to 2 values");
    }
    if !readable {
        return;
    }
    if parsed.len() > 1 && parsed.iter().all(|ip| ip.is_ipv4() == parsed[0].is_ipv4()) {
        errors.invalid(&path, list(), "may specify no more than one IP for each IP family");
    }
    for (index, (ip, family)) in parsed.iter().zip(families).enumerate() {
        if FAMILIES.contains(&family) && ip.is_ipv4() != (family == "IPv4") {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(&path.index(index), ip.to_string(), detail);
        }
    }
}

fn validate_families<'a>(spec: &'a Value, errors: &mut Errors) -> Vec<&'a str> {
    let (families, path) = (strings(&spec["ipFamilies"]), SPEC.child("ipFamilies"));
    let mut seen = BTreeSet::new();
    for (index, family) in families.iter().enumerate() {
        if !FAMILIES.contains(family) {
            errors.not_supported(&path.index(index), *family, FAMILIES);
        }
        if !seen.insert(family) {
            errors.duplicate(&path.index(index), *family);
        }
    }
    if let Some(policy) = spec["ipFamilyPolicy"].as_str()
        && !POLICIES.contains(&policy)
    {
        errors.not_supported(&SPEC.child("ipFamilyPolicy"), policy, POLICIES);
    }
    families
}

/// The primary address and family stay; the secondary one may come, and go with the policy.
pub(super) fn validate_update(spec: &Value, before: &Value, errors: &mut Errors) {
    if [spec, before].iter().any(|spec| text(&spec["type"]) == "ExternalName") {
        return;
    }
    let headless = [is_headless(spec), is_headless(before)];
    if headless == [true, true] {
        return;
    }
    validate_list(spec, before, "clusterIPs", "clusterIP", errors);
    if headless == [false, false] {
        validate_list(spec, before, "ipFamilies", "ipFamily", errors);
    }
}

fn validate_list(spec: &Value, before: &Value, member: &str, one: &str, errors: &mut Errors) {
    let (now, was) = (strings(&spec[member]), strings(&before[member]));
    let (list, path) = (|| spec[member].clone(), SPEC.child(member));
    if now.len() == was.len() {
        for (index, _) in now.iter().zip(&was).enumerate().filter(|(_, (now, was))| now != was) {
            let index = if member == "clusterIPs" { index } else { 0 };
            errors.invalid(&path.index(index), list(), "may not change once set");
        }
        return;
    }
    if let (Some(now), Some(was)) = (now.first(), was.first())
        && now != was
    {
        errors.invalid(&path.index(0), list(), "may not change once set");
    }
    if now.len() < was.len() {
        if now.is_empty() {
            errors.invalid(&path.index(0), list(), format!("primary {one} can not be unset"));
        } else if text(&spec["ipFamilyPolicy"]) != "SingleStack" {
            let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
            errors.invalid(&SPEC.child("ipFamilyPolicy"), spec["ipFamilyPolicy"].clone(), detail);
        }
    }
}
