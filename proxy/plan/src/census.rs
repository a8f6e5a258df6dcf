//! How the endpoints of a frontend came to be chosen among those that EndpointSlices name, for a person.

use std::fmt;

use crate::{Candidate, Selection, Topology};

/// Counts of the endpoints of one Service port and family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Named in slices.
    pub known: usize,
    /// Of those, ready.
    pub ready: usize,
    /// Not ready, but serving while they terminate.
    pub leaving: usize,
    /// On this node, ready or not.
    pub local: usize,
    /// Which hints narrow policy Cluster.
    pub topology: Topology,
    /// What policy Cluster permits.
    pub cluster: usize,
    /// What policy Local permits.
    pub permitted_local: usize,
}

impl Census {
    /// Counts.
    pub(crate) fn of(candidates: &[Candidate], selection: &Selection) -> Self {
        let count = |admit: &dyn Fn(&Candidate) -> bool| candidates.iter().filter(|c| admit(c)).count();
        Self {
            known: candidates.len(),
            ready: count(&|c| c.ready),
            leaving: count(&|c| !c.ready && c.serving && c.terminating),
            local: count(&|c| c.endpoint.local),
            topology: selection.topology,
            cluster: selection.cluster.len(),
            permitted_local: selection.local.len(),
        }
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { known, ready, leaving, local, cluster, permitted_local, .. } = self;
        write!(f, "{known} known ({local} on this node), {ready} ready, {leaving} terminating but serving: ")?;
        match self.topology {
            _ if *ready == 0 && *cluster > 0 => {
                write!(f, "none is ready, so policy Cluster has the {cluster} that serve")?
            }
            Topology::Any => write!(f, "policy Cluster has {cluster}")?,
            Topology::SameZone => write!(f, "hints for this node's zone leave policy Cluster {cluster}")?,
            Topology::SameNode => write!(f, "hints for this node leave policy Cluster {cluster}")?,
        }
        write!(f, ", policy Local {permitted_local}")
    }
}
