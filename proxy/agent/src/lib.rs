//! The service proxy agent: watches the cluster, computes the plan, drives a backend, serves health.
//!
//! [`run`] watches Services, EndpointSlices and its own Node, keeps an [`orlop_plan::Plan`] and makes the kernel equal to
//! it through a [`orlop_plan::Backend`]. While the API server is away everything stays in place; when the agent
//! stops, the kernel goes on forwarding, and the next agent adopts what it finds. Where it is asked to, it answers cluster DNS
//! from the same watches ([`ClusterDns`]).

mod agent;
mod config;
mod configuration;
mod conntrack;
mod dns;
mod driver;
mod error;
mod event;
mod explain;
mod fetch;
mod flows;
mod health;
mod http;
mod leftovers;
mod mailbox;
mod memory;
mod metrics;
mod mode;
mod node;
mod pages;
mod process;
mod service_health;
mod traffic;
mod watch;
mod zpages;

pub use agent::run;
pub use config::{Config, ConntrackLimits, DetectLocalMode, Mode, NodePortAddressPolicy};
pub use configuration::{Environment, KubeProxyConfiguration, ReadError};
pub use conntrack::set_limits;
pub use dns::ClusterDns;
pub use error::Error;
pub use explain::{From, Question, QuestionError};
pub use fetch::{FetchError, get};
pub use flows::FlowsQuestion;
pub use mode::cleanup;
pub use orlop_bpf::{Forwarding, Selection, Xdp};
pub use orlop_plan::DetectLocal;
