//! What an API server has to be told.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use orlop_auth::TokenAuthority;
use orlop_store::Store;

use crate::audit::AuditOptions;

mod service_ranges;

pub use service_ranges::{ServiceRanges, ServiceRangesError};

/// The front proxy's identity, PEM.
#[derive(Clone)]
pub struct FrontProxy {
    /// The CA that aggregated servers are told to believe (`requestheader-client-ca-file`).
    pub ca: String,
    /// The client certificate (`--proxy-client-cert-file`).
    pub certificate: String,
    /// Its key (`--proxy-client-key-file`).
    pub key: String,
}

/// Configuration of an [`crate::ApiServer`].
#[derive(Clone)]
pub struct Config {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Addresses of Services (`--service-cluster-ip-range`); the first one is the API server's own.
    pub service_cidr: ServiceRanges,
    /// Ports of NodePort Services (`--service-node-port-range`).
    pub node_port_range: RangeInclusive<u16>,
    /// Where the cluster reaches this server (`--advertise-address`).
    pub advertise_address: IpAddr,
    /// Port at that address.
    pub port: u16,
    /// The cluster's CA (PEM), which pods get as kube-root-ca.crt.
    pub ca_pem: String,
    /// Signs and verifies service-account tokens.
    pub tokens: Arc<TokenAuthority>,
    /// How this server speaks to kubelets (their CA, its client certificate); without it, logs are refused.
    pub kubelet_client: Option<Arc<rustls::ClientConfig>>,
    /// How this server proves to aggregated servers that it speaks for others; without it they know nobody.
    pub front_proxy: Option<FrontProxy>,
    /// Whether bootstrap tokens say who somebody is (`--enable-bootstrap-token-auth`).
    pub bootstrap_tokens: bool,
    /// How many requests run at once (`--max-requests-inflight` and `--max-mutating-requests-inflight` together): the seats that
    /// priority levels have between them.
    pub requests_in_flight: u32,
    /// What is written into the audit log.
    pub audit: AuditOptions,
}

/// As many requests as kube-apiserver lets run at once unless it is told otherwise.
pub const REQUESTS_IN_FLIGHT: u32 = 400 + 200;

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("service_cidr", &self.service_cidr)
            .field("node_port_range", &self.node_port_range)
            .field("advertise_address", &self.advertise_address)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
