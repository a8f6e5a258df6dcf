//! What NetworkPolicies must satisfy (`pkg/apis/networking/validation`).
use crate::field::{Errors, Path};
use crate::labels::validate_selector;
use crate::names::{port_name, port_number};
use crate::net::validate_cidr;
use crate::value::{int, items, strings, text};
use ipnet::IpNet;
use serde_json::Value;

/// A spec; blocks that the old one has are taken as they are.
pub(super) fn spec(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    let known = old.map(blocks).unwrap_or_default();
    validate_selector(&spec["podSelector"], &path.child("podSelector"), errors);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let list = path.child(direction);
        for (index, rule) in items(&spec[direction]).iter().enumerate() {
            let path = list.index(index);
            let ports = path.child("ports");
            for (index, one) in items(&rule["ports"]).iter().enumerate() {
                port(one, &ports.index(index), errors);
            }
            let list = path.child(peers);
            for (index, one) in items(&rule[peers]).iter().enumerate() {
                peer(one, &known, &list.index(index), errors);
            }
        }
    }
    let (types, at) = (strings(&spec["policyTypes"]), path.child("policyTypes"));
    if types.len() > 2 {
        return errors.invalid(&at, spec["policyTypes"].clone(), "may not specify more than two policyTypes");
    }
    for (index, one) in types.into_iter().enumerate() {
        if !matches!(one, "Ingress" | "Egress") {
            errors.not_supported(&at.index(index), one, &["Ingress", "Egress"]);
        }
    }
}

fn blocks(spec: &Value) -> Vec<&str> {
    let rules = [("ingress", "from"), ("egress", "to")].map(|(direction, peers)| (items(&spec[direction]), peers));
    let peers = rules.into_iter().flat_map(|(rules, peers)| rules.iter().flat_map(move |rule| items(&rule[peers])));
    peers
        .flat_map(|peer| {
            let block = &peer["ipBlock"];
            std::iter::once(text(&block["cidr"])).chain(strings(&block["except"])).filter(|cidr| !cidr.is_empty())
        })
        .collect()
}

fn port(port: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(protocol) = port["protocol"].as_str()
        && !matches!(protocol, "TCP" | "UDP" | "SCTP")
    {
        errors.not_supported(&path.child("protocol"), protocol, &["TCP", "UDP", "SCTP"]);
    }
    let (end, at_end) = (&port["endPort"], path.child("endPort"));
    match &port["port"] {
        Value::Number(_) => {
            let number = int(&port["port"]);
            for message in port_number(number) {
                errors.invalid(&path.child("port"), number, message);
            }
            if !end.is_null() {
                if int(end) < number {
                    errors.invalid(&at_end, number, "must be greater than or equal to `port`");
                }
                for message in port_number(int(end)) {
                    errors.invalid(&at_end, int(end), message);
                }
            }
        }
        Value::String(name) => {
            if !end.is_null() {
                errors.invalid(&at_end, int(end), "may not be specified when `port` is non-numeric");
            }
            errors.invalid_each(&path.child("port"), name, port_name(name));
        }
        _ if !end.is_null() => {
            errors.invalid(&at_end, int(end), "may not be specified when `port` is not specified");
        }
        _ => {}
    }
}

fn peer(peer: &Value, known: &[&str], path: &Path<'_>, errors: &mut Errors) {
    let mut peers = 0;
    for selector in ["podSelector", "namespaceSelector"] {
        if peer[selector].is_object() {
            peers += 1;
            validate_selector(&peer[selector], &path.child(selector), errors);
        }
    }
    let block = &peer["ipBlock"];
    if block.is_object() {
        peers += 1;
        ip_block(block, known, &path.child("ipBlock"), errors);
    }
    if peers == 0 {
        errors.required(path, "must specify a peer");
    } else if peers > 1 && block.is_object() {
        errors.forbidden(path, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(block: &Value, known: &[&str], path: &Path<'_>, errors: &mut Errors) {
    let read = |value: &str, path: &Path<'_>, errors: &mut Errors| match known.contains(&value) {
        true => value.parse::<IpNet>().ok(),
        false => validate_cidr(value, path, errors),
    };
    let cidr = text(&block["cidr"]);
    if cidr.is_empty() {
        return errors.required(&path.child("cidr"), "");
    }
    let Some(whole) = read(cidr, &path.child("cidr"), errors) else { return };
    let list = path.child("except");
    for (index, except) in strings(&block["except"]).into_iter().enumerate() {
        let path = list.index(index);
        let Some(part) = read(except, &path, errors) else { continue };
        if !whole.contains(&part.addr()) || whole.prefix_len() >= part.prefix_len() {
            errors.invalid(&path, except, "must be a strict subset of `cidr`");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kind;
    use serde_json::{Value, json};

    fn with(rule: Value) -> String {
        let object =
            json!({"metadata": {"name": "foo", "namespace": "bar"}, "spec": {"podSelector": {}, "ingress": [rule]}});
        kind("networking.k8s.io", "NetworkPolicy").validate_create(&object).message()
    }

    // TestValidateNetworkPolicy
    #[test]
    fn policies_are_judged_as_kubernetes_judges_them() {
        let block = |cidr: &str, except: &[&str]| json!({"from": [{"ipBlock": {"cidr": cidr, "except": except}}]});
        let (from, port) = ("spec.ingress[0].from[0]", "spec.ingress[0].ports[0]");
        for (rule, message) in [
            (block("192.168.0.0/16", &["192.168.3.0/24"]), "[]".to_owned()),
            (json!({"from": [{}]}), format!("{from}: Required value: must specify a peer")),
            (
                json!({"from": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}),
                format!("{from}: Forbidden: may not specify both ipBlock and another peer"),
            ),
            (block("", &[]), format!("{from}.ipBlock.cidr: Required value")),
            (
                block("192.168.5.6", &[]),
                format!(
                    "{from}.ipBlock.cidr: Invalid value: \"192.168.5.6\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
                ),
            ),
            (
                block("192.168.0.0/24", &["192.168.0.0/24"]),
                format!(
                    "{from}.ipBlock.except[0]: Invalid value: \"192.168.0.0/24\": must be a strict subset of `cidr`"
                ),
            ),
            (
                json!({"ports": [{"protocol": "x", "port": 80}]}),
                format!("{port}.protocol: Unsupported value: \"x\": supported values: \"TCP\", \"UDP\", \"SCTP\""),
            ),
            (
                json!({"ports": [{"port": 123456789}]}),
                format!("{port}.port: Invalid value: 123456789: must be between 1 and 65535, inclusive"),
            ),
            (
                json!({"ports": [{"port": "dns", "endPort": 32768}]}),
                format!("{port}.endPort: Invalid value: 32768: may not be specified when `port` is non-numeric"),
            ),
        ] {
            assert_eq!(with(rule), message);
        }
    }
}
