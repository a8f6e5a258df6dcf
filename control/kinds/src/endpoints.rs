//! Endpoints and EndpointSlice.
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind, Subresource};
use crate::meta::immutable_text;
use crate::names;
use crate::net::{validate_endpoint_ip, validate_ip};
use crate::table::{AGE, Column, NAME, age, name, with_more};
use crate::value::{
    at, default_to, default_zero, int, items, items_at, null_list, object_at, remove, same, set, strings, text,
};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

mod slice;

pub(crate) static KINDS: &[Kind] = &[
    Kind {
        kind: "Endpoints",
        defaults: |_, endpoints| {
            for subset in items_at(endpoints, &["subsets"]) {
                for port in items_at(subset, &["ports"]) {
                    default_zero(port, "protocol", "TCP");
                }
            }
        },
        validate,
        validate_update: |new, old, _, errors| {
            if !same(&new["subsets"], &old["subsets"]) {
                validate(new, errors);
            }
        },
        columns: &[
            NAME,
            Column::text(
                "Endpoints",
                "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share. A single address with multiple ports, some of which are ready and some of which are not (because they come from different containers) will result in the address being displayed in different subsets for the different ports. No address will appear in both Addresses and NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service.",
            ),
            AGE,
        ],
        cells: |endpoints, now| vec![name(endpoints), addresses(endpoints).into(), age(endpoints, now)],
        ..GENERAL
    },
    slice::KIND,
];

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// Every ready address with every port; with `<none>` for none.
fn addresses(endpoints: &Value) -> String {
    let subsets = items(&endpoints["subsets"]);
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut list = Vec::new();
    for subset in subsets {
        let ips: Vec<&str> = items(&subset["addresses"]).iter().map(|address| text(&address["ip"])).collect();
        let ports = items(&subset["ports"]);
        if ports.is_empty() {
            list.extend(ips.iter().map(|ip| (*ip).to_owned()));
        }
        for port in ports {
            let port = int(&port["port"]);
            list.extend(
                ips.iter().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }),
            );
        }
    }
    with_more(&list, 3)
}

fn validate(endpoints: &Value, errors: &mut Errors) {
    let subsets = Path::new("subsets");
    for (index, subset) in items(&endpoints["subsets"]).iter().enumerate() {
        let path = subsets.index(index);
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|list| items(&subset[*list]).is_empty()) {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in lists {
            let path = path.child(list);
            for (index, address) in items(&subset[list]).iter().enumerate() {
                validate_address(address, &path.index(index), errors);
            }
        }
        let (ports, path) = (items(&subset["ports"]), path.child("ports"));
        for (index, port) in ports.iter().enumerate() {
            validate_port(port, ports.len() > 1, &path.index(index), errors);
        }
    }
}

fn validate_address(address: &Value, path: &Path<'_>, errors: &mut Errors) {
    let ip = text(&address["ip"]);
    validate_ip(ip, &path.child("ip"), errors);
    let host = text(&address["hostname"]);
    if !host.is_empty() {
        errors.invalid_each(&path.child("hostname"), host, names::dns1123_label(host));
    }
    if let Some(node) = address["nodeName"].as_str() {
        errors.invalid_each(&path.child("nodeName"), node, names::dns1123_subdomain(node));
    }
    validate_endpoint_ip(ip, &path.child("ip"), errors);
}

fn validate_port(port: &Value, named: bool, path: &Path<'_>, errors: &mut Errors) {
    let name = text(&port["name"]);
    if name.is_empty() {
        if named {
            errors.required(&path.child("name"), "");
        }
    } else {
        errors.invalid_each(&path.child("name"), name, names::dns1123_label(name));
    }
    for wrong in names::port_number(int(&port["port"])) {
        errors.invalid(&path.child("port"), int(&port["port"]), wrong);
    }
    if text(&port["protocol"]).is_empty() {
        errors.required(&path.child("protocol"), "");
    } else {
        validate_protocol(port, path, errors);
    }
    validate_app_protocol(port, path, errors);
}

fn validate_protocol(port: &Value, path: &Path<'_>, errors: &mut Errors) {
    let protocol = text(&port["protocol"]);
    if !PROTOCOLS.contains(&protocol) {
        errors.not_supported(&path.child("protocol"), protocol, PROTOCOLS);
    }
}

fn validate_app_protocol(port: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(application) = port["appProtocol"].as_str() {
        errors.invalid_each(&path.child("appProtocol"), application, names::qualified_name(application));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;
    use serde_json::json;

    #[test]
    fn three_addresses_are_shown_and_the_rest_counted() {
        let ips = json!([{"ip": "1.1.1.1"}, {"ip": "2.2.2.2"}]);
        let endpoints = json!({"subsets": [{"addresses": ips, "ports": [{"port": 80}, {"port": 443}]}]});
        assert_eq!(addresses(&endpoints), "1.1.1.1:80,2.2.2.2:80,1.1.1.1:443 + 1 more...");
        assert_eq!(addresses(&json!({})), "<none>");
        assert_eq!(
            addresses(&json!({"subsets": [{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 1}]}]})),
            "[fd00::1]:1"
        );
    }

    #[test]
    fn addresses_and_ports_are_checked() {
        let object = json!({"metadata": {"name": "e", "namespace": "n"}, "subsets": [
            {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 80, "protocol": "TCP"}, {"name": "b", "port": 0, "protocol": "X"}]}, {}]});
        assert_eq!(
            kind("", "Endpoints").validate_create(&object).message(),
            "[subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128), \
             subsets[0].ports[0].name: Required value, subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive, \
             subsets[0].ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\", \
             subsets[1]: Required value: must specify `addresses` or `notReadyAddresses`]"
        );
    }
}
