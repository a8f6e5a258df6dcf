//! An API server on loopback with a store of its own, and a kubectl that speaks to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

use orlop_api::{ApiError, ApiServer, Config, Identity};
use orlop_auth::pki::{ClusterPki, Subject, Usage, kubeconfig};
use orlop_auth::{TokenAuthority, UserInfo};
use orlop_store::{Embedded, Options};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub struct Cluster {
    pub server: Arc<ApiServer>,
    pub directory: tempfile::TempDir,
    pub address: SocketAddr,
    pub pki: ClusterPki,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Cluster {
    /// An administrator's HTTP/1.1 connection on which this was asked, and the head of the answer.
    pub async fn upgraded(&self, request: &str) -> (TlsStream<TcpStream>, String) {
        let issued = self.pki.ca().issue(&Subject::new("admin", &["system:masters"]), &Usage::Client).unwrap();
        let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate(self.pki.ca().certificate())).unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![certificate(&issued.certificate)],
                PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
            )
            .unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
        let mut stream = connector.connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (stream, String::from_utf8(head).unwrap())
    }

    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    /// Over whatever a former cluster left in the directory.
    pub async fn start_in(directory: tempfile::TempDir) -> Self {
        Self::start_with(directory, |_| {}).await
    }

    /// With another configuration.
    pub async fn start_with(directory: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
        Self::try_start_with(directory, change).await.unwrap()
    }

    /// Likewise, if a server starts with it.
    pub async fn try_start_with(
        directory: tempfile::TempDir,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self, ApiError> {
        let pki = ClusterPki::open(&directory.path().join("pki")).unwrap();
        let tokens = TokenAuthority::new(
            "https://kubernetes.default.svc.cluster.local",
            &pki.service_account_key().unwrap(),
            &pki.service_account_public_key().unwrap(),
        )
        .unwrap();
        let mut config = Config {
            store: Arc::new(open(directory.path().join("store")).await),
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
        };
        change(&mut config);
        let server = ApiServer::start(config).await?;
        let issued = pki.apiserver(&[], &["127.0.0.1".parse().unwrap()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(server.client_certificates())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.clone().serve(listener, Arc::new(tls), stop.clone()));
        let serving = Some(serving);
        let cluster = Self { server, directory, address, pki, stop, serving };
        cluster.kubeconfig("admin", &["system:masters"]);
        Ok(cluster)
    }

    /// A kubeconfig for a user, made now.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> PathBuf {
        let path = self.directory.path().join(format!("{}.kubeconfig", user.replace(':', "_")));
        kubeconfig(&self.pki, "test", &format!("https://{}", self.address), &Subject::new(user, groups), &path)
            .unwrap();
        path
    }

    /// A kubeconfig that knows a bearer token only.
    pub fn token_kubeconfig(&self, user: &str, token: &str) {
        let cluster = json!({
            "server": format!("https://{}", self.address),
            "certificate-authority": self.directory.path().join("pki/ca.crt"),
        });
        let config = json!({
            "kind": "Config", "apiVersion": "v1", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        });
        std::fs::write(self.directory.path().join(format!("{user}.kubeconfig")), config.to_string()).unwrap();
    }

    pub fn admin(&self) -> kube::Client {
        self.server.client(UserInfo::new("admin", ["system:masters"]))
    }

    /// Closes the listener and waits until nothing is served any more.
    pub async fn close(&mut self) {
        self.stop.cancel();
        self.serving.take().unwrap().await.unwrap();
    }

    /// Stops and gives back what it stored.
    pub fn stop(mut self) -> tempfile::TempDir {
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        self.server.stop();
        self.stop.cancel();
        directory
    }

    /// A component's client.
    pub fn client(&self, user: &str, groups: &[&str]) -> kube::Client {
        self.server.client(UserInfo::new(user, groups.iter().copied()))
    }

    /// Sends an admin's request as it is.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(Identity(Arc::new(UserInfo::new("admin", ["system:masters"]))));
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
        self.server.clone().handle(Request::from_parts(parts, body)).await
    }

    /// Sends a request of somebody who has only what stands in its headers, and reads JSON.
    pub async fn anonymous(&self, request: Request<Vec<u8>>) -> (u16, Value) {
        let body = |body: Vec<u8>| Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
        let response = self.server.clone().handle(request.map(body)).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Sends JSON and reads JSON.
    #[allow(clippy::needless_pass_by_value)]
    pub async fn json(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        let response = self.send(request.body(body).unwrap()).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Runs kubectl as admin; standard output, or standard error if it failed.
    pub async fn kubectl(&self, arguments: &str) -> Result<String, String> {
        self.kubectl_as("admin", arguments, "").await
    }

    /// Runs kubectl as a user with something on its standard input.
    pub async fn kubectl_as(&self, user: &str, arguments: &str, input: &str) -> Result<String, String> {
        let config = self.directory.path().join(format!("{}.kubeconfig", user.replace(':', "_")));
        let cache = self.directory.path().join("cache");
        let arguments: Vec<String> = arguments.split_whitespace().map(Into::into).collect();
        let input = input.to_owned();
        tokio::task::spawn_blocking(move || {
            use std::io::Write;
            let mut child = Command::new(kubectl())
                .arg("--kubeconfig")
                .arg(config)
                .arg("--cache-dir")
                .arg(cache)
                .args(&arguments)
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .expect("kubectl must be there: run `cargo xtask setup`");
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
        })
        .await
        .unwrap()
    }
}

/// Opens a store; a server that was told to stop closes it in its own time.
async fn open(path: PathBuf) -> Embedded {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        match Embedded::open(path.clone(), Options::default()) {
            Ok(store) => return store,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The real kubectl: of `cargo xtask setup`, else the one in the PATH.
pub fn kubectl() -> PathBuf {
    std::env::var_os("ORLOP_TOOLS").map_or_else(|| "kubectl".into(), |tools| PathBuf::from(tools).join("bin/kubectl"))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.stop();
        self.stop.cancel();
    }
}
