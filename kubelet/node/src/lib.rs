//! The kubelet: pods over CRI, probes, volumes, status, and the kubelet's HTTP API.
//!
//! [`run`] is the whole of it. Data goes one way: `pods` watches the API server and lists the runtime; each pod's `worker` looks
//! (`observe`), decides (`state`, pure) and acts (`spec`, `env` and `mounts` say what to ask the runtime for); `publisher` sends
//! what is reported. `node` keeps the Node object, `server` the HTTP API, `rotation` the logs. Nothing that matters is kept in memory only: a
//! restarted kubelet finds its pods by their labels in the runtime and goes on without restarting a container.

mod backoff;
mod cgroups;
mod config;
mod env;
mod error;
mod events;
mod handlers;
mod images;
mod kubelet;
mod mounts;
mod node;
mod objects;
mod observe;
mod pod;
mod pods;
mod probes;
mod publisher;
mod quantity;
mod rotation;
mod server;
mod spec;
mod state;
mod turns;
mod volumes;
mod watches;
mod within;
mod worker;

use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use orlop_cri::CriClient;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{CgroupConfig, Config, EvictionThresholds};
pub use error::KubeletError;
pub use server::server_tls;

/// How long the runtime's last answers are waited for.
const LAST_CALLS: Duration = Duration::from_secs(3);

/// Runs the kubelet of one node until `stop` is cancelled. Containers keep running afterwards.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), KubeletError> {
    if config.node_ips.is_empty() {
        return Err(KubeletError::Configuration("node_ips is empty: the Node needs an address".into()));
    }
    for path in [&config.root_dir, &config.log_dir] {
        std::fs::create_dir_all(path).map_err(|source| KubeletError::Directory { path: path.clone(), source })?;
    }
    let client = config.client.clone();
    let reconnected = watch::channel(0).0;
    let (services, _watch) = objects::Services::start(client.clone(), reconnected.subscribe());
    let machine = node::Machine::look(&config);
    let kubelet = Arc::new(kubelet::Kubelet {
        cri: CriClient::new(&config.cri_socket),
        recorder: events::Recorder::start(client.clone(), "kubelet", config.node_name.clone()),
        objects: objects::Objects::new(client.clone()),
        services,
        tokens: volumes::Tokens::new(client),
        known: pods::Known::default(),
        allocated: Mutex::default(),
        sandbox_turns: turns::Turns::for_processors(machine.cpus),
        machine,
        health: watch::channel(kubelet::RuntimeHealth::default()).0,
        calls: TaskTracker::new(),
        reconnected,
        resolv_conf: RwLock::default(),
        runtime_version: Mutex::default(),
        config,
    });
    kubelet.read_resolv_conf();
    kubelet.check_runtime().await;
    let port = kubelet.config.port;
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", port))
        .await
        .map_err(|source| KubeletError::Listen { port, source })?;
    let known = kubelet.known.clone();
    tokio::select! {
        () = kubelet.watch_runtime() => {}
        () = node::keep(kubelet.clone()) => {}
        () = pods::Pods::new(kubelet.clone(), known.clone()).run() => {}
        () = rotation::keep_small(kubelet.clone()) => {}
        () = server::serve(kubelet.clone(), known, listener) => {}
        () = stop.cancelled() => {}
    }
    kubelet.calls.close();
    if tokio::time::timeout(LAST_CALLS, kubelet.calls.wait()).await.is_err() {
        tracing::info!(calls = kubelet.calls.len(), "calls to the runtime are left to themselves");
    }
    Ok(())
}
