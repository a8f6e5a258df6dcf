//! What IPAddresses and ServiceCIDRs must satisfy (`pkg/apis/networking/validation`).
use crate::field::{Errors, Path};
use crate::meta::IMMUTABLE;
use crate::names::{dns1123_subdomain, path_segment};
use crate::net::validate_cidr;
use crate::value::{same, strings, text};
use serde_json::{Value, json};

pub(super) fn address(object: &Value, errors: &mut Errors) {
    let (parent, path) = (&object["spec"]["parentRef"], Path::new("spec.parentRef"));
    if !parent.is_object() {
        return errors.required(&path, "");
    }
    let group = text(&parent["group"]);
    if !group.is_empty() {
        errors.invalid_each(&path.child("group"), group, dns1123_subdomain(group));
    }
    for member in ["resource", "name"] {
        match text(&parent[member]) {
            "" => errors.required(&path.child(member), ""),
            value => errors.invalid_each(&path.child(member), value, path_segment(value)),
        }
    }
    let namespace = text(&parent["namespace"]);
    if !namespace.is_empty() {
        errors.invalid_each(&path.child("namespace"), namespace, path_segment(namespace));
    }
}

pub(super) fn address_update(new: &Value, old: &Value, errors: &mut Errors) {
    address(new, errors);
    let parent = &new["spec"]["parentRef"];
    if !same(parent, &old["spec"]["parentRef"]) && (parent.is_object() || old["spec"]["parentRef"].is_object()) {
        let shown = match parent {
            Value::Null => Value::Null,
            _ => {
                let [group, resource, namespace, name] =
                    ["group", "resource", "namespace", "name"].map(|member| text(&parent[member]));
                json!({"Group": group, "Resource": resource, "Namespace": namespace, "Name": name})
            }
        };
        errors.invalid(&Path::new("spec.parentRef"), shown, IMMUTABLE);
    }
}

pub(super) fn cidrs(object: &Value, errors: &mut Errors) {
    let (list, path) = (strings(&object["spec"]["cidrs"]), Path::new("spec.cidrs"));
    if list.is_empty() {
        return errors.required(&path, "at least one CIDR required");
    }
    if list.len() > 2 {
        return errors.invalid(&path, json!({"CIDRs": list}), "may only hold up to 2 values");
    }
    let nets: Vec<_> = list
        .iter()
        .enumerate()
        .filter_map(|(index, cidr)| {
            let net = validate_cidr(cidr, &path.index(index), errors)?;
            if net.to_string() != **cidr {
                errors.invalid(&path.index(index), *cidr, format!("must be in canonical form (\"{net}\")"));
            }
            Some(net)
        })
        .collect();
    if let [one, two] = nets.as_slice()
        && one.addr().is_ipv4() == two.addr().is_ipv4()
    {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.invalid(&path, object["spec"]["cidrs"].clone(), detail);
    }
}

/// A second family may be added, nothing else changes.
pub(super) fn cidrs_update(new: &Value, old: &Value, errors: &mut Errors) {
    let (wanted, had, path) = (strings(&new["spec"]["cidrs"]), strings(&old["spec"]["cidrs"]), Path::new("spec.cidrs"));
    match (had.len(), wanted.len()) {
        (before, after) if before == after => {
            for (index, cidr) in wanted.iter().enumerate().filter(|(index, cidr)| had[*index] != **cidr) {
                errors.invalid(&path.index(index), *cidr, IMMUTABLE);
            }
        }
        (1, 2) => {
            if wanted[0] != had[0] {
                errors.invalid(&path.index(0), wanted[0], IMMUTABLE);
            }
            cidrs(new, errors);
        }
        _ => errors.invalid(&path, new["spec"]["cidrs"].clone(), IMMUTABLE),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::json;

    // TestValidateIPAddress
    #[test]
    fn an_address_has_a_parent() {
        let rules = kind("networking.k8s.io", "IPAddress");
        let good = json!({"metadata": {"name": "192.168.1.1"}, "spec": {"parentRef": {"resource": "services", "namespace": "ns", "name": "s"}}});
        assert_eq!(rules.validate_create(&good).message(), "[]");
        let mut bad = good.clone();
        bad["spec"] = json!({});
        assert_eq!(rules.validate_create(&bad).message(), "spec.parentRef: Required value");
        bad["spec"] = json!({"parentRef": {}});
        assert_eq!(
            rules.validate_create(&bad).message(),
            "[spec.parentRef.resource: Required value, spec.parentRef.name: Required value]"
        );
    }

    // TestValidateServiceCIDR, TestValidateServiceCIDRUpdate
    #[test]
    fn a_service_cidr_holds_one_block_of_each_family() {
        let rules = kind("networking.k8s.io", "ServiceCIDR");
        let with =
            |cidrs: &[&str]| json!({"metadata": {"name": "c", "resourceVersion": "1"}, "spec": {"cidrs": cidrs}});
        let created = |cidrs: &[&str]| rules.validate_create(&with(cidrs)).message();
        assert_eq!(created(&["10.0.0.0/24", "fd00::/64"]), "[]");
        assert_eq!(created(&[]), "spec.cidrs: Required value: at least one CIDR required");
        assert!(created(&["10.0.0.1/24"]).starts_with("spec.cidrs[0]: Invalid value: \"10.0.0.1/24\""));
        assert!(created(&["10.0.0.0/24", "10.1.0.0/24"]).contains("no more than one IP for each IP family"));
        let updated =
            |cidrs: &[&str]| rules.validate_update(&with(cidrs), &with(&["10.0.0.0/24"]), Subresource::None).message();
        assert_eq!(updated(&["10.0.0.0/24", "fd00::/64"]), "[]");
        assert_eq!(updated(&["10.1.0.0/24"]), "spec.cidrs[0]: Invalid value: \"10.1.0.0/24\": field is immutable");
    }
}
