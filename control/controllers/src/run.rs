//! Starts every controller, each with the client of its own service account.

use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, Pod, ReplicationController, ResourceQuota, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Client;
use orlop_auth::pki::CertificateAuthority;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::namespaced::{self, DefaultAccount, RootCa, Wanted as _};
use crate::replication::{self, Workload};
use crate::{
    ClusterDns, Informer, bootstrap_tokens, certificates, cluster_dns, cluster_role_aggregation, daemon_set,
    deployment, disruption, endpoint_slice, endpoint_slice_mirroring, endpoints, garbage_collector, job, namespace,
    node_ipam, node_lifecycle, pod_gc, resource_quota, service_cidr, stateful_set, taint_eviction,
};

/// What the controllers must know.
#[derive(Clone)]
pub struct Config {
    /// Pods' addresses, from which each Node gets a part (`--cluster-cidr`).
    pub cluster_cidr: Ipv4Net,
    /// How long a Node's prefix is (`--node-cidr-mask-size`).
    pub node_cidr_mask_size: u8,
    /// The CA that pods find in `kube-root-ca.crt`, PEM.
    pub root_ca: String,
    /// How long a Node may be silent before its Ready condition becomes Unknown (`--node-monitor-grace-period`).
    pub node_monitor_grace_period: Duration,
    /// How often silence is looked for (`--node-monitor-period`).
    pub node_monitor_period: Duration,
    /// Signs approved certificate requests; without it, Kubernetes' own signers do nothing here.
    pub signing_ca: Option<Arc<CertificateAuthority>>,
    /// Cluster DNS as the nodes' proxies answer it; none leaves it to others.
    pub cluster_dns: Option<ClusterDns>,
}

impl Config {
    /// Kubernetes' defaults for everything that has one: a /24 for each Node, 50 s of silence looked for every 5 s.
    pub fn new(cluster_cidr: Ipv4Net, root_ca: impl Into<String>) -> Self {
        Self {
            cluster_cidr,
            node_cidr_mask_size: 24,
            root_ca: root_ca.into(),
            node_monitor_grace_period: Duration::from_secs(50),
            node_monitor_period: Duration::from_secs(5),
            signing_ca: None,
            cluster_dns: None,
        }
    }
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
    config: Config,
    stop: CancellationToken,
) -> Result<(), ControllersError> {
    let reader = clients("system:kube-controller-manager");
    let account = |name: &str| clients(&format!("system:serviceaccount:kube-system:{name}"));
    let mut tasks = JoinSet::new();

    let pods = Arc::new(Informer::<Pod>::default());
    let nodes = Arc::new(Informer::<Node>::default());
    let services = Arc::new(Informer::<Service>::default());
    let slices = Arc::new(Informer::<EndpointSlice>::indexed(endpoint_slice::service_named));
    let endpoints = Arc::new(Informer::<Endpoints>::default());
    let leases = Arc::new(Informer::<Lease>::default());
    let namespaces = Arc::new(Informer::<Namespace>::default());
    let service_accounts = Arc::new(Informer::<ServiceAccount>::default());
    let config_maps = Arc::new(Informer::<ConfigMap>::named(RootCa::NAME));
    let replication_controllers = Arc::new(Informer::<ReplicationController>::default());
    let deployments = Arc::new(Informer::<Deployment>::default());
    let jobs = Arc::new(Informer::<Job>::default());
    let daemon_sets = Arc::new(Informer::<DaemonSet>::default());
    let revisions = Arc::new(Informer::<ControllerRevision>::default());
    let stateful_sets = Arc::new(Informer::<StatefulSet>::default());
    let budgets = Arc::new(Informer::<PodDisruptionBudget>::default());
    let quotas = Arc::new(Informer::<ResourceQuota>::default());
    let replica_sets = Arc::new(Informer::<ReplicaSet>::default());
    let requests = Arc::new(Informer::<CertificateSigningRequest>::default());

    tasks.spawn(node_ipam::run(account("node-controller"), nodes.clone(), config.clone(), stop.clone()));
    tasks.spawn(replication::run(
        account(ReplicationController::CONTROLLER),
        replication_controllers.clone(),
        pods.clone(),
        stop.clone(),
    ));
    tasks.spawn(replication::run(account(ReplicaSet::CONTROLLER), replica_sets.clone(), pods.clone(), stop.clone()));
    let views =
        deployment::Views { deployments: deployments.clone(), replica_sets: replica_sets.clone(), pods: pods.clone() };
    tasks.spawn(deployment::run(account(deployment::NAME), views, stop.clone()));
    tasks.spawn(job::run(account(job::NAME), jobs.clone(), pods.clone(), stop.clone()));
    tasks.spawn(job::run_ttl(account(job::TTL_NAME), jobs.clone(), stop.clone()));
    let views = daemon_set::Views {
        daemon_sets: daemon_sets.clone(),
        revisions: revisions.clone(),
        pods: pods.clone(),
        nodes: nodes.clone(),
    };
    tasks.spawn(daemon_set::run(account(daemon_set::NAME), views, stop.clone()));
    let views =
        stateful_set::Views { stateful_sets: stateful_sets.clone(), revisions: revisions.clone(), pods: pods.clone() };
    tasks.spawn(stateful_set::run(account(stateful_set::NAME), views, stop.clone()));
    let views = disruption::Views {
        budgets: budgets.clone(),
        pods: pods.clone(),
        replication_controllers: replication_controllers.clone(),
        replica_sets: replica_sets.clone(),
        deployments: deployments.clone(),
        stateful_sets: stateful_sets.clone(),
    };
    tasks.spawn(disruption::run(account(disruption::NAME), views, stop.clone()));
    let views = resource_quota::Views { quotas: quotas.clone(), pods: pods.clone(), services: services.clone() };
    tasks.spawn(resource_quota::run(account(resource_quota::NAME), views, stop.clone()));
    let views = endpoint_slice::Views {
        services: services.clone(),
        pods: pods.clone(),
        nodes: nodes.clone(),
        slices: slices.clone(),
    };
    let mirroring = endpoint_slice_mirroring::Views {
        services: services.clone(),
        endpoints: endpoints.clone(),
        slices: slices.clone(),
    };
    let client = account(endpoint_slice_mirroring::NAME);
    tasks.spawn(endpoint_slice_mirroring::run(client, mirroring, stop.clone()));
    tasks.spawn(endpoint_slice::run(account(endpoint_slice::NAME), views, stop.clone()));
    if let Some(ca) = config.signing_ca.clone() {
        tasks.spawn(certificates::run(account(certificates::NAME), requests.clone(), ca, stop.clone()));
        tasks.spawn(requests.run(reader.clone(), stop.clone()));
    }
    if let Some(dns) = config.cluster_dns {
        let views = cluster_dns::Views { services: services.clone(), nodes: nodes.clone(), slices: slices.clone() };
        tasks.spawn(cluster_dns::run(account(cluster_dns::NAME), views, dns, stop.clone()));
    }
    let ranges = Arc::new(Informer::<ServiceCIDR>::default());
    let views = service_cidr::Views { ranges: ranges.clone(), services: services.clone() };
    tasks.spawn(service_cidr::run(account(service_cidr::NAME), views, stop.clone()));
    tasks.spawn(ranges.run(reader.clone(), stop.clone()));
    let cluster_roles = Arc::new(Informer::<ClusterRole>::default());
    let client = account(cluster_role_aggregation::NAME);
    tasks.spawn(cluster_role_aggregation::run(client, cluster_roles.clone(), stop.clone()));
    tasks.spawn(cluster_roles.run(reader.clone(), stop.clone()));
    let tokens = Arc::new(bootstrap_tokens::secrets());
    let infos = Arc::new(Informer::<ConfigMap>::named(bootstrap_tokens::CLUSTER_INFO));
    tasks.spawn(bootstrap_tokens::clean(account(bootstrap_tokens::CLEANER), tokens.clone(), stop.clone()));
    let client = account(bootstrap_tokens::SIGNER);
    tasks.spawn(bootstrap_tokens::sign(client, tokens.clone(), infos.clone(), stop.clone()));
    tasks.spawn(tokens.run(reader.clone(), stop.clone()));
    tasks.spawn(infos.run(reader.clone(), stop.clone()));
    let views = endpoints::Views { services: services.clone(), pods: pods.clone(), endpoints: endpoints.clone() };
    tasks.spawn(endpoints::run(account(endpoints::NAME), views, stop.clone()));

    tasks.spawn(namespaced::run(
        DefaultAccount,
        account(DefaultAccount::CONTROLLER),
        namespaces.clone(),
        service_accounts.clone(),
        stop.clone(),
    ));
    let root_ca = RootCa(config.root_ca.as_str().into());
    tasks.spawn(namespaced::run(
        root_ca,
        account(RootCa::CONTROLLER),
        namespaces.clone(),
        config_maps.clone(),
        stop.clone(),
    ));

    let views = node_lifecycle::Views { nodes: nodes.clone(), leases: leases.clone(), pods: pods.clone() };
    tasks.spawn(node_lifecycle::run(account(node_lifecycle::NAME), views, config.clone(), stop.clone()));
    tasks.spawn(taint_eviction::run(account(node_lifecycle::NAME), nodes.clone(), pods.clone(), stop.clone()));
    tasks.spawn(pod_gc::run(account(pod_gc::NAME), nodes.clone(), pods.clone(), stop.clone()));
    tasks.spawn(namespace::run(account(namespace::NAME), namespaces.clone(), stop.clone()));
    tasks.spawn(garbage_collector::run(account(garbage_collector::NAME), stop.clone()));

    tasks.spawn(pods.run(reader.clone(), stop.clone()));
    tasks.spawn(nodes.run(reader.clone(), stop.clone()));
    tasks.spawn(services.run(reader.clone(), stop.clone()));
    tasks.spawn(slices.run(reader.clone(), stop.clone()));
    tasks.spawn(endpoints.run(reader.clone(), stop.clone()));
    tasks.spawn(leases.run(reader.clone(), stop.clone()));
    tasks.spawn(namespaces.run(reader.clone(), stop.clone()));
    tasks.spawn(service_accounts.run(reader.clone(), stop.clone()));
    tasks.spawn(config_maps.run(reader.clone(), stop.clone()));
    tasks.spawn(replication_controllers.run(reader.clone(), stop.clone()));
    tasks.spawn(deployments.run(reader.clone(), stop.clone()));
    tasks.spawn(jobs.run(reader.clone(), stop.clone()));
    tasks.spawn(daemon_sets.run(reader.clone(), stop.clone()));
    tasks.spawn(revisions.run(reader.clone(), stop.clone()));
    tasks.spawn(stateful_sets.run(reader.clone(), stop.clone()));
    tasks.spawn(budgets.run(reader.clone(), stop.clone()));
    tasks.spawn(quotas.run(reader.clone(), stop.clone()));
    tasks.spawn(replica_sets.run(reader, stop.clone()));

    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}
