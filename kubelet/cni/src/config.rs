//! The network configuration on standard input, as the overlay writes it into the conflist.

use crate::error::{CniError, Result};
use crate::host_ports::PortMapping;
use crate::ipam::Attachment;
use ipnet::Ipv4Net;
use serde::Deserialize;
use std::path::PathBuf;

/// The plugin's part of the conflist.
#[derive(Debug, Deserialize)]
pub(crate) struct NetworkConfig {
    pub name: String,
    pub ipam: IpamConfig,
    /// Of both ends; what the overlay leaves of the uplink's.
    #[serde(default = "default_mtu")]
    pub mtu: u32,
    /// The `nft` program, which host ports need.
    #[serde(default = "default_nft")]
    pub nft: PathBuf,
    /// What the runtime says of this one pod, for it finds `capabilities.portMappings` in the conflist.
    #[serde(default, rename = "runtimeConfig")]
    pub runtime: RuntimeConfig,
    /// GC: the attachments that still exist.
    #[serde(default, rename = "cni.dev/valid-attachments")]
    pub valid_attachments: Vec<Attachment>,
}

/// The runtime's part of the configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RuntimeConfig {
    #[serde(default)]
    pub port_mappings: Vec<PortMapping>,
}

/// Where addresses come from.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IpamConfig {
    /// The Node's podCIDR.
    pub subnet: Ipv4Net,
    /// Where leases are kept, across reboots.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
}

fn default_mtu() -> u32 {
    1450
}

fn default_nft() -> PathBuf {
    PathBuf::from("nft")
}

fn default_data_dir() -> PathBuf {
    PathBuf::from("/var/lib/cni/networks")
}

impl NetworkConfig {
    pub(crate) fn parse(stdin: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(stdin).map_err(|e| CniError::Decode(e.to_string()))?;
        if config.name.is_empty() || config.name.starts_with('.') || config.name.contains('/') {
            return Err(CniError::Config(format!("name {:?} cannot be a directory", config.name)));
        }
        if config.ipam.subnet.prefix_len() > 30 {
            return Err(CniError::Config(format!("subnet {} holds no pod", config.ipam.subnet)));
        }
        if !(68..=65535).contains(&config.mtu) {
            return Err(CniError::Config(format!("mtu {} is out of range", config.mtu)));
        }
        Ok(config)
    }
}
