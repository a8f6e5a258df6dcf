//! Which IP families a Service has: what it asks for, what its addresses say, and what the cluster has to give
//! (`pkg/registry/core/service/storage/alloc.go`, initIPFamilyFields).

use serde_json::{Value, json};

use super::family;
use crate::catalog::Resource;
use crate::object::meta;
use crate::status::{Cause, Status};

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// Fills in `ipFamilies` and `ipFamilyPolicy`, for a cluster that has `configured` families, the default one first.
pub(super) fn fill_in(
    configured: &[&'static str],
    resource: &Resource,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if service["spec"]["type"] == "ExternalName" || old.is_some_and(|old| prefers_as_before(service, old)) {
        return Ok(());
    }
    let name = meta(service, "name").to_owned();
    let spec = &mut service["spec"];
    let selectorless = spec["clusterIP"] == "None" && spec["selector"].as_object().is_none_or(|s| s.is_empty());
    if spec["ipFamilyPolicy"].is_null() {
        let before = old.map(|old| &old["spec"]["ipFamilyPolicy"]).filter(|policy| !policy.is_null());
        // Nobody knows of what families the endpoints of such a Service will be.
        let usual = json!(if selectorless { REQUIRE } else { SINGLE });
        spec["ipFamilyPolicy"] = before.cloned().unwrap_or(usual);
    }
    let policy = spec["ipFamilyPolicy"].clone();
    let mut causes = Vec::new();
    if let Some(old) = old {
        if policy == SINGLE {
            release(spec, &old["spec"]);
        } else {
            for (member, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
                let (now, was) = (list(&spec[member]).len(), list(&old["spec"][member]).len());
                if now > 0 && now < was {
                    let why = format!("must be 'SingleStack' to release the secondary {what}");
                    causes.push(Cause::invalid("spec.ipFamilyPolicy", &policy, &why));
                }
            }
        }
    }
    if policy == SINGLE {
        for (member, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
            if list(&spec[member]).len() == 2 {
                let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
                causes.push(Cause::invalid("spec.ipFamilyPolicy", &policy, &why));
            }
        }
    }
    let mut families: Vec<Value> = list(&spec["ipFamilies"]).to_vec();
    let addresses = list(&spec["clusterIPs"]).iter().map_while(|ip| ip.as_str()?.parse().ok().map(family));
    for (at, family) in addresses.enumerate().skip(families.len()) {
        if configured.contains(&family) {
            families.push(family.into());
        } else {
            let why = format!("{family} is not configured on this cluster");
            causes.push(Cause::invalid(format!("spec.clusterIPs[{at}]"), &spec["clusterIPs"], &why));
        }
    }
    refuse(resource, &name, causes)?;
    if !selectorless {
        check(configured, resource, &name, &policy, &families)?;
    }
    if families.is_empty() {
        families.extend(configured.first().map(|family| Value::from(*family)));
    }
    if families.len() == 1 && policy != SINGLE && (selectorless || configured.len() == 2) {
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.into());
    }
    spec["ipFamilies"] = families.into();
    Ok(())
}

/// Whether the cluster has what is asked for.
fn check(
    configured: &[&'static str],
    resource: &Resource,
    name: &str,
    policy: &Value,
    families: &[Value],
) -> Result<(), Status> {
    let mut causes = Vec::new();
    if policy == REQUIRE && configured.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        causes.push(Cause::invalid("spec.ipFamilyPolicy", policy, why));
    }
    for (at, family) in families.iter().enumerate() {
        if family.as_str().is_none_or(|family| !configured.contains(&family)) {
            causes.push(Cause::invalid(format!("spec.ipFamilies[{at}]"), family, "not configured on this cluster"));
        }
    }
    refuse(resource, name, causes)
}

fn refuse(resource: &Resource, name: &str, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(resource, name, causes)) }
}

/// SingleStack alone is clear enough: what nobody changed loses its second entry.
fn release(spec: &mut Value, before: &Value) {
    for member in ["clusterIPs", "ipFamilies"] {
        if list(&spec[member]).len() > 1 && spec[member] == before[member] {
            spec[member] = json!([spec[member][0]]);
        }
    }
}

/// A Service that prefers two families and is asked to be as before gets and loses none when the cluster's families change.
fn prefers_as_before(service: &Value, old: &Value) -> bool {
    let (spec, before) = (&service["spec"], &old["spec"]);
    let prefers = |policy: &Value| policy == PREFER;
    prefers(&spec["ipFamilyPolicy"])
        && (prefers(&before["ipFamilyPolicy"]) || before["ipFamilyPolicy"].is_null())
        && ["type", "clusterIPs", "ipFamilies"].iter().all(|member| spec[*member] == before[*member])
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn filled(configured: &[&'static str], spec: Value, old: Option<Value>) -> Result<(Value, Value), String> {
        let catalog = Catalog::builtin();
        let resource = catalog.get("", "v1", "services").unwrap();
        let mut service = json!({"metadata": {"name": "s"}, "spec": spec});
        let old = old.map(|spec| json!({"metadata": {"name": "s"}, "spec": spec}));
        match fill_in(configured, resource, &mut service, old.as_ref()) {
            Ok(()) => Ok((service["spec"]["ipFamilyPolicy"].clone(), service["spec"]["ipFamilies"].clone())),
            Err(status) => Err(status.message),
        }
    }

    #[test]
    fn a_service_gets_the_families_that_its_policy_and_addresses_name() {
        const BOTH: &[&str] = &["IPv4", "IPv6"];
        const ONE: &[&str] = &["IPv4"];
        let (none, v4, v6) = (json!(null), json!(["IPv4"]), json!(["IPv6"]));
        let (both, turned) = (json!(["IPv4", "IPv6"]), json!(["IPv6", "IPv4"]));
        for (configured, policy, families, ips, wanted, got) in [
            (ONE, none.clone(), none.clone(), none.clone(), SINGLE, v4.clone()),
            (ONE, json!(PREFER), none.clone(), none.clone(), PREFER, v4.clone()),
            (BOTH, none.clone(), none.clone(), none.clone(), SINGLE, v4.clone()),
            (BOTH, none.clone(), v6.clone(), none.clone(), SINGLE, v6.clone()),
            (BOTH, none.clone(), none.clone(), json!(["fd00::7"]), SINGLE, v6.clone()),
            (BOTH, json!(PREFER), none.clone(), none.clone(), PREFER, both.clone()),
            (BOTH, json!(PREFER), v6.clone(), none.clone(), PREFER, turned.clone()),
            (BOTH, json!(REQUIRE), none.clone(), json!(["fd00::7"]), REQUIRE, turned.clone()),
            (BOTH, json!(REQUIRE), none.clone(), json!(["10.0.0.7", "fd00::7"]), REQUIRE, both.clone()),
            (ONE, none.clone(), none.clone(), json!(["None"]), REQUIRE, both.clone()),
            (ONE, json!(SINGLE), none.clone(), json!(["None"]), SINGLE, v4.clone()),
            (ONE, none.clone(), v6.clone(), json!(["None"]), REQUIRE, turned.clone()),
        ] {
            let spec = json!({"type": "ClusterIP", "ipFamilyPolicy": policy, "ipFamilies": families, "clusterIPs": ips,
                "clusterIP": ips[0]});
            assert_eq!(filled(configured, spec.clone(), None), Ok((wanted.into(), got)), "{configured:?} {spec}");
        }
    }

    #[test]
    fn what_the_cluster_does_not_have_is_refused() {
        let refused = |configured: &[&'static str], spec: Value| filled(configured, spec, None).unwrap_err();
        let one = |spec: Value| refused(&["IPv4"], spec);
        assert!(
            one(json!({"ipFamilyPolicy": REQUIRE})).contains("this cluster is not configured for dual-stack services")
        );
        assert!(
            one(json!({"ipFamilies": ["IPv6"]}))
                .contains("spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured")
        );
        let said = one(json!({"clusterIP": "fd00::7", "clusterIPs": ["fd00::7"]}));
        assert!(said.contains("spec.clusterIPs[0]: Invalid value: [\"fd00::7\"]: IPv6 is not configured"), "{said}");
        let two = refused(&["IPv4", "IPv6"], json!({"ipFamilies": ["IPv4", "IPv6"]}));
        assert!(two.contains("when multiple IP families are specified"), "{two}");
    }

    #[test]
    fn an_update_keeps_the_policy_and_a_second_family_goes_only_by_single_stack() {
        const BOTH: &[&str] = &["IPv4", "IPv6"];
        let old = json!({"type": "ClusterIP", "ipFamilyPolicy": REQUIRE, "ipFamilies": BOTH, "clusterIP": "10.0.0.7",
            "clusterIPs": ["10.0.0.7", "fd00::7"]});
        let changed = |change: Value| {
            let mut spec = old.clone();
            for (key, value) in change.as_object().unwrap() {
                spec[key] = value.clone();
            }
            filled(BOTH, spec, Some(old.clone()))
        };
        assert_eq!(changed(json!({"ipFamilyPolicy": null})), Ok((REQUIRE.into(), json!(BOTH))));
        assert_eq!(changed(json!({"ipFamilyPolicy": SINGLE})), Ok((SINGLE.into(), json!(["IPv4"]))));
        let said = changed(json!({"ipFamilies": ["IPv4"]})).unwrap_err();
        assert!(said.contains("must be 'SingleStack' to release the secondary IP family"), "{said}");
        // A cluster that has become dual-stack changes nobody who does not ask.
        let old =
            json!({"type": "ClusterIP", "ipFamilyPolicy": PREFER, "ipFamilies": ["IPv4"], "clusterIPs": ["10.0.0.7"]});
        assert_eq!(filled(BOTH, old.clone(), Some(old.clone())), Ok((PREFER.into(), json!(["IPv4"]))));
        // Who leaves out the policy keeps it, and asks for what it says now.
        let mut less = old.clone();
        less["ipFamilyPolicy"].take();
        assert_eq!(filled(BOTH, less.clone(), Some(old.clone())), Ok((PREFER.into(), json!(BOTH))));
        less["ipFamilies"].take();
        assert_eq!(filled(BOTH, less.clone(), Some(old.clone())), Ok((PREFER.into(), json!(BOTH))));
        assert_eq!(filled(&["IPv4"], less, Some(old)), Ok((PREFER.into(), json!(["IPv4"]))));
    }
}
