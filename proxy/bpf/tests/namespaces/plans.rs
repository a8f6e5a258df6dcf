//! Plans by hand.

use std::net::IpAddr;
use std::sync::Arc;

use orlop_plan::{
    Endpoint, Frontend, FrontendKind, Masquerade, NodeFacts, Plan, Protocol, ServicePortName, Target, WhenEmpty,
};

/// An address in a test.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A plan for a node with these addresses, in a cluster whose pods are in 10.244.0.0/16 and fd00:244::/32.
pub fn plan(node: &[&str]) -> Plan {
    let cidrs = ["10.244.0.0/16", "fd00:244::/32"].map(|cidr| cidr.parse().expect("a network")).to_vec();
    let facts = NodeFacts::primary("node", node.iter().map(|a| ip(a)).collect(), cidrs);
    Plan { node: Arc::new(facts), ..Plan::default() }
}

/// A Service port with these endpoints (`address:port`).
pub fn target(kind: FrontendKind, endpoints: &[&str]) -> Target {
    let endpoint = |text: &&str| {
        let address: std::net::SocketAddr = text.parse().expect("an endpoint");
        Endpoint { address: address.ip(), port: address.port(), local: false }
    };
    Target {
        name: ServicePortName { service: "default/web".into(), port: "".into() },
        kind,
        endpoints: endpoints.iter().map(endpoint).collect(),
        local: None,
        masquerade: if kind == FrontendKind::NodePort { Masquerade::Always } else { Masquerade::Outside },
        when_empty: WhenEmpty::Reject,
        affinity_seconds: None,
        source_ranges: None,
    }
}

/// Adds or changes a cluster IP's Service.
pub fn cluster_ip(plan: &mut Plan, protocol: Protocol, address: &str, port: u16, endpoints: &[&str]) {
    let target = target(FrontendKind::ClusterIp, endpoints);
    plan.frontends.insert(Frontend::ip(ip(address), protocol, port), Arc::new(target));
}

/// Adds or changes a NodePort.
pub fn node_port(plan: &mut Plan, protocol: Protocol, port: u16, endpoints: &[&str]) {
    let target = target(FrontendKind::NodePort, endpoints);
    plan.frontends.insert(Frontend::node_port(orlop_plan::Family::V4, protocol, port), Arc::new(target));
}

/// [`node_port`] of IPv6.
pub fn node_port_v6(plan: &mut Plan, protocol: Protocol, port: u16, endpoints: &[&str]) {
    let target = target(FrontendKind::NodePort, endpoints);
    plan.frontends.insert(Frontend::node_port(orlop_plan::Family::V6, protocol, port), Arc::new(target));
}

/// A load balancer's address with loadBalancerSourceRanges.
pub fn load_balancer(plan: &mut Plan, protocol: Protocol, address: &str, admitted: &[&str], endpoints: &[&str]) {
    let mut target = target(FrontendKind::LoadBalancer, endpoints);
    target.source_ranges = Some(admitted.iter().map(|range| range.parse().expect("a range")).collect());
    plan.frontends.insert(Frontend::ip(ip(address), protocol, 80), Arc::new(target));
}
