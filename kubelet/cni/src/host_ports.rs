//! Host ports: a port of the node that leads to a port of a pod (`hostPort`), as the runtime tells them in `runtimeConfig.portMappings`.
//!
//! One nftables table holds them all as map elements, so that a pod costs its own ports and no rules. The kernel is the only record: what
//! leads to an address goes with the pod that has it. IPv4; a client at 127.0.0.0/8 is not served, for its answers would need `route_localnet`.

use crate::error::{CniError, Result};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};

const TABLE: &str = "orlop-hostports";

/// The maps, the chains that ask them, and the pairs of a pod with itself, which has to see another source than its own address.
const SKELETON: &str = "
add table ip orlop-hostports
add map ip orlop-hostports every { type inet_proto . inet_service : ipv4_addr . inet_service; }
add map ip orlop-hostports bound { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
add set ip orlop-hostports itself { type ipv4_addr . ipv4_addr; }
add chain ip orlop-hostports host-ports
add chain ip orlop-hostports prerouting { type nat hook prerouting priority dstnat; }
add chain ip orlop-hostports output { type nat hook output priority -100; }
add chain ip orlop-hostports postrouting { type nat hook postrouting priority srcnat; }
flush chain ip orlop-hostports host-ports
flush chain ip orlop-hostports prerouting
flush chain ip orlop-hostports output
flush chain ip orlop-hostports postrouting
add rule ip orlop-hostports host-ports dnat ip to ip daddr . meta l4proto . th dport map @bound
add rule ip orlop-hostports host-ports dnat ip to meta l4proto . th dport map @every
add rule ip orlop-hostports prerouting fib daddr type local jump host-ports
add rule ip orlop-hostports output fib daddr type local jump host-ports
add rule ip orlop-hostports postrouting ip saddr . ip daddr @itself masquerade
";

/// One port of the node that leads to a pod's. The convention writes `hostPort`, containerd 1.6 `HostPort`: Go takes both.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortMapping {
    #[serde(alias = "HostPort")]
    pub host_port: u16,
    #[serde(alias = "ContainerPort")]
    pub container_port: u16,
    #[serde(default = "tcp", alias = "Protocol", deserialize_with = "lower_case")]
    pub protocol: String,
    /// The address of the node that it is bound to; none or 0.0.0.0 is every one.
    #[serde(default, rename = "hostIP", alias = "HostIP")]
    pub host_ip: String,
}

fn tcp() -> String {
    "tcp".into()
}

fn lower_case<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    Ok(String::deserialize(deserializer)?.to_ascii_lowercase())
}

impl PortMapping {
    /// The map and the key there; `None` for what IPv4 does not serve.
    fn element(&self) -> Result<Option<(&'static str, String)>> {
        if self.host_port == 0 {
            return Ok(None);
        }
        if !["tcp", "udp", "sctp"].contains(&self.protocol.as_str()) {
            return Err(CniError::Config(format!("protocol {:?} of a port mapping", self.protocol)));
        }
        let key = format!("{} . {}", self.protocol, self.host_port);
        if self.host_ip.is_empty() {
            return Ok(Some(("every", key)));
        }
        match self.host_ip.parse() {
            Ok(IpAddr::V4(address)) if address.is_unspecified() => Ok(Some(("every", key))),
            Ok(IpAddr::V4(address)) => Ok(Some(("bound", format!("{address} . {key}")))),
            Ok(IpAddr::V6(_)) => Ok(None),
            Err(_) => Err(CniError::Config(format!("hostIP {:?} of a port mapping", self.host_ip))),
        }
    }
}

/// Leads the ports to the pod at `address`, and nothing else there. A port that led elsewhere now leads here.
pub(crate) fn open(nft: &Path, address: Ipv4Addr, mappings: &[PortMapping]) -> Result<()> {
    let mut wanted = Vec::new();
    for mapping in mappings {
        if let Some((map, key)) = mapping.element()? {
            wanted.push((map, key, mapping.container_port));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    run(nft, &["-f", "-"], SKELETON)?;
    let present = elements(&list(nft)?);
    let mut script = deletions(&present, |element| {
        element.to == address || wanted.iter().any(|(map, key, _)| *map == element.map && *key == element.key)
    });
    for (map, key, port) in wanted {
        let _ = writeln!(script, "add element ip {TABLE} {map} {{ {key} : {address} . {port} }}");
    }
    let _ = writeln!(script, "add element ip {TABLE} itself {{ {address} . {address} }}");
    run(nft, &["-f", "-"], &script).map(drop)
}

/// Takes away what leads to the pod at `address`.
pub(crate) fn close(nft: &Path, address: Ipv4Addr) -> Result<()> {
    // No table: no port was ever opened here.
    let Ok(listed) = list(nft) else { return Ok(()) };
    let present = elements(&listed);
    let script = deletions(&present, |element| element.to == address);
    if script.is_empty() {
        return Ok(());
    }
    // The pair is there whenever an element is: both are added in one transaction.
    run(nft, &["-f", "-"], &format!("{script}delete element ip {TABLE} itself {{ {address} . {address} }}\n")).map(drop)
}

/// What the kernel holds of one port.
#[derive(Debug, PartialEq, Eq)]
struct Element {
    map: String,
    key: String,
    to: Ipv4Addr,
    port: u64,
}

fn deletions(present: &[Element], doomed: impl Fn(&Element) -> bool) -> String {
    let mut script = String::new();
    for element in present.iter().filter(|element| doomed(element)) {
        let Element { map, key, to, port } = element;
        let _ = writeln!(script, "delete element ip {TABLE} {map} {{ {key} : {to} . {port} }}");
    }
    script
}

fn list(nft: &Path) -> Result<Value> {
    let listed = run(nft, &["-j", "-n", "list", "table", "ip", TABLE], "")?;
    serde_json::from_str(&listed).map_err(|error| CniError::Io(format!("reading nft's answer: {error}")))
}

/// The maps' elements out of `nft -j list table`.
fn elements(listed: &Value) -> Vec<Element> {
    let mut found = Vec::new();
    for map in listed["nftables"].as_array().into_iter().flatten().filter_map(|object| object.get("map")) {
        for element in map["elem"].as_array().into_iter().flatten() {
            let (key, value) = (&element[0]["concat"], &element[1]["concat"]);
            let key: Vec<String> = key.as_array().into_iter().flatten().map(text).collect();
            let to = value[0].as_str().and_then(|address| address.parse().ok());
            if let (Some(map), Some(to), Some(port)) = (map["name"].as_str(), to, value[1].as_u64()) {
                found.push(Element { map: map.into(), key: key.join(" . "), to, port });
            }
        }
    }
    found
}

/// A part of a key as a script would have it. `nft -n` tells protocols by number.
fn text(part: &Value) -> String {
    match part {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_u64() {
            Some(6) => "tcp".into(),
            Some(17) => "udp".into(),
            Some(132) => "sctp".into(),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn run(nft: &Path, args: &[&str], input: &str) -> Result<String> {
    let failed = |error: std::io::Error| CniError::Io(format!("running {}: {error}", nft.display()));
    let mut child = Command::new(nft)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Err(CniError::Io(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
