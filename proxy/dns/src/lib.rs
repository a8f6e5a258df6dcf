//! Cluster DNS: answered on each node from what the service proxy watches anyway.
//!
//! A [`Table`] holds what Services and EndpointSlices say; [`answer`] is a pure function of it and a question, with the
//! semantics of CoreDNS' `kubernetes` plugin. [`Dns`] is the thin shell: UDP and TCP on the node's address, everything
//! that is not the cluster's forwarded to the machine's own name servers through a small cache, CoreDNS' metrics.
//! While the API server is away the table stays as it was; before the first complete list, every name of the cluster is
//! SERVFAIL, for nobody knows yet that it does not exist.

mod answer;
mod clients;
mod dns;
mod error;
mod message;
mod metrics;
mod question;
mod serve;
mod service;
mod slice;
mod table;
mod upstream;
mod zone;

pub use answer::{Answer, Reply, answer};
pub use dns::{Config, Dns};
pub use error::Error;
pub use serve::Sockets;
pub use table::Table;
pub use zone::Zone;
