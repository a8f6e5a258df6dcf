//! What Services use (`pkg/quota/v1/evaluator/core/services.go`).
use super::{Usage, one};
use crate::quantity::{Format, Quantity};
use crate::value::{int, items, text};
use serde_json::Value;

pub(super) fn counts_for(resource: &str) -> bool {
    matches!(resource, "services" | "services.nodeports" | "services.loadbalancers")
}

pub(super) fn usage(service: &Value) -> Usage {
    let spec = &service["spec"];
    let ports = items(&spec["ports"]);
    let (node_ports, balancers) = match text(&spec["type"]) {
        "NodePort" => (ports.len(), 0),
        // Ports are not given out yet: what counts is the intent.
        "LoadBalancer" if spec["allocateLoadBalancerNodePorts"] == false => {
            (ports.iter().filter(|port| int(&port["nodePort"]) != 0).count(), 1)
        }
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    let number = |n: usize| Quantity::new(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSI);
    Usage::from([
        ("services".to_owned(), one()),
        ("services.nodeports".to_owned(), number(node_ports)),
        ("services.loadbalancers".to_owned(), number(balancers)),
    ])
}
