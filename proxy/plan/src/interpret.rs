//! What must happen to a packet: the specification of every backend, and their oracle in tests.

use std::net::IpAddr;

use crate::{Caller, Endpoint, EndpointSet, Family, Frontend, Masquerade, Plan, Protocol, Reason, Target, WhenEmpty};

/// Where a packet enters the node's service handling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Made by a process in the node's own network namespace.
    Node,
    /// Arrived on a device: from a pod of this node, another node or outside.
    Device,
}

/// The first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
    /// Where it came from.
    pub origin: Origin,
    /// The device it came in on, for [`crate::DetectLocal`]; none for the node's own.
    pub device: Option<&'a str>,
}

/// An endpoint the packet may be sent to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where to.
    pub endpoint: Endpoint,
    /// Whether its source becomes an address of this node.
    pub masqueraded: bool,
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No Service's: left alone.
    Pass,
    /// Refused so that the caller notices.
    Reject,
    /// Discarded silently.
    Drop,
    /// Sent to one of these, each with the same chance, or with affinity to the one the client had.
    Forward {
        /// The permitted endpoints; never empty.
        choices: Vec<Choice>,
        /// Seconds of ClientIP affinity.
        affinity_seconds: Option<u32>,
    },
}

/// Says what the plan does to the first packet of a flow.
pub fn interpret(plan: &Plan, packet: &Packet<'_>) -> Outcome {
    judge(plan, packet, &mut |_| {})
}

/// Says what the plan does to the first packet of a flow, and why, rule by rule.
pub fn explain(plan: &Plan, packet: &Packet<'_>) -> (Outcome, Vec<Reason>) {
    let mut reasons = Vec::new();
    let outcome = judge(plan, packet, &mut |reason| reasons.push(reason));
    (outcome, reasons)
}

fn judge(plan: &Plan, packet: &Packet<'_>, because: &mut dyn FnMut(Reason)) -> Outcome {
    let Some((frontend, target)) = find(plan, packet, because) else {
        if plan.is_cluster_ip(packet.destination) {
            because(Reason::UnusedPort);
            return Outcome::Reject;
        }
        because(Reason::Nobodys);
        return Outcome::Pass;
    };
    because(Reason::Claimed { frontend, name: target.name.clone(), kind: target.kind });
    if let Some(ranges) = &target.source_ranges {
        let admitted = target.admits(packet.source);
        because(Reason::SourceRanges { ranges: ranges.clone(), admitted });
        if !admitted {
            return Outcome::Drop;
        }
    }
    let (endpoints, masquerade) = permitted(plan, target, packet, because);
    if endpoints.is_empty() {
        because(Reason::NoEndpoints(target.when_empty));
        return match target.when_empty {
            WhenEmpty::Reject => Outcome::Reject,
            WhenEmpty::Drop => Outcome::Drop,
        };
    }
    if !masquerade && endpoints.iter().any(|e| e.address == packet.source) {
        because(Reason::Hairpin);
    }
    if let Some(seconds) = target.affinity_seconds {
        because(Reason::Affinity(seconds));
    }
    let choose = |e: &Endpoint| Choice { endpoint: *e, masqueraded: masquerade || e.address == packet.source };
    Outcome::Forward { choices: endpoints.iter().map(choose).collect(), affinity_seconds: target.affinity_seconds }
}

fn find<'a>(plan: &'a Plan, packet: &Packet<'_>, because: &mut dyn FnMut(Reason)) -> Option<(Frontend, &'a Target)> {
    let exact = Frontend::ip(packet.destination, packet.protocol, packet.port);
    if let Some(target) = plan.get(&exact) {
        return Some((exact, target));
    }
    let node_port = Frontend::node_port(Family::of(packet.destination), packet.protocol, packet.port);
    let target = plan.get(&node_port)?;
    // No packet from a device is the loopback's: the kernel calls it a martian.
    if packet.destination.is_loopback() && packet.origin == Origin::Device {
        because(Reason::Martian);
        return None;
    }
    if !plan.node.answers_node_ports(packet.destination) {
        because(Reason::NodePortElsewhere { name: target.name.clone(), node_ports: plan.node.node_ports.clone() });
        return None;
    }
    Some((node_port, target))
}

fn permitted<'a>(
    plan: &Plan,
    target: &'a Target,
    packet: &Packet<'_>,
    because: &mut dyn FnMut(Reason),
) -> (&'a EndpointSet, bool) {
    let from_node = packet.origin == Origin::Node || plan.node.addresses.contains(&packet.source);
    if let Some(local) = &target.local {
        // kube-proxy's short cut: inside the cluster a Local policy does not bind; the node itself needs a routable source.
        let (caller, endpoints, masquerade) = match from_node {
            true => (Caller::Node, &target.endpoints, true),
            false if plan.node.detect_local.is_pod(packet.source, packet.device) => {
                (Caller::Pod, &target.endpoints, false)
            }
            false => (Caller::Stranger, local, false),
        };
        because(Reason::LocalPolicy { caller, endpoints: endpoints.len(), of: target.endpoints.len() });
        return (endpoints, masquerade);
    }
    let masquerade = match target.masquerade {
        Masquerade::Never => false,
        Masquerade::Always => true,
        Masquerade::Outside => plan.node.detect_local.is_stranger(packet.source, packet.device),
    };
    because(Reason::Masquerade { rule: target.masquerade, applies: masquerade });
    (&target.endpoints, masquerade)
}
