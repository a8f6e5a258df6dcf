//! The CNI plugin: routed veth pairs with addresses from the Node's podCIDR.
//!
//! One binary serves two names: `orlop-cni` gives a pod its `eth0`, `loopback` brings up `lo` (container runtimes call that plugin by name).
//! Ports of the node lead to a pod that asks for them (`hostPort`).
//! A pod's address is a /32 with a link-local gateway behind it: every packet is routed by the node, none is bridged, and neither end asks ARP.
//! Every verb may be repeated, and a plugin killed at any point leaves nothing that the next ADD or DEL does not put right.

mod command;
mod config;
mod error;
mod host_ports;
mod ipam;
mod loopback;
mod result;
mod veth;

use command::{Request, Verb};
use config::NetworkConfig;
use error::{CniError, Result};
use ipam::{Attachment, Leases};
use result::NetworkResult;
use serde_json::{Value, json};

/// The CNI versions the plugin speaks, oldest first.
pub const SUPPORTED_VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// What the process does at its end: print `stdout`, exit with `code`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// 0, or 1 when `stdout` holds a CNI error.
    pub code: i32,
    /// The CNI result or error, or nothing (DEL, CHECK).
    pub stdout: String,
}

/// Carries out one CNI call as given by the plugin's name, its environment and its standard input.
pub fn run(argv0: &str, env: impl Fn(&str) -> Option<String>, stdin: &[u8]) -> Output {
    let asked = serde_json::from_slice::<Value>(stdin)
        .ok()
        .and_then(|config| config.get("cniVersion")?.as_str().map(str::to_string));
    let version = asked.unwrap_or_else(|| "1.0.0".to_string());
    match answer(argv0, env, stdin, &version) {
        Ok(None) => Output { code: 0, stdout: String::new() },
        Ok(Some(value)) => Output { code: 0, stdout: value.to_string() },
        Err(error) => Output { code: 1, stdout: error.to_json(&version).to_string() },
    }
}

fn answer(argv0: &str, env: impl Fn(&str) -> Option<String>, stdin: &[u8], version: &str) -> Result<Option<Value>> {
    let verb = command::verb(&env)?;
    if verb == Verb::Version {
        return Ok(Some(json!({"cniVersion": version, "supportedVersions": SUPPORTED_VERSIONS})));
    }
    if !SUPPORTED_VERSIONS.contains(&version) {
        return Err(CniError::IncompatibleVersion(version.to_string()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CniError::Io(format!("starting the plugin: {e}")))?;
    let name = argv0.rsplit('/').next().unwrap_or(argv0);
    if name == "loopback" {
        let request = command::request(verb, &env)?;
        return runtime.block_on(loopback::run(&request, version));
    }
    let config = NetworkConfig::parse(stdin)?;
    runtime.block_on(pod_network(verb, &env, &config, version))
}

async fn pod_network(
    verb: Verb,
    env: &impl Fn(&str) -> Option<String>,
    config: &NetworkConfig,
    version: &str,
) -> Result<Option<Value>> {
    let leases = Leases::open(&config.ipam.data_dir.join(&config.name), config.ipam.subnet)?;
    match verb {
        Verb::Status => leases.has_room().map(|()| None),
        Verb::Gc => {
            for attachment in leases.release_all_but(&config.valid_attachments)? {
                veth::detach(&attachment).await?;
            }
            Ok(None)
        }
        Verb::Add => add(&command::request(verb, env)?, config, &leases, version).await.map(Some),
        Verb::Del => {
            let request = command::request(verb, env)?;
            if let Some(address) = leases.address_of(&request.attachment)?
                && !config.runtime.port_mappings.is_empty()
            {
                host_ports::close(&config.nft, address)?;
            }
            veth::detach(&request.attachment).await?;
            leases.release(&request.attachment)?;
            Ok(None)
        }
        Verb::Check => {
            let request = command::request(verb, env)?;
            let address =
                leases.address_of(&request.attachment)?.ok_or_else(|| CniError::Missing("its address lease".into()))?;
            veth::check(&request, address).await.map(|()| None)
        }
        Verb::Version => Ok(None),
    }
}

async fn add(request: &Request, config: &NetworkConfig, leases: &Leases, version: &str) -> Result<Value> {
    let address = leases.acquire(&request.attachment)?;
    let attached = match veth::attach(request, address, config.mtu).await {
        Ok(pair) => host_ports::open(&config.nft, address, &config.runtime.port_mappings).map(|()| pair),
        Err(error) => Err(error),
    };
    match attached {
        Ok(pair) => Ok(NetworkResult::routed_pair(version, &request.netns_path, &pair, address).to_json()),
        Err(error) => {
            // Nothing half-made stays: the runtime need not call DEL after a failed ADD.
            let _ = veth::detach(&request.attachment).await;
            let _ = leases.release(&request.attachment);
            Err(error)
        }
    }
}

impl Attachment {
    /// The node's end of the pair: the same for the same attachment, so that DEL finds it without a record.
    pub(crate) fn host_device(&self) -> String {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(format!("{}/{}", self.container_id, self.ifname).as_bytes());
        format!("veth{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
    }
}
