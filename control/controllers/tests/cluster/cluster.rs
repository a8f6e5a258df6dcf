use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use orlop_api::{ApiServer, Config};
use orlop_auth::pki::{CertificateAuthority, ClusterPki};
use orlop_auth::{TokenAuthority, UserInfo};
use orlop_store::{Embedded, Options};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

/// An API server with all controllers and the scheduler.
pub struct Cluster {
    server: Arc<ApiServer>,
    _directory: tempfile::TempDir,
    stop: CancellationToken,
}

impl Cluster {
    pub async fn start() -> Self {
        if let Ok(filter) = std::env::var("RUST_LOG") {
            let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        }
        let directory = tempfile::tempdir().unwrap();
        let pki = ClusterPki::open(&directory.path().join("pki")).unwrap();
        let tokens = TokenAuthority::new(
            "https://kubernetes.default.svc.cluster.local",
            &pki.service_account_key().unwrap(),
            &pki.service_account_public_key().unwrap(),
        )
        .unwrap();
        let server = ApiServer::start(Config {
            store: Arc::new(Embedded::open(directory.path().join("store"), Options::default()).unwrap()),
            service_cidr: "10.96.0.0/12".parse().unwrap(),
            node_port_range: 30000..=32767,
            advertise_address: "172.30.0.11".parse().unwrap(),
            port: 6443,
            ca_pem: pki.ca().certificate().to_owned(),
            tokens: Arc::new(tokens),
            kubelet_client: None,
            front_proxy: None,
            bootstrap_tokens: false,
            requests_in_flight: orlop_api::REQUESTS_IN_FLIGHT,
            audit: Default::default(),
        })
        .await
        .unwrap();
        let stop = CancellationToken::new();
        let clients = {
            let server = server.clone();
            move |user: &str| server.client(user_of(user))
        };
        let mut config = orlop_controllers::Config::new("10.244.0.0/16".parse().unwrap(), pki.ca().certificate());
        config.node_monitor_grace_period = Duration::from_secs(1);
        config.node_monitor_period = Duration::from_millis(200);
        config.cluster_dns = Some(orlop_controllers::ClusterDns::new("10.96.0.10".parse().unwrap()));
        let ca = CertificateAuthority::from_pem(pki.ca().certificate().to_owned(), pki.ca().key().to_owned());
        config.signing_ca = Some(Arc::new(ca.unwrap()));
        let token = stop.clone();
        tokio::spawn(async move { orlop_controllers::run(clients, config, token).await.unwrap() });
        tokio::spawn(orlop_scheduler::run(server.client(user_of("system:kube-scheduler")), stop.clone()));
        Self { server, _directory: directory, stop }
    }

    pub fn client_of(&self, name: &str, groups: &[&str]) -> Client {
        self.server.client(UserInfo::new(name, groups.iter().copied()))
    }

    pub fn client(&self) -> Client {
        self.server.client(UserInfo::new("admin", ["system:masters"]))
    }

    /// Waits until pods can be created in a namespace: they need its default account.
    pub async fn ready(&self, namespace: &str) {
        let accounts = Api::<ServiceAccount>::namespaced(self.client(), namespace);
        eventually(async || accounts.get("default").await.map_err(|error| error.to_string())).await;
    }

    /// Creates an object from JSON; its kind says where.
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + serde::Serialize
            + serde::de::DeserializeOwned
            + Clone
            + Debug,
    {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        let object: K = serde_json::from_value(object).unwrap();
        Api::<K>::namespaced(self.client(), &namespace).create(&PostParams::default(), &object).await.unwrap()
    }

    /// A Node that is Ready (again), and a kubelet that renews its Lease until the guard is dropped and makes its pods run.
    pub async fn node(&self, name: &str) -> Kubelet {
        let nodes = Api::<Node>::all(self.client());
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        if nodes.get_opt(name).await.unwrap().is_none() {
            nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        }
        let stop = CancellationToken::new();
        let kubelet = Kubelet { stop: stop.clone() };
        let (client, name, own_name) = (self.client(), name.to_owned(), name.to_owned());
        let octet = name.bytes().map(u32::from).sum::<u32>() % 200;
        tokio::spawn(async move {
            let mut count = 0;
            while !stop.is_cancelled() {
                beat(&client, &name).await;
                run_pods(&client, &name, octet, &mut count).await;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
            }
        });
        eventually(async || {
            let spec = nodes.get(&own_name).await.unwrap().spec.unwrap_or_default();
            if spec.taints.is_none() && spec.pod_cidr.is_some() { Ok(()) } else { Err(format!("{spec:?}")) }
        })
        .await;
        kubelet
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.stop();
    }
}

/// A kubelet of sorts; it dies with this.
pub struct Kubelet {
    stop: CancellationToken,
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn beat(client: &Client, name: &str) {
    let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
    let now = jiff::Timestamp::now();
    let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 40,
        "renewTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(now)});
    let lease =
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec});
    if leases.patch(name, &PatchParams::default(), &Patch::Merge(&lease)).await.is_err() {
        let _ = leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await;
    }
    let nodes = Api::<Node>::all(client.clone());
    let Ok(node) = nodes.get(name).await else { return };
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    if !conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        let status = json!({"status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "addresses": [{"type": "InternalIP", "address": internal_ip(name)}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                "lastHeartbeatTime": jiff::Timestamp::now(), "lastTransitionTime": jiff::Timestamp::now()}],
        }});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
    }
}

/// A Node's address, made of its name.
pub fn internal_ip(name: &str) -> String {
    format!("172.30.0.{}", name.bytes().map(u32::from).sum::<u32>() % 200)
}

async fn run_pods(client: &Client, name: &str, octet: u32, count: &mut u32) {
    let pods = Api::<Pod>::all(client.clone());
    let own = ListParams::default().fields(&format!("spec.nodeName={name}"));
    for pod in pods.list(&own).await.unwrap() {
        let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap());
        if pod.metadata.deletion_timestamp.is_some() {
            let now = kube::api::DeleteParams::default().grace_period(0);
            let _ = api.delete(&pod.name_any(), &now).await;
        } else if pod.status.as_ref().is_none_or(|status| status.pod_ip.is_none()) {
            *count += 1;
            let ip = format!("10.244.{octet}.{count}");
            let now = jiff::Timestamp::now();
            let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}]}});
            let _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(status)).await;
        }
    }
}

/// Asks until the answer is `Ok`, and panics with the last `Err`.
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(why) if tokio::time::Instant::now() > deadline => panic!("after {PATIENCE:?}: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn user_of(name: &str) -> UserInfo {
    match name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        Some((namespace, account)) => UserInfo::service_account(namespace, account),
        None => UserInfo::new(name, [""; 0]),
    }
}
