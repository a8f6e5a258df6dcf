//! What a Node must satisfy: taints, addresses, and pod CIDRs that never change once they are set.
use super::*;
use crate::names;
use crate::net::validate_cidr;
use crate::quantity::Quantity;

const SPEC: Path<'static> = Path::new("spec");

pub(super) fn validate(node: &Value, errors: &mut Errors) {
    validate_taints(&node["spec"]["taints"], errors);
    let status = Path::new("status");
    for list in ["capacity", "allocatable"] {
        let path = status.child(list);
        for (name, quantity) in crate::value::entries(&node["status"][list]) {
            if Quantity::from_value(quantity).is_ok_and(|quantity| quantity.is_negative()) {
                errors.invalid(&path.child(name), text(quantity), crate::meta::NEGATIVE);
            }
        }
    }
    let (cidrs, path) = (&node["spec"]["podCIDRs"], SPEC.child("podCIDRs"));
    let mut families = Vec::new();
    for (index, cidr) in items(cidrs).iter().enumerate() {
        families.extend(validate_cidr(text(cidr), &path.index(index), errors).map(|net| net.addr().is_ipv4()));
    }
    let listed = items(cidrs).len();
    if listed > 2 || (listed == 2 && (families.len() != 2 || families[0] == families[1])) {
        errors.invalid(&path, cidrs.clone(), "may specify no more than one CIDR for each IP family");
    }
}

pub(super) fn validate_update(new: &Value, old: &Value, subresource: Subresource, errors: &mut Errors) {
    if subresource == Subresource::None {
        validate(new, errors);
    }
    let addresses = Path::new("status.addresses");
    let mut seen = BTreeSet::new();
    for (index, address) in items(&new["status"]["addresses"]).iter().enumerate() {
        if !seen.insert((text(&address["type"]), text(&address["address"]))) {
            errors.duplicate(&addresses.index(index), address.clone());
        }
    }
    let (before, now) = (&old["spec"]["podCIDRs"], &new["spec"]["podCIDRs"]);
    if !is_empty(before) && !same(before, now) {
        errors.forbidden(&SPEC.child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid");
    }
    let (before, now) = (text(&old["spec"]["providerID"]), text(&new["spec"]["providerID"]));
    if !before.is_empty() && before != now {
        errors.forbidden(&SPEC.child("providerID"), "node updates may not change providerID except from \"\" to valid");
    }
}

/// Kubernetes names them as a part of metadata.
fn validate_taints(taints: &Value, errors: &mut Errors) {
    let path = Path::new("metadata.taints");
    let mut seen = BTreeSet::new();
    for (index, taint) in items(taints).iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (text(&taint["key"]), text(&taint["value"]), text(&taint["effect"]));
        errors.invalid_each(&path.child("key"), key, names::qualified_name(key));
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            errors.invalid(&path.child("value"), value, wrong.join(";"));
        }
        match effect {
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            "" => errors.required(&path.child("effect"), ""),
            _ => errors.not_supported(&path.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]),
        }
        if !seen.insert((effect, key)) {
            errors.add(crate::FieldError {
                kind: crate::ErrorType::Duplicate,
                field: path.to_string(),
                value: json!({"Key": key, "Value": value, "Effect": effect, "TimeAdded": taint["timeAdded"]}),
                detail: "taints must be unique by key and effect pair".to_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    #[test]
    fn taints_are_unique_and_their_effects_known() {
        let taint = json!({"key": "a", "effect": "NoSchedule"});
        let node = json!({"metadata": {"name": "n"}, "spec": {"taints": [taint, taint, {"key": "b", "effect": "X"}]}});
        let message = kind("", "Node").validate_create(&node).message();
        assert!(message.contains("metadata.taints[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}: taints must be unique by key and effect pair"), "{message}");
        assert!(message.contains("metadata.taints[2].effect: Unsupported value: \"X\""), "{message}");
    }

    #[test]
    fn the_pod_cidr_is_given_once() {
        let meta = json!({"name": "n", "resourceVersion": "1"});
        let old = json!({"metadata": meta, "spec": {"podCIDRs": ["10.244.0.0/24"]}});
        let new = json!({"metadata": meta, "spec": {"podCIDRs": ["10.244.1.0/24"]}});
        let errors = kind("", "Node").validate_update(&new, &old, Subresource::None);
        assert_eq!(
            errors.message(),
            "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"
        );
        let empty = json!({"metadata": meta, "spec": {}});
        assert!(kind("", "Node").validate_update(&old, &empty, Subresource::None).is_empty());
    }
}
