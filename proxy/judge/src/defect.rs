//! Plans that are wrong in one way. A backend that is given one does something that the true plan does not permit; a
//! judge that does not notice is worth nothing.

use std::sync::Arc;

use orlop_plan::{
    DetectLocal, Endpoint, EndpointSet, FrontendKind, Masquerade, NodePortAddresses, Plan, Target, WhenEmpty,
};

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Strangers keep their address.
    NoMasquerade,
    /// Callers of a Local policy lose theirs.
    MasqueradeEverybody,
    /// A pod that reaches itself keeps its address.
    NoHairpin,
    /// `loadBalancerSourceRanges` bind nobody.
    NoSourceRanges,
    /// `externalTrafficPolicy: Local` is taken for Cluster.
    LocalIgnored,
    /// The Local policy also binds pods and the node itself (kubernetes #131765).
    LocalForEverybody,
    /// Clients are not kept with their endpoint.
    NoAffinity,
    /// Refused where silence is due, and the other way round.
    RejectForDrop,
    /// The last endpoint of a set is forgotten.
    EndpointLost,
    /// An endpoint's port is one too high.
    WrongPort,
    /// NodePorts answer on no address.
    NodePortsNowhere,
    /// Other ports of a cluster IP are nobody's business.
    UnusedPortsPass,
    /// Everybody counts as a pod.
    EverybodyIsAPod,
    /// UDP is not served.
    NoUdp,
}

impl Defect {
    /// Every one.
    pub const ALL: [Self; 14] = [
        Self::NoMasquerade,
        Self::MasqueradeEverybody,
        Self::NoHairpin,
        Self::NoSourceRanges,
        Self::LocalIgnored,
        Self::LocalForEverybody,
        Self::NoAffinity,
        Self::RejectForDrop,
        Self::EndpointLost,
        Self::WrongPort,
        Self::NodePortsNowhere,
        Self::UnusedPortsPass,
        Self::EverybodyIsAPod,
        Self::NoUdp,
    ];

    /// The plan with the mistake in it.
    pub fn skew(self, plan: &Plan) -> Plan {
        let mut skewed = plan.clone();
        let node = Arc::make_mut(&mut skewed.node);
        match self {
            Self::NodePortsNowhere => node.node_ports = NodePortAddresses::Only(Vec::new()),
            Self::EverybodyIsAPod => node.detect_local = DetectLocal::InterfacePrefix(String::new()),
            _ => {}
        }
        skewed.frontends = plan
            .frontends
            .iter()
            .filter(|(frontend, _)| self != Self::NoUdp || frontend.protocol != orlop_plan::Protocol::Udp)
            .map(|(frontend, target)| {
                let mut target = Target::clone(target);
                self.skew_target(&mut target);
                (*frontend, Arc::new(target))
            })
            .collect();
        skewed
    }

    fn skew_target(self, target: &mut Target) {
        match self {
            Self::NoMasquerade => target.masquerade = Masquerade::Never,
            Self::MasqueradeEverybody => {
                target.masquerade = Masquerade::Always;
                target.endpoints = target.local.take().unwrap_or_else(|| target.endpoints.clone());
            }
            Self::NoHairpin => edit(target, |endpoint| endpoint.local = false),
            Self::NoSourceRanges => target.source_ranges = None,
            Self::LocalIgnored if target.local.take().is_some() => target.masquerade = Masquerade::Always,
            Self::LocalForEverybody => {
                target.endpoints = target.local.clone().unwrap_or_else(|| target.endpoints.clone());
            }
            Self::NoAffinity => target.affinity_seconds = None,
            Self::RejectForDrop => {
                target.when_empty = match target.when_empty {
                    WhenEmpty::Reject => WhenEmpty::Drop,
                    WhenEmpty::Drop => WhenEmpty::Reject,
                }
            }
            Self::EndpointLost => {
                let keep = target.endpoints.len().saturating_sub(1);
                target.endpoints = target.endpoints.iter().take(keep).copied().collect();
            }
            Self::WrongPort => edit(target, |endpoint| endpoint.port += 1),
            // No cluster IP any more: an address like an external one, with its policies.
            Self::UnusedPortsPass if target.kind == FrontendKind::ClusterIp => target.kind = FrontendKind::ExternalIp,
            _ => {}
        }
    }
}

fn edit(target: &mut Target, change: impl Fn(&mut Endpoint)) {
    let edited = |set: &EndpointSet| -> EndpointSet {
        let mut all = set.to_vec();
        all.iter_mut().for_each(&change);
        all.into_iter().collect()
    };
    target.local = target.local.as_ref().map(edited);
    target.endpoints = edited(&target.endpoints);
}
