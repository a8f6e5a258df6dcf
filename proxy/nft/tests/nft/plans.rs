//! Plans for the tests, written by hand.

use std::net::IpAddr;
use std::sync::Arc;

use orlop_plan::{
    Endpoint, EndpointSet, Family, Frontend, FrontendKind, Masquerade, NodeFacts, Plan, Protocol, ServicePortName,
    Target, WhenEmpty,
};

use crate::world::{NODE, pod_ip};

pub const VIP: &str = "10.96.0.10";
pub const NODE_PORT: u16 = 30001;

pub fn empty() -> Plan {
    let node = NodeFacts::primary("node-1", vec![NODE.parse().unwrap()], vec!["10.244.0.0/16".parse().unwrap()]);
    Plan { node: Arc::new(node), ..Plan::default() }
}

pub fn pods(indices: &[usize]) -> EndpointSet {
    indices.iter().map(|index| Endpoint { address: pod_ip(*index), port: 8080, local: true }).collect()
}

pub fn target(service: &str, kind: FrontendKind, endpoints: EndpointSet) -> Target {
    Target {
        name: ServicePortName { service: service.into(), port: "p".into() },
        kind,
        endpoints,
        local: None,
        masquerade: if kind == FrontendKind::ClusterIp { Masquerade::Outside } else { Masquerade::Always },
        when_empty: WhenEmpty::Reject,
        affinity_seconds: None,
        source_ranges: None,
    }
}

pub fn cluster(ip: &str, protocol: Protocol) -> Frontend {
    Frontend::ip(ip.parse::<IpAddr>().unwrap(), protocol, 80)
}

pub fn node_port(protocol: Protocol) -> Frontend {
    Frontend::node_port(Family::V4, protocol, NODE_PORT)
}

/// The Service of most tests: TCP and UDP on its cluster IP and on its NodePort.
pub fn web(endpoints: &[usize]) -> Plan {
    let mut plan = empty();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let set = pods(endpoints);
        let put = |plan: &mut Plan, frontend, kind| {
            plan.frontends.insert(frontend, Arc::new(target("default/web", kind, set.clone())));
        };
        put(&mut plan, cluster(VIP, protocol), FrontendKind::ClusterIp);
        put(&mut plan, node_port(protocol), FrontendKind::NodePort);
    }
    plan
}

/// The same plan with a different policy on every target.
pub fn with(mut plan: Plan, edit: impl Fn(&mut Target)) -> Plan {
    let keys: Vec<Frontend> = plan.frontends.keys().copied().collect();
    for key in keys {
        let mut target = Target::clone(plan.get(&key).unwrap());
        edit(&mut target);
        plan.frontends.insert(key, Arc::new(target));
    }
    plan
}
