//! Our API server, in this process: without controllers, as kube-apiserver is without kube-controller-manager.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use orlop_api::{ApiServer, Config, Identity};
use orlop_auth::pki::ClusterPki;
use orlop_auth::{TokenAuthority, UserInfo};
use orlop_store::{Embedded, Options};

use crate::answer::Raw;
use crate::case::Case;

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on an empty store.
pub struct Ours {
    server: Arc<ApiServer>,
    _directory: tempfile::TempDir,
}

impl Ours {
    /// Starts one that gives Services addresses of `ranges`.
    pub async fn start(ranges: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let pki = ClusterPki::open(&directory.path().join("pki"))?;
        let issuer = "https://kubernetes.default.svc.cluster.local";
        let tokens = TokenAuthority::new(issuer, &pki.service_account_key()?, &pki.service_account_public_key()?)?;
        let config = Config {
            store: Arc::new(Embedded::open(directory.path().join("store"), Options::default())?),
            service_cidr: ranges.parse()?,
            node_port_range: 30000..=32767,
            advertise_address: "127.0.0.1".parse()?,
            port: 6443,
            ca_pem: pki.ca().certificate().to_owned(),
            tokens: Arc::new(tokens),
            kubelet_client: None,
            front_proxy: None,
            bootstrap_tokens: false,
            requests_in_flight: orlop_api::REQUESTS_IN_FLIGHT,
            audit: Default::default(),
        };
        Ok(Self { server: ApiServer::start(config).await?, _directory: directory })
    }

    /// Asks it.
    pub async fn ask(&self, case: &Case) -> Result<Raw> {
        let mut request = Request::builder().method(case.method.as_str()).uri(&case.path);
        for (name, value) in case.headers() {
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::from(case.bytes()?)).map_err(|never| match never {}).boxed_unsync();
        let mut request = request.body(body)?;
        if let Some((user, group)) = case.user() {
            let groups = Some(group).filter(|group| !group.is_empty());
            request.extensions_mut().insert(Identity(Arc::new(UserInfo::new(user, groups))));
        }
        let answered = async {
            let (parts, body) = self.server.clone().handle(request).await.into_parts();
            let body = body.collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
            anyhow::Ok((parts, body))
        };
        let (parts, body) = tokio::time::timeout(PATIENCE, answered).await.context("no answer")??;
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        // The listener drops it.
        let body = if case.method == "HEAD" { Vec::new() } else { body.to_vec() };
        Ok(Raw { code: parts.status.as_u16(), headers, body })
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.server.stop();
    }
}
