//! Starts every controller, each with the client of its own service account.

use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Informer;
use crate::replication::{self, Workload};

/// What the controllers must know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Pods' addresses, from which each Node gets a part (`--cluster-cidr`).
    pub cluster_cidr: Ipv4Net,
    /// How long a Node's prefix is (`--node-cidr-mask-size`).
    pub node_cidr_mask_size: u8,
    /// The CA that pods find in `kube-root-ca.crt`, PEM.
    pub root_ca: String,
}

/// Why the controllers stopped.
#[derive(Debug, thiserror::Error)]
pub enum ControllersError {
    /// A controller's task panicked.
    #[error("a controller ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// Runs every controller until cancelled. `clients` gives the client of a user: `system:kube-controller-manager` for the
/// informers, and `system:serviceaccount:kube-system:NAME` for the controller NAME.
pub async fn run(
    clients: impl Fn(&str) -> Client,
    _config: Config,
    stop: CancellationToken,
) -> Result<(), ControllersError> {
    let reader = clients("system:kube-controller-manager");
    let account = |name: &str| clients(&format!("system:serviceaccount:kube-system:{name}"));
    let mut tasks = JoinSet::new();

    let pods = Arc::new(Informer::<Pod>::default());
    let replication_controllers = Arc::new(Informer::<ReplicationController>::default());
    let replica_sets = Arc::new(Informer::<ReplicaSet>::default());

    tasks.spawn(replication::run(
        account(ReplicationController::CONTROLLER),
        replication_controllers.clone(),
        pods.clone(),
        stop.clone(),
    ));
    tasks.spawn(replication::run(account(ReplicaSet::CONTROLLER), replica_sets.clone(), pods.clone(), stop.clone()));

    tasks.spawn(pods.run(reader.clone(), stop.clone()));
    tasks.spawn(replication_controllers.run(reader.clone(), stop.clone()));
    tasks.spawn(replica_sets.run(reader, stop.clone()));

    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}
