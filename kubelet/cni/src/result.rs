//! The result of ADD, in the shape of the version that was asked for.

use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;

/// The two ends of a pod's cable.
#[derive(Debug)]
pub(crate) struct Pair {
    pub host: Device,
    pub pod: Device,
}

#[derive(Debug)]
pub(crate) struct Device {
    pub name: String,
    pub mac: Vec<u8>,
}

/// The gateway that every pod sees: it exists only as a permanent neighbour, no device has it.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// A CNI result.
#[derive(Debug)]
pub(crate) struct NetworkResult(Value);

impl NetworkResult {
    pub(crate) fn routed_pair(version: &str, sandbox: &Path, pair: &Pair, address: Ipv4Addr) -> Self {
        let mut ip = json!({"address": format!("{address}/32"), "gateway": GATEWAY, "interface": 1});
        mark_family(version, &mut ip, "4");
        Self(json!({
            "cniVersion": version,
            "interfaces": [
                {"name": pair.host.name, "mac": mac(&pair.host.mac)},
                {"name": pair.pod.name, "mac": mac(&pair.pod.mac), "sandbox": sandbox},
            ],
            "ips": [ip],
            "routes": [{"dst": "0.0.0.0/0", "gw": GATEWAY}],
            "dns": {},
        }))
    }

    pub(crate) fn loopback(version: &str, sandbox: &Path) -> Self {
        let mut ip = json!({"address": "127.0.0.1/8", "interface": 0});
        mark_family(version, &mut ip, "4");
        Self(json!({
            "cniVersion": version,
            "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": sandbox}],
            "ips": [ip],
            "dns": {},
        }))
    }

    pub(crate) fn to_json(&self) -> Value {
        self.0.clone()
    }
}

/// Before 1.0.0 every address carried its family.
fn mark_family(version: &str, ip: &mut Value, family: &str) {
    if version.starts_with("0.")
        && let Some(ip) = ip.as_object_mut()
    {
        ip.insert("version".into(), family.into());
    }
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}
