//! The contract between the agent and what programs the kernel.

use std::error::Error;
use std::time::Duration;

use crate::{Changes, Counters, Endpoint, Family, FlowFilter, Flows, Frontend, Held, NodeFacts, Plan, Protocol};

/// Why a backend could not make the kernel equal to the plan; the agent logs it and resyncs later.
pub type BackendError = Box<dyn Error + Send + Sync>;

/// The source ports (inclusive) that masquerading through nftables gives. eBPF gives others: while a node goes from the one
/// to the other, either still translates what it began, and an answer must be one's alone. They lie above the NodePorts, so
/// that an answer is never taken for a NodePort's first packet.
pub const NFTABLES_SOURCE_PORTS: (u16, u16) = (32_768, 65_535);

/// A look at connection tracking for flows that lead to no endpoint any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconciled {
    /// Whose flows were looked at.
    pub family: Family,
    /// How long it took.
    pub took: Duration,
    /// How many it deleted.
    pub deleted: usize,
}

/// Makes the kernel equal to the plan. Calls block and come from one thread at a time.
pub trait Backend: Send {
    /// What `/proxyMode` and the logs say: `nftables` or `ebpf`.
    fn mode(&self) -> &'static str;

    /// Brings the kernel from the plan of the last successful call to `plan`; `changes` is exactly that difference.
    /// After an error the agent's next call is [`Backend::resync`].
    fn sync(&mut self, plan: &Plan, changes: &Changes) -> Result<(), BackendError>;

    /// Compares everything the kernel holds with `plan` and repairs the difference without disturbing what is right.
    /// The first call after a start: it adopts what an earlier process left.
    fn resync(&mut self, plan: &Plan) -> Result<(), BackendError>;

    /// Removes from the kernel everything that is ours.
    fn cleanup(&mut self) -> Result<(), BackendError>;

    /// What of a plan's features this backend or this kernel cannot do: one line each, for the log and the status.
    fn limits(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether callers outside the cluster that the plan masquerades keep their address all the same on their way to an endpoint, which
    /// answers them directly.
    fn keeps_source(&self, _node: &NodeFacts, _protocol: Protocol, _endpoint: &Endpoint) -> bool {
        false
    }

    /// What the kernel holds for a frontend, read back from the kernel and not from memory; none if it holds nothing.
    fn held(&mut self, frontend: &Frontend) -> Result<Option<Held>, BackendError> {
        Err(format!("{} mode cannot read {frontend} back from the kernel", self.mode()).into())
    }

    /// The looks at connection tracking since the last call.
    fn reconciled(&mut self) -> Vec<Reconciled> {
        Vec::new()
    }

    /// Flows that the kernel translates now, or did a moment ago.
    fn flows(&mut self, _wanted: &FlowFilter) -> Result<Flows, BackendError> {
        Err(format!("{} mode cannot list flows", self.mode()).into())
    }

    /// What the kernel has counted so far. Counters only grow, but start again with the kernel's objects.
    fn counters(&mut self) -> Result<Counters, BackendError> {
        Ok(Counters::default())
    }
}
