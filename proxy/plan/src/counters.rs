//! What the kernel counted, in one shape for every backend.

use std::net::IpAddr;

use crate::Frontend;

/// Counts of one frontend or endpoint; none where this backend does not count such things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections, or first packets of flows.
    pub connections: Option<u64>,
    /// Packets both ways.
    pub packets: Option<u64>,
    /// Bytes both ways, IP headers included.
    pub bytes: Option<u64>,
    /// How long the connections took to be established.
    pub connect_latency: Option<Latency>,
}

/// A sum of times and how many they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Nanoseconds in all.
    pub nanoseconds: u64,
}

/// Counts of one endpoint as a frontend's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointTally {
    /// The frontend through which it was reached.
    pub frontend: Frontend,
    /// The endpoint's address and port.
    pub endpoint: (IpAddr, u16),
    /// Its counts.
    pub tally: Tally,
}

/// Everything a backend counted, in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By frontend.
    pub frontends: Vec<(Frontend, Tally)>,
    /// By frontend and endpoint.
    pub endpoints: Vec<EndpointTally>,
}
