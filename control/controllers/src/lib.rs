//! The controllers: level-triggered loops over typed clients.
//!
//! Each controller watches through shared [`Informer`]s, puts the keys of what may need work into its own [`Queue`], and
//! reconciles one key at a time: compare desired with actual, write the difference, ask again later if something failed.
//! Every write is made under the controller's own service account; the informers read as `system:kube-controller-manager`,
//! as upstream's shared informers do. Nothing is remembered that a restart would need.
//!
//! What decides is a pure function beside each controller (`plan`, `changes`, `verdict`, ...), tested as such;
//! `tests/cluster` runs them all against an API server of its own process.
//!
//! Here: workloads (ReplicationController, ReplicaSet, Deployment, DaemonSet, StatefulSet, Job), Services (EndpointSlice, its
//! mirroring, Endpoints, those of cluster DNS), Nodes (pod CIDRs, lifecycle, taint-based eviction), namespaces (their end, default accounts, the root CA),
//! garbage (owner references, pods, finished Jobs), disruption budgets, quotas, certificate requests, ServiceCIDRs and
//! aggregated ClusterRoles, bootstrap tokens. Not here: CronJobs,
//! autoscaling, volumes, cloud routes and load balancers.

mod bootstrap_tokens;
mod certificates;
mod cluster_dns;
mod cluster_role_aggregation;
mod controller;
mod daemon_set;
mod deployment;
mod discovery;
mod disruption;
mod endpoint_slice;
mod endpoint_slice_mirroring;
mod endpoints;
mod garbage_collector;
mod history;
mod in_flight;
mod job;
mod namespace;
mod namespaced;
mod node_ipam;
mod node_lifecycle;
mod owner;
mod pod_control;
mod pod_gc;
mod replicas;
mod replication;
mod resource_quota;
mod run;
mod service;
mod service_cidr;
mod stateful_set;
mod taint_eviction;
mod written;

pub use cluster_dns::ClusterDns;
pub use orlop_runtime::{Informer, Key, Queue};
pub use run::{Config, ControllersError, run};
