//! The controllers and the scheduler against a real API server of this process, over a store of its own. Nodes are only objects
//! here: a test plays their kubelets.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod aggregated_roles;
mod bootstrap_tokens;
mod budgets;
mod certificates;
mod cluster;
mod cluster_dns;
mod daemons;
mod deletion;
mod deployments;
mod jobs;
mod nodes;
mod quotas;
mod service_ranges;
mod settled;
mod stateful;
mod walk;
