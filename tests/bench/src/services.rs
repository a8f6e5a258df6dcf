//! Services to measure with, as a plan for our backends; [`crate::kube_proxy`] writes the same ones as kube-proxy would.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use ipnet::IpNet;
use orlop_plan::{
    Endpoint, Family, Frontend, FrontendKind, Masquerade, NodeFacts, Plan, Protocol, ServicePortName, Target, WhenEmpty,
};

/// The address of the node.
pub const NODE: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 11);
/// Where pods are.
pub const PODS: &str = "10.128.0.0/9";
/// The port of each Service.
pub const PORT: u16 = 80;

/// A Service of one TCP port.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub ip: Ipv4Addr,
    pub node_port: Option<u16>,
    pub endpoints: Vec<SocketAddrV4>,
}

impl Service {
    /// One of many: its address and its endpoints follow from its number.
    pub fn numbered(number: u32, endpoints: u32) -> Self {
        let endpoint = |n| {
            // Endpoints of two Services never meet: each has room for 1,000, or for 8.
            let room = if endpoints > 8 { 1_024 } else { 8 };
            let ip = Ipv4Addr::from((10 << 24) + (128 << 16) + number * room + n);
            SocketAddrV4::new(ip, 8_080)
        };
        Self {
            name: format!("s{number}"),
            // The first ones are a cluster's own.
            ip: Ipv4Addr::from((10 << 24) + (96 << 16) + 256 + number),
            node_port: None,
            endpoints: (0..endpoints).map(endpoint).collect(),
        }
    }

    /// Puts it into a plan, in place of what it was.
    pub fn put(&self, plan: &mut Plan) {
        let endpoint =
            |at: &SocketAddrV4| Endpoint { address: (*at.ip()).into(), port: at.port(), local: at.ip() == &NODE };
        let target = Target {
            name: ServicePortName { service: format!("default/{}", self.name).into(), port: "".into() },
            kind: FrontendKind::ClusterIp,
            endpoints: self.endpoints.iter().map(endpoint).collect(),
            local: None,
            masquerade: Masquerade::Outside,
            when_empty: WhenEmpty::Reject,
            affinity_seconds: None,
            source_ranges: None,
        };
        if let Some(port) = self.node_port {
            let target = Target { kind: FrontendKind::NodePort, masquerade: Masquerade::Always, ..target.clone() };
            plan.frontends.insert(Frontend::node_port(Family::V4, Protocol::Tcp, port), Arc::new(target));
        }
        plan.frontends.insert(Frontend::ip(self.ip.into(), Protocol::Tcp, PORT), Arc::new(target));
    }
}

/// So many Services of so many endpoints.
pub fn many(services: u32, endpoints: u32) -> Vec<Service> {
    (1..=services).map(|number| Service::numbered(number, endpoints)).collect()
}

/// The plan for them.
pub fn plan(services: &[Service]) -> Plan {
    let pods: Vec<IpNet> = PODS.parse().into_iter().collect();
    let node = NodeFacts::primary("node", vec![NODE.into()], pods);
    let mut plan = Plan { node: Arc::new(node), ..Plan::default() };
    services.iter().for_each(|service| service.put(&mut plan));
    plan
}
