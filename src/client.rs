//! The client of an agent: kube's own, over connections that notice when the other side has forgotten them.
//!
//! A reset is sent once and may be lost, for one while a proxy's first NAT hooks appear under a connection. Without
//! keep-alive the client would wait on a watch that nobody serves.

use std::time::Duration;

use anyhow::Result;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use tower::Layer as _;
use tower::util::{MapErr, option_layer};

/// A silent connection is asked after so long whether it still is one, and then so often and so many times.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_RETRIES: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to the API server that the configuration names, as `agent`, by whose name the fields are owned that it writes.
pub fn connect(mut config: kube::Config, agent: &'static str) -> Result<kube::Client> {
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(agent)));
    if config.proxy_url.is_some() {
        // kube knows how.
        return Ok(kube::Client::try_from(config)?);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(KEEP_ALIVE));
    tcp.set_keepalive_interval(Some(KEEP_ALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEP_ALIVE_RETRIES));
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let http = MapErr::new(Http::builder(TokioExecutor::new()).build(tls), tower::BoxError::from);
    let headers = config.extra_headers_layer()?;
    let service = config.base_uri_layer().layer(option_layer(config.auth_layer()?).layer(headers.layer(http)));
    Ok(kube::Client::new(service, config.default_namespace))
}
