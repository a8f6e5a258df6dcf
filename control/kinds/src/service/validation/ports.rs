//! A Service's ports.
use super::*;
use serde_json::json;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(super) fn validate(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let ports = items(&spec["ports"]);
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let (name, number, protocol) = (text(&port["name"]), int(&port["port"]), text(&port["protocol"]));
        if !name.is_empty() {
            errors.invalid_each(&path.child("name"), name, names::dns1123_label(name));
            if !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        } else if ports.len() > 1 {
            errors.required(&path.child("name"), "");
        }
        for wrong in names::port_number(number) {
            errors.invalid(&path.child("port"), number, wrong);
        }
        if protocol.is_empty() {
            errors.required(&path.child("protocol"), "");
        } else if !PROTOCOLS.contains(&protocol) {
            errors.not_supported(&path.child("protocol"), protocol, PROTOCOLS);
        }
        match port["targetPort"].as_str() {
            Some(name) => errors.invalid_each(&path.child("targetPort"), name, names::port_name(name)),
            None => {
                let target = int(&port["targetPort"]);
                for wrong in names::port_number(target) {
                    errors.invalid(&path.child("targetPort"), target, wrong);
                }
            }
        }
        if let Some(application) = port["appProtocol"].as_str() {
            errors.invalid_each(&path.child("appProtocol"), application, names::qualified_name(application));
        }
    }
}

/// Node ports only where the type has them, and no port twice.
pub(super) fn validate_node_ports(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let ports = items(&spec["ports"]);
    let (mut nodes, mut own) = (BTreeSet::new(), BTreeSet::new());
    if text(&spec["type"]) == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| int(&port["nodePort"]) != 0) {
            errors.forbidden(&path.index(index).child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let node = int(&port["nodePort"]);
        if node != 0 && !nodes.insert((text(&port["protocol"]), node)) {
            errors.duplicate(&path.index(index).child("nodePort"), node);
        }
    }
    for (index, port) in ports.iter().enumerate() {
        if !own.insert((text(&port["protocol"]), int(&port["port"]))) {
            let key = json!({"Name": "", "Protocol": port["protocol"], "AppProtocol": null, "Port": port["port"], "TargetPort": 0, "NodePort": 0});
            errors.duplicate(&path.index(index), key);
        }
    }
}
