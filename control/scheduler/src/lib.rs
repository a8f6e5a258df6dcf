//! The scheduler: which Node a pod goes to.
//!
//! [`decide`](decide) is a pure function of a pod and the cluster as the scheduler knows it: filters say which Nodes can take the
//! pod and why the others cannot, scores say which of them is best. Names, weights and texts are kube-scheduler's default profile.
//! [`run`] watches, keeps that view with the pods it has placed but not yet seen placed, and binds through `pods/binding`.
//!
//! Not here: preemption, volumes, dynamic resources, extenders and other profiles.

mod cache;
mod decide;
mod filter;
mod node_info;
mod pod_affinity;
mod pod_info;
mod queue;
mod resources;
mod run;
mod score;
mod spread;

pub use run::run;
