//! Which endpoints a Service port uses: the one place for readiness, traffic policy and topology hints.

use crate::{Endpoint, EndpointSet};

/// What an endpoint's hints say to this node (or to its zone).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hint {
    /// Nothing: no hint at all.
    #[default]
    Absent,
    /// It is meant for us.
    Here,
    /// It is meant for others.
    Elsewhere,
}

/// An endpoint as an EndpointSlice describes it, before any choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Address, resolved port and whether it is on this node.
    pub endpoint: Endpoint,
    /// `conditions.ready`, absent means true. With publishNotReadyAddresses the slice itself says true.
    pub ready: bool,
    /// `conditions.serving`, absent means true.
    pub serving: bool,
    /// `conditions.terminating`, absent means false.
    pub terminating: bool,
    /// `hints.forNodes`, read by this node.
    pub node_hint: Hint,
    /// `hints.forZones`, read by a node of this node's zone.
    pub zone_hint: Hint,
}

impl Candidate {
    /// Used only when nothing is ready: it still answers while it shuts down (KEP-1669).
    const fn fallback(&self) -> bool {
        self.serving && self.terminating
    }
}

/// A traffic policy: who may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    /// `Cluster`: any endpoint.
    Cluster,
    /// `Local`: endpoints of this node.
    Local,
}

/// Which hints narrow policy Cluster. Hints count only when every ready endpoint has one and some is meant for us:
/// otherwise they would starve somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Topology {
    /// None: every endpoint.
    #[default]
    Any,
    /// `hints.forZones`: those of this node's zone.
    SameZone,
    /// `hints.forNodes`: those of this node.
    SameNode,
}

impl Topology {
    fn of(candidates: &[Candidate]) -> Self {
        let applies = |hint: fn(&Candidate) -> Hint| {
            let mut here = false;
            let all = candidates.iter().filter(|c| c.ready).all(|c| {
                here |= hint(c) == Hint::Here;
                hint(c) != Hint::Absent
            });
            all && here
        };
        match () {
            () if applies(|c| c.node_hint) => Self::SameNode,
            () if applies(|c| c.zone_hint) => Self::SameZone,
            () => Self::Any,
        }
    }

    fn admits(self, candidate: &Candidate) -> bool {
        match self {
            Self::Any => true,
            Self::SameZone => candidate.zone_hint == Hint::Here,
            Self::SameNode => candidate.node_hint == Hint::Here,
        }
    }
}

/// The result of [`select`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Selection {
    /// Under policy Cluster.
    pub cluster: EndpointSet,
    /// Under policy Local.
    pub local: EndpointSet,
    /// Which hints narrowed [`Selection::cluster`].
    pub topology: Topology,
}

impl Selection {
    /// The set a policy permits.
    pub fn of(&self, locality: Locality) -> &EndpointSet {
        match locality {
            Locality::Cluster => &self.cluster,
            Locality::Local => &self.local,
        }
    }

    /// Whether the Service has any usable endpoint, here or elsewhere.
    pub fn any(&self) -> bool {
        !self.cluster.is_empty() || !self.local.is_empty()
    }
}

/// Chooses among a Service port's candidates (all slices together): the ready ones, or where there are none those that
/// serve while terminating. Each policy falls back on its own, and hints bind policy Cluster alone.
///
/// An address that is named twice is the one that does not terminate: a new pod may have it before the old one's object
/// is gone.
pub fn select(candidates: &mut Vec<Candidate>) -> Selection {
    candidates.sort_unstable_by_key(|c| (c.endpoint.address, c.endpoint.port, c.terminating, !c.ready));
    candidates.dedup_by_key(|c| (c.endpoint.address, c.endpoint.port));
    let pick = |admit: &dyn Fn(&Candidate) -> bool, last: &dyn Fn(&Candidate) -> bool| -> EndpointSet {
        let ready: EndpointSet = candidates.iter().filter(|c| c.ready && admit(c)).map(|c| c.endpoint).collect();
        if !ready.is_empty() {
            return ready;
        }
        candidates.iter().filter(|c| c.fallback() && last(c)).map(|c| c.endpoint).collect()
    };
    let topology = Topology::of(candidates);
    let local = |c: &Candidate| c.endpoint.local;
    Selection { cluster: pick(&|c| topology.admits(c), &|_| true), local: pick(&local, &local), topology }
}
