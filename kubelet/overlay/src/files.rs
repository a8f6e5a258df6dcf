//! What others on the node read: the CNI configuration list and flannel's `subnet.env`. Written whole or not at all, and only when they change.

use crate::error::{Error, Result};
use ipnet::Ipv4Net;
use serde_json::json;
use std::fs;
use std::path::Path;

/// The pod network of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PodNetwork<'a> {
    pub cluster_cidr: Ipv4Net,
    pub pod_cidr: Ipv4Net,
    pub mtu: u32,
    /// Where the plugin keeps its leases.
    pub data_dir: &'a Path,
    /// The `nft` program.
    pub nft: &'a Path,
}

/// The configuration list that the container runtime waits for: the node's network is ready once it is there.
pub(crate) fn write_conflist(dir: &Path, network: &PodNetwork<'_>) -> Result<()> {
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "orlop",
        "plugins": [{
            "type": "orlop-cni",
            "capabilities": {"portMappings": true},
            "nft": network.nft,
            "mtu": network.mtu,
            "ipam": {"subnet": network.pod_cidr, "dataDir": network.data_dir},
        }],
    });
    replace(&dir.join("10-orlop.conflist"), &format!("{list:#}\n"))
}

/// `/run/flannel/subnet.env`, as flannel's own plugin reads it.
pub(crate) fn write_subnet_env(dir: &Path, network: &PodNetwork<'_>) -> Result<()> {
    let first = u32::from(network.pod_cidr.network()) + 1;
    let text = format!(
        "FLANNEL_NETWORK={}\nFLANNEL_SUBNET={}/{}\nFLANNEL_MTU={}\nFLANNEL_IPMASQ=true\n",
        network.cluster_cidr,
        std::net::Ipv4Addr::from(first),
        network.pod_cidr.prefix_len(),
        network.mtu
    );
    replace(&dir.join("subnet.env"), &text)
}

fn replace(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    let written = (|| {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        // No extension that a runtime looks for, so that it is never read half-written.
        let new = path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, path)
    })();
    written.map_err(Error::io(format!("writing {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flannels_plugin_would_read_the_subnet() {
        let dir = tempfile::tempdir().unwrap();
        let network = PodNetwork {
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
            pod_cidr: "10.244.3.0/24".parse().unwrap(),
            mtu: 1450,
            data_dir: Path::new("/leases"),
            nft: Path::new("nft"),
        };
        write_subnet_env(dir.path(), &network).unwrap();
        let text = fs::read_to_string(dir.path().join("subnet.env")).unwrap();
        assert_eq!(
            text,
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
        );
    }
}
