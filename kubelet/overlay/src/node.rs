//! A Node as the overlay sees it: its podCIDR and flannel's annotations.

use crate::plan::Mode;
use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::core::v1::Node;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

const PREFIX: &str = "flannel.alpha.coreos.com/";

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(())?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        if parts.next().is_some() { Err(()) } else { Ok(Self(bytes)) }
    }
}

/// A Node's part of the pod network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeNet {
    /// The Node's name.
    pub name: String,
    /// Its podCIDR (the first IPv4 one).
    pub pod_cidr: Ipv4Net,
    /// Where its packets go: `public-ip-overwrite`, `public-ip`, or else the InternalIP.
    pub public_ip: Ipv4Addr,
    /// `backend-type`; a Node that was never annotated has none.
    pub backend: Option<String>,
    /// Its VXLAN end.
    pub vtep: Option<Vtep>,
}

/// The VXLAN end of a Node: flannel's `backend-data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vtep {
    /// The network identifier.
    pub vni: u32,
    /// The VXLAN device's address.
    pub mac: Mac,
}

/// Why a Node has no part of the pod network yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The node IPAM controller has not given it one.
    #[error("it has no IPv4 podCIDR")]
    NoPodCidr,
    /// Neither annotated nor in its status.
    #[error("it has no address")]
    NoAddress,
    /// Its overlay has not announced itself, or speaks another backend.
    #[error("its backend is {0:?}")]
    OtherBackend(Option<String>),
    /// It speaks another VXLAN network.
    #[error("it announces no VXLAN end of this VNI")]
    NoVtep,
    /// host-gw needs one layer-2 network.
    #[error("its address {0} is not on the uplink's network: host-gw cannot reach it")]
    NotOnLink(Ipv4Addr),
    /// Somebody has that podCIDR already.
    #[error("its podCIDR {0} overlaps that of another Node")]
    Overlap(Ipv4Net),
}

#[derive(Deserialize)]
struct BackendData {
    #[serde(rename = "VNI", default)]
    vni: u32,
    #[serde(rename = "VtepMAC", default)]
    vtep_mac: String,
}

impl NodeNet {
    /// Reads a Node object.
    pub fn of(node: &Node) -> Result<Self, Unusable> {
        let spec = node.spec.as_ref();
        let cidrs = spec.into_iter().flat_map(|s| s.pod_cidrs.iter().flatten().chain(s.pod_cidr.as_ref()));
        let pod_cidr = cidrs
            .filter_map(|text| match text.parse() {
                Ok(IpNet::V4(net)) => Some(net.trunc()),
                _ => None,
            })
            .next()
            .ok_or(Unusable::NoPodCidr)?;
        let annotation = |name: &str| node.metadata.annotations.as_ref()?.get(&format!("{PREFIX}{name}"));
        let announced =
            ["public-ip-overwrite", "public-ip"].into_iter().find_map(|name| annotation(name)?.parse().ok());
        let public_ip = announced.or_else(|| internal_ip(node)).ok_or(Unusable::NoAddress)?;
        let data =
            annotation("backend-data").and_then(|text| serde_json::from_str::<Option<BackendData>>(text).ok()?);
        let vtep = data.and_then(|data| Some(Vtep { vni: data.vni, mac: data.vtep_mac.parse().ok()? }));
        let name = node.metadata.name.clone().unwrap_or_default();
        Ok(Self { name, pod_cidr, public_ip, backend: annotation("backend-type").cloned(), vtep })
    }
}

fn internal_ip(node: &Node) -> Option<Ipv4Addr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().filter(|a| a.type_ == "InternalIP").find_map(|a| a.address.parse().ok())
}

/// What this node tells the others, as flannel does.
pub(crate) fn announcement(mode: &Mode, public_ip: Ipv4Addr, mac: Option<Mac>) -> BTreeMap<String, String> {
    let data = match (mode, mac) {
        (Mode::Vxlan { vni, .. }, Some(mac)) => format!(r#"{{"VNI":{vni},"VtepMAC":"{mac}"}}"#),
        _ => "null".to_string(),
    };
    [
        ("backend-type", mode.backend_type().to_string()),
        ("backend-data", data),
        ("public-ip", public_ip.to_string()),
        ("kube-subnet-manager", "true".to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("{PREFIX}{name}"), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn node(annotations: &BTreeMap<String, String>) -> Node {
        from_value(json!({
            "metadata": {"name": "node2", "annotations": annotations},
            "spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["fd00::/64", "10.244.2.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "172.30.0.12"}]},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_announced_is_what_others_read() {
        let mode = Mode::Vxlan { vni: 1, port: 8472 };
        let mac = Mac([2, 0, 0, 0, 0, 0xfe]);
        let announced = announcement(&mode, Ipv4Addr::new(172, 30, 0, 99), Some(mac));
        assert_eq!(announced["flannel.alpha.coreos.com/backend-data"], r#"{"VNI":1,"VtepMAC":"02:00:00:00:00:fe"}"#);
        let read = NodeNet::of(&node(&announced)).unwrap();
        assert_eq!(read.vtep, Some(Vtep { vni: 1, mac }));
        assert_eq!(read.public_ip, Ipv4Addr::new(172, 30, 0, 99));
        assert_eq!(read.pod_cidr, "10.244.2.0/24".parse().unwrap());
    }

    #[test]
    fn a_node_that_says_nothing_is_reached_at_its_internal_ip() {
        let read = NodeNet::of(&node(&BTreeMap::new())).unwrap();
        assert_eq!((read.public_ip, read.vtep, read.backend), (Ipv4Addr::new(172, 30, 0, 12), None, None));
    }

    #[test]
    fn null_or_broken_backend_data_is_no_vxlan_end() {
        for data in ["null", "", "{", r#"{"VNI":1,"VtepMAC":"nonsense"}"#] {
            let annotations = BTreeMap::from([(format!("{PREFIX}backend-data"), data.to_string())]);
            assert_eq!(NodeNet::of(&node(&annotations)).unwrap().vtep, None, "{data}");
        }
    }
}
