//! Which endpoints a Service port uses: the one place for readiness, traffic policy and (later) topology hints.

use crate::{Endpoint, EndpointSet};

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

/// The result of [`select`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Selection {
    /// Under policy Cluster.
    pub cluster: EndpointSet,
    /// Under policy Local.
    pub local: EndpointSet,
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
/// serve while terminating. Each policy falls back on its own.
pub fn select(candidates: &[Candidate]) -> Selection {
    let pick = |admit: &dyn Fn(&Candidate) -> bool| -> EndpointSet {
        let ready: EndpointSet = candidates.iter().filter(|c| admit(c) && c.ready).map(|c| c.endpoint).collect();
        if !ready.is_empty() {
            return ready;
        }
        candidates.iter().filter(|c| admit(c) && c.fallback()).map(|c| c.endpoint).collect()
    };
    Selection { cluster: pick(&|_| true), local: pick(&|c| c.endpoint.local) }
}
