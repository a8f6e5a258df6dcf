//! The service plan: Services and EndpointSlices in, one value out, without IO.
//!
//! A [`Tracker`] takes Kubernetes objects as they come and keeps a [`Plan`]: for every [`Frontend`] (address, protocol,
//! port) one [`Target`] (policy and endpoints). The cost of an update follows the size of the change, not of the
//! cluster. [`diff`] gives the [`Changes`] between two plans; a [`Backend`] makes the kernel equal to the plan;
//! [`interpret`] says what must happen to any packet and is the specification every backend is tested against.

mod backend;
mod census;
mod counters;
mod diff;
mod endpoint;
mod flow;
mod frontend;
mod health_check;
mod held;
mod interpret;
mod node;
mod plan;
mod reason;
mod select;
mod service;
mod slice;
mod target;
mod tracker;

pub use backend::{Backend, BackendError, NFTABLES_SOURCE_PORTS, Reconciled};
pub use census::Census;
pub use counters::{Counters, EndpointTally, Latency, Tally};
pub use diff::{Change, Changes, diff};
pub use endpoint::{Endpoint, EndpointSet};
pub use flow::{Flow, FlowFilter, Flows, Volume};
pub use frontend::{Family, Frontend, FrontendAddress, Protocol};
pub use health_check::HealthCheck;
pub use held::Held;
pub use interpret::{Choice, Origin, Outcome, Packet, explain, interpret};
pub use node::{DetectLocal, MASQUERADE_BIT, NodeFacts, NodePortAddresses};
pub use plan::Plan;
pub use reason::{Caller, Reason};
pub use select::{Candidate, Hint, Locality, Selection, Topology, select};
pub use target::{FrontendKind, Masquerade, ServicePortName, Target, WhenEmpty};
pub use tracker::{NoLocalEndpoints, Tracker};
