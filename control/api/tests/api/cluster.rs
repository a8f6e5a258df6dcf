//! An API server on loopback with a store of its own, and a kubectl that speaks to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use orlop_api::{ApiServer, Config};
use orlop_auth::pki::{ClusterPki, Subject, kubeconfig};
use orlop_auth::{TokenAuthority, UserInfo};
use orlop_store::{Embedded, Options};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub struct Cluster {
    pub server: Arc<ApiServer>,
    pub directory: tempfile::TempDir,
    pub address: SocketAddr,
    pki: ClusterPki,
    stop: CancellationToken,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    /// Over whatever a former cluster left in the directory.
    pub async fn start_in(directory: tempfile::TempDir) -> Self {
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
        })
        .await
        .unwrap();
        let issued = pki.apiserver(&[], &["127.0.0.1".parse().unwrap()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pki.ca().certificate().as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(server.clone().serve(listener, Arc::new(tls), stop.clone()));
        let cluster = Self { server, directory, address, pki, stop };
        cluster.kubeconfig("admin", &["system:masters"]);
        cluster
    }

    /// A kubeconfig for a user, made now.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> PathBuf {
        let path = self.directory.path().join(format!("{}.kubeconfig", user.replace(':', "_")));
        kubeconfig(&self.pki, "test", &format!("https://{}", self.address), &Subject::new(user, groups), &path)
            .unwrap();
        path
    }

    pub fn admin(&self) -> kube::Client {
        self.server.client(UserInfo::new("admin", ["system:masters"]))
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

/// The real kubectl: of `cargo xtask setup`, else the one in the PATH.
fn kubectl() -> PathBuf {
    std::env::var_os("ORLOP_TOOLS").map_or_else(|| "kubectl".into(), |tools| PathBuf::from(tools).join("bin/kubectl"))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.stop();
        self.stop.cancel();
    }
}
