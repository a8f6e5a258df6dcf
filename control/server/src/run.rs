//! Puts the control plane together.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use ipnet::Ipv4Net;
use orlop_api::{ApiServer, AuditOptions, ServiceRanges};
use orlop_auth::pki::{CertificateAuthority, ClusterPki, Subject, kubeconfig};
use orlop_auth::{TokenAuthority, UserInfo};
use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::listeners;

/// `--service-account-issuer`, kubeadm's.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// What the server must know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Keys (`pki/`) and the store (`store/`).
    pub data_dir: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Listening sockets inherited from the parent process.
    pub inherited: Vec<RawFd>,
    /// The address at which the cluster reaches this server.
    pub advertise_address: IpAddr,
    /// Addresses of Services.
    pub service_cidr: ServiceRanges,
    /// Ports of NodePort Services.
    pub node_port_range: RangeInclusive<u16>,
    /// Whether bootstrap tokens say who somebody is.
    pub bootstrap_tokens: bool,
    /// How many requests run at once.
    pub requests_in_flight: u32,
    /// What is written into the audit log.
    pub audit: AuditOptions,
    /// Addresses of pods.
    pub cluster_cidr: Ipv4Net,
    /// How long a Node may be silent before it counts as unreachable.
    pub node_monitor_grace_period: Duration,
    /// How often Nodes are looked at for that.
    pub node_monitor_period: Duration,
    /// The address of cluster DNS; none leaves cluster DNS to others.
    pub cluster_dns: Option<IpAddr>,
    /// Whether the controllers run here, and not a kube-controller-manager beside.
    pub controllers: bool,
    /// Whether the scheduler runs here, and not a kube-scheduler beside.
    pub scheduler: bool,
}

/// Runs until cancelled.
pub async fn run(config: Config, stop: CancellationToken) -> Result<()> {
    let started = Instant::now();
    let pki = ClusterPki::open(&config.data_dir.join("pki")).context("the cluster's keys")?;
    administrators_kubeconfig(&config, &pki)?;
    let first_service =
        config.service_cidr.primary().hosts().next().context("--service-cluster-ip-range has no address")?;
    let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
    let addresses: Vec<IpAddr> = loopback.into_iter().chain([config.advertise_address, first_service]).collect();
    let serving = pki.apiserver(&[], &addresses)?;
    let calling = pki.kubelet_client()?;
    let proxying = pki.front_proxy_client()?;
    let front_proxy = orlop_api::FrontProxy {
        ca: pki.front_proxy_ca()?.certificate().to_owned(),
        certificate: proxying.certificate,
        key: proxying.key,
    };
    let roots = Arc::new(roots(pki.ca().certificate())?);

    let mut kubelet_client = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&calling.certificate)?, key(&calling.key)?)
        .context("the API server's client certificate for kubelets")?;
    kubelet_client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let store = orlop_store::Embedded::open(config.data_dir.join("store"), orlop_store::Options::default())
        .context("opening the store")?;
    let tokens = TokenAuthority::new(ISSUER, &pki.service_account_key()?, &pki.service_account_public_key()?)?;
    let api = ApiServer::start(orlop_api::Config {
        store: Arc::new(store),
        service_cidr: config.service_cidr,
        node_port_range: config.node_port_range.clone(),
        advertise_address: config.advertise_address,
        port: config.listen.port(),
        ca_pem: pki.ca().certificate().to_owned(),
        tokens: Arc::new(tokens),
        kubelet_client: Some(Arc::new(kubelet_client)),
        front_proxy: Some(front_proxy),
        bootstrap_tokens: config.bootstrap_tokens,
        requests_in_flight: config.requests_in_flight,
        audit: config.audit,
    })
    .await
    .context("starting the API server")?;
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(quickest_first()))
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_client_cert_verifier(api.client_certificates())
        .with_single_cert(certificates(&serving.certificate)?, key(&serving.key)?)
        .context("the API server's serving certificate")?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tls.ignore_client_order = true;
    let tls = Arc::new(tls);

    let mut tasks = JoinSet::<Result<()>>::new();
    let own = listeners::open(config.listen)?;
    let inherited = config.inherited.iter().map(|&fd| listeners::inherited(fd)).collect::<Result<Vec<_>>>()?;
    for listener in std::iter::once(own).chain(inherited) {
        let (api, tls, stop) = (api.clone(), tls.clone(), stop.clone());
        tasks.spawn(async move {
            api.serve(listener, tls, stop).await;
            Ok(())
        });
    }
    let (watched, token) = (api.clone(), stop.clone());
    tasks.spawn(async move {
        tokio::select! {
            ended = watched.ended() => Ok(ended?),
            () = token.cancelled() => Ok(()),
        }
    });
    tracing::info!(elapsed = ?started.elapsed(), address = %config.listen, "API server is serving");

    let controllers = orlop_controllers::Config {
        node_monitor_grace_period: config.node_monitor_grace_period,
        node_monitor_period: config.node_monitor_period,
        cluster_dns: config.cluster_dns.map(orlop_controllers::ClusterDns::new),
        signing_ca: Some(Arc::new(CertificateAuthority::from_pem(
            pki.ca().certificate().to_owned(),
            pki.ca().key().to_owned(),
        )?)),
        ..orlop_controllers::Config::new(config.cluster_cidr, pki.ca().certificate())
    };
    let clients = {
        let api = api.clone();
        move |user: &str| api.client(user_info(user))
    };
    if config.controllers {
        let token = stop.clone();
        tasks.spawn(async move { Ok(orlop_controllers::run(clients, controllers, token).await?) });
    }
    if config.scheduler {
        let (client, token) = (api.client(user_info("system:kube-scheduler")), stop.clone());
        tasks.spawn(async move {
            orlop_scheduler::run(client, token).await;
            Ok(())
        });
    }

    let mut result = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.map_err(|error| anyhow!("a part of the server panicked: {error}")).and_then(|ended| ended);
        if result.is_ok() {
            result = ended;
        }
        stop.cancel();
    }
    api.stop();
    api.flush_audit().await;
    result
}

/// Whoever starts a server can use it: writes admin.kubeconfig beside the store, where there is none (`orlop up` writes its own first).
fn administrators_kubeconfig(config: &Config, pki: &ClusterPki) -> Result<()> {
    let path = config.data_dir.join("admin.kubeconfig");
    if path.exists() {
        return Ok(());
    }
    let server = format!("https://{}", SocketAddr::new(config.advertise_address, config.listen.port()));
    let administrator = Subject::new("kubernetes-admin", &["system:masters"]);
    kubeconfig(pki, "orlop", &server, &administrator, &path).with_context(|| format!("writing {}", path.display()))?;
    tracing::info!(path = %path.display(), "wrote the administrator's kubeconfig");
    Ok(())
}

/// An in-process component's user, with the groups that authentication would give it.
fn user_info(name: &str) -> UserInfo {
    match name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        Some((namespace, account)) => UserInfo::service_account(namespace, account),
        None => UserInfo::new(name, [""; 0]),
    }
}

fn roots(ca: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// The cipher suites in the order in which Go's servers choose, AES-128 before AES-256: with hardware for it, a third less work.
fn quickest_first() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        _ => 1,
    });
    provider
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().context("a certificate that is no PEM")
}

fn key(pem: &str) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).context("a private key that is no PEM")
}
