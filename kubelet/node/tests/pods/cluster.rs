//! One machine with an API server in the test's own process and the kubelet beside it: what a test says is in Kubernetes' terms.

#[path = "../../../cri/tests/bed/machine.rs"]
mod machine;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{
    ConfigMap, ContainerState, ContainerStatus, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount,
};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use orlop_api::ApiServer;
use orlop_auth::pki::{ClusterPki, Subject, Usage};
use orlop_auth::{TokenAuthority, UserInfo};
use orlop_cri::CriClient;
use orlop_kubelet::Config;
use orlop_store::{Embedded, Options};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cable::Cable;
pub use machine::IMAGE;
use machine::Machine;

/// When the kubelet of the tests rotates a log.
pub const LOG_SIZE: u64 = 64 * 1024;

/// The cluster of one test.
pub struct Cluster {
    pub machine: Machine,
    pub client: kube::Client,
    pub cri: CriClient,
    pub pki: ClusterPki,
    /// Between the kubelet and the API server.
    pub cable: Cable,
    server: Arc<ApiServer>,
    kubelet: Option<(CancellationToken, JoinHandle<()>)>,
}

/// Runs `test` with a cluster of one node, inside namespaces of its own.
pub fn with_cluster<T: AsyncFnOnce(Cluster)>(test: T) {
    // `pods::start::name_of_the_test::{{closure}}`: the process is started again for this test alone.
    let path = std::any::type_name::<T>().trim_end_matches("::{{closure}}");
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    machine::inside_machine(name, |machine| async move {
        let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
        test(Cluster::start(machine).await).await;
    });
}

/// A container named `c` that runs the guest program with these verbs.
pub fn guest(verbs: &[&str]) -> Value {
    json!({ "name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": verbs })
}

/// The object with more fields.
pub fn with(mut object: Value, more: Value) -> Value {
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

impl Cluster {
    async fn start(machine: Machine) -> Self {
        let pki = ClusterPki::open(&machine.dir("pki")).unwrap();
        let tokens = TokenAuthority::new(
            "https://kubernetes.default.svc.cluster.local",
            &pki.service_account_key().unwrap(),
            &pki.service_account_public_key().unwrap(),
        )
        .unwrap();
        let server = ApiServer::start(orlop_api::Config {
            store: Arc::new(Embedded::open(machine.dir("store"), Options::default()).unwrap()),
            service_cidr: "10.96.0.0/12".parse().unwrap(),
            node_port_range: 30000..=32767,
            advertise_address: "127.0.0.1".parse().unwrap(),
            port: 6443,
            ca_pem: pki.ca().certificate().to_owned(),
            tokens: Arc::new(tokens),
            kubelet_client: Some(client_tls(&pki, "kube-apiserver-kubelet-client", &["system:masters"])),
            front_proxy: None,
            bootstrap_tokens: false,
            requests_in_flight: orlop_api::REQUESTS_IN_FLIGHT,
            audit: Default::default(),
        })
        .await
        .unwrap();
        let client = server.client(UserInfo::new("admin", ["system:masters"]));
        let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
        let account = serde_json::from_value(json!({ "metadata": { "name": "default" } })).unwrap();
        // The controllers that make these do not run here.
        let _ = accounts.create(&PostParams::default(), &account).await;
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let map = json!({ "metadata": { "name": "kube-root-ca.crt" }, "data": { "ca.crt": pki.ca().certificate() } });
        let _ = maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for name in ["default", "kube-node-lease"] {
            let namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
            let _ = namespaces.create(&PostParams::default(), &namespace).await;
        }
        let cri = CriClient::new(machine.socket());
        let mut cluster = Self { machine, client, cri, pki, cable: Cable::new(), server, kubelet: None };
        cluster.start_kubelet();
        eventually("the Node is ready", async || {
            let nodes: Api<Node> = Api::all(cluster.client.clone());
            let node = nodes.get_opt("node1").await.unwrap()?;
            is_node_ready(&node).then_some(())
        })
        .await;
        cluster
    }

    /// Starts the kubelet, as the user that it is in a real cluster.
    pub fn start_kubelet(&mut self) {
        let user = UserInfo::new("system:node:node1", ["system:nodes"]);
        let client = self.cable.through(self.server.client(user));
        let config = Config {
            root_dir: self.machine.dir("kubelet"),
            log_dir: self.machine.dir("pods"),
            cluster_dns: vec!["10.96.0.10".parse().unwrap()],
            container_log_max_size: LOG_SIZE,
            container_log_max_files: 3,
            // Rotated logs are named by the second.
            container_log_monitor_interval: Duration::from_millis(1050),
            node_status_update_frequency: Duration::from_millis(300),
            node_lease_duration: Duration::from_secs(1),
            node_lease_renew_interval: Duration::from_millis(300),
            ..Config::new("node1", "127.0.0.1".parse().unwrap(), client, self.machine.socket(), self.tls())
        };
        let stop = CancellationToken::new();
        let run = orlop_kubelet::run(config, stop.clone());
        let task = tokio::spawn(async move { run.await.expect("the kubelet runs until it is stopped") });
        self.kubelet = Some((stop, task));
    }

    /// Stops the kubelet; its containers run on.
    pub async fn stop_kubelet(&mut self) {
        let (stop, task) = self.kubelet.take().unwrap();
        stop.cancel();
        task.await.unwrap();
    }

    /// Ends the kubelet in the middle of whatever it does.
    pub async fn kill_kubelet(&mut self) {
        let (_, task) = self.kubelet.take().unwrap();
        task.abort();
        let _ = task.await;
    }

    /// Kills a container's processes as a crash would.
    pub async fn kill_container(&self, pod: &Pod, container: &str) {
        let id = status_of(pod, container).container_id.unwrap();
        self.cri.stop_container(id.trim_start_matches("containerd://"), Duration::ZERO).await.unwrap();
    }

    /// Runs a command in the pod's container.
    pub async fn exec(&self, pod: &Pod, command: &[&str]) {
        let id = container_id(pod);
        let command = command.iter().map(|&word| word.to_owned()).collect();
        let limit = Duration::from_secs(5);
        let reply = self.cri.exec_sync(id.trim_start_matches("containerd://"), command, limit).await.unwrap();
        assert_eq!(reply.exit_code, 0);
    }

    fn tls(&self) -> Arc<rustls::ServerConfig> {
        let usage = Usage::Server { names: vec!["node1".into()], addresses: vec!["127.0.0.1".parse().unwrap()] };
        let issued = self.pki.ca().issue(&Subject::new("system:node:node1", &["system:nodes"]), &usage).unwrap();
        let ca = self.pki.ca().certificate().as_bytes();
        orlop_kubelet::server_tls(issued.certificate.as_bytes(), issued.key.as_bytes(), ca).unwrap()
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    pub async fn create_config_map(&self, value: Value) {
        let api: Api<ConfigMap> = Api::default_namespaced(self.client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(value).unwrap()).await.unwrap();
    }

    pub async fn create_secret(&self, value: Value) {
        let api: Api<Secret> = Api::default_namespaced(self.client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(value).unwrap()).await.unwrap();
    }

    pub async fn create_service(&self, value: Value) {
        let api: Api<Service> = Api::default_namespaced(self.client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(value).unwrap()).await.unwrap();
    }

    /// Serves the API on this machine's port 6443 and returns what starts `kubectl` for it, as a member of `system:masters`.
    pub fn kubectl(&self) -> impl Fn() -> tokio::process::Command {
        let dir = self.machine.dir("kubectl");
        let issued = self.pki.ca().issue(&Subject::new("admin", &["system:masters"]), &Usage::Client).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(dir.join(name), text).unwrap();
            dir.join(name)
        };
        let ca = write("ca.crt", self.pki.ca().certificate());
        let (certificate, key) = (write("admin.crt", &issued.certificate), write("admin.key", &issued.key));
        let unpacked = std::env::var_os("ORLOP_TOOLS").map(|tools| std::path::Path::new(&tools).join("bin/kubectl"));
        let program = unpacked.filter(|program| program.exists()).unwrap_or_else(|| "kubectl".into());
        let (server, tls) = (self.server.clone(), self.tls());
        tokio::spawn(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:6443").await.unwrap();
            server.serve(listener, tls, CancellationToken::new()).await;
        });
        move || {
            let mut command = tokio::process::Command::new(&program);
            command.arg("--server=https://127.0.0.1:6443").arg("--certificate-authority").arg(&ca);
            command.arg("--client-certificate").arg(&certificate).arg("--client-key").arg(&key);
            command.env("HOME", &dir).env_remove("KUBECONFIG").stdout(std::process::Stdio::piped()).kill_on_drop(true);
            command
        }
    }

    /// Asks the kubelet's HTTP API with curl; status and body. With a client certificate for `user`, or without.
    pub async fn ask_kubelet(&self, user: Option<(&str, &[&str])>, path: &str) -> (u16, String) {
        let mut command = tokio::process::Command::new("curl");
        let ca = self.machine.dir("curl").join("ca.crt");
        std::fs::write(&ca, self.pki.ca().certificate()).unwrap();
        command.args(["-sS", "--max-time", "10", "-w", "\n%{http_code}", "--cacert"]).arg(&ca);
        if let Some((name, groups)) = user {
            let issued = self.pki.ca().issue(&Subject::new(name, groups), &Usage::Client).unwrap();
            let (certificate, key) = (ca.with_file_name("c.crt"), ca.with_file_name("c.key"));
            std::fs::write(&certificate, issued.certificate).unwrap();
            std::fs::write(&key, issued.key).unwrap();
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        let output = command.arg(format!("https://127.0.0.1:10250{path}")).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    pub async fn pod(&self, name: &str) -> Pod {
        self.pods().get(name).await.unwrap()
    }

    /// Creates a pod on this node.
    pub async fn create(&self, name: &str, mut spec: Value) -> Pod {
        spec["nodeName"] = json!("node1");
        if spec.get("terminationGracePeriodSeconds").is_none() {
            spec["terminationGracePeriodSeconds"] = json!(5);
        }
        let pod = json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": spec });
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
    }

    pub async fn delete(&self, name: &str) {
        self.pods().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub async fn gone(&self, name: &str) {
        eventually(&format!("{name} is gone"), async || {
            self.pods().get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    }

    /// Waits until the pod's status is as wanted.
    pub async fn until(&self, what: &str, name: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        let start = Instant::now();
        loop {
            let pod = self.pods().get(name).await.unwrap();
            if wanted(&pod) {
                return pod;
            }
            if start.elapsed() > Duration::from_secs(20) {
                let status = serde_json::to_string_pretty(&pod.status).unwrap();
                let log = self.machine.containerd_log();
                panic!("{name} never became {what}: {status}\n{:?}\n{log}", self.events(name).await);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn ready(&self, name: &str) -> Pod {
        self.until("ready", name, is_ready).await
    }

    /// Waits until the pod's status is as wanted, or the pod is gone already.
    pub async fn until_gone_or(&self, what: &str, name: &str, wanted: impl Fn(&Pod) -> bool) {
        eventually(what, async || {
            self.pods().get_opt(name).await.unwrap().is_none_or(|pod| wanted(&pod)).then_some(())
        })
        .await;
    }

    /// The events of a pod, as `reason: message`.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::default_namespaced(self.client.clone());
        let list = api.list(&ListParams::default()).await.unwrap().items;
        let of_pod = list.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(name));
        of_pod.map(|e| format!("{}: {}", e.reason.unwrap_or_default(), e.message.unwrap_or_default())).collect()
    }

    /// Where a container's logs are.
    pub fn log_dir(&self, pod: &Pod, container: &str) -> std::path::PathBuf {
        let uid = pod.metadata.uid.as_deref().unwrap();
        self.machine.dir(&format!("pods/default_{}_{uid}/{container}", pod.metadata.name.as_deref().unwrap()))
    }

    /// What a container has written.
    pub fn log(&self, pod: &Pod, container: &str, run: u32) -> String {
        let file = self.log_dir(pod, container).join(format!("{run}.log"));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(|line| format!("{line}\n")).collect()
    }
}

/// What a client with a certificate for this user needs to speak to the cluster's servers.
pub fn client_tls(pki: &ClusterPki, user: &str, groups: &[&str]) -> Arc<rustls::ClientConfig> {
    let issued = pki.ca().issue(&Subject::new(user, groups), &Usage::Client).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca().certificate().as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
        )
        .unwrap();
    Arc::new(config)
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn is_node_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The status of the pod's only container.
pub fn container(pod: &Pod) -> ContainerStatus {
    status_of(pod, "c")
}

pub fn status_of(pod: &Pod, container: &str) -> ContainerStatus {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.into_iter().find(|status| status.name == container).cloned().unwrap_or_default()
}

pub fn container_id(pod: &Pod) -> String {
    container(pod).container_id.unwrap()
}

pub fn state(pod: &Pod) -> ContainerState {
    container(pod).state.unwrap_or_default()
}

/// Tries until there is a result.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(result) = attempt().await {
            return result;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "not in 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
