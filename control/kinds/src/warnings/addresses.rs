//! Spellings of addresses and blocks that not everybody reads alike.
use super::Found;
use crate::field::Path;
use crate::value::{go_quote, items, text};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};

/// Warns of leading zeros, of IPv4 mapped into IPv6, and of IPv6 that is not spelt as RFC 5952 has it.
pub(super) fn address(value: &str, path: &Path<'_>, found: &mut Found) {
    let Some(ip) = sloppy(value) else { return };
    let shown = go_quote(value);
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => {
            let canonical = v6.to_string();
            if canonical != value {
                found.push(format!(
                    "{path}: IPv6 address {shown} should be in RFC 5952 canonical format ({})",
                    go_quote(&canonical)
                ));
            }
        }
        Ok(IpAddr::V4(_)) => {}
        _ => {
            found.push(format!("{path}: non-standard IP address {shown} is invalid: use {}", go_quote(&ip.to_string())))
        }
    }
}

/// The address as Go's older parser reads it: decimal octets with leading zeros count.
fn sloppy(value: &str) -> Option<IpAddr> {
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)),
        Ok(ip) => Some(ip),
        Err(_) => {
            let octets: Vec<u8> = value.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
            Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into())
        }
    }
}

/// Warns of a block with leading zeros, with host bits, or in another spelling than the canonical one.
pub(super) fn block(value: &str, path: &Path<'_>, found: &mut Found) {
    let Some((ip, bits)) = value.split_once('/') else { return };
    let (Some(address), Ok(length)) = (sloppy(ip), bits.parse::<u8>()) else { return };
    let Ok(net) = ipnet::IpNet::new(address, length) else { return };
    let (shown, masked) = (go_quote(value), net.trunc());
    let plain = ip.parse::<IpAddr>().is_ok_and(|ip| !matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()));
    if !plain || (bits.len() > 1 && bits.starts_with('0')) {
        found
            .push(format!("{path}: non-standard CIDR value {shown} is invalid: use {}", go_quote(&masked.to_string())));
    } else if net != masked {
        found.push(format!(
            "{path}: CIDR value {shown} is ambiguous in this context (should be {} or {}?)",
            go_quote(&masked.to_string()),
            go_quote(&format!("{address}/{}", net.max_prefix_len()))
        ));
    } else if net.to_string() != value {
        found.push(format!(
            "{path}: IPv6 CIDR value {shown} should be in RFC 5952 canonical format ({})",
            go_quote(&net.to_string())
        ));
    }
}

pub(super) fn of_pod_status(status: &Value, found: &mut Found) {
    for list in ["podIPs", "hostIPs"] {
        let path = Path::new("status");
        let path = path.child(list);
        for (index, ip) in items(&status[list]).iter().enumerate() {
            address(text(&ip["ip"]), &path.index(index).child("ip"), found);
        }
    }
}

pub(super) fn of_network_policy(spec: &Value, found: &mut Found) {
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let path = Path::new("spec");
        let path = path.child(direction);
        for (index, rule) in items(&spec[direction]).iter().enumerate() {
            let path = path.index(index);
            let path = path.child(peers);
            for (index, peer) in items(&rule[peers]).iter().enumerate() {
                let path = path.index(index);
                let path = path.child("ipBlock");
                block(text(&peer["ipBlock"]["cidr"]), &path.child("cidr"), found);
                for (index, except) in items(&peer["ipBlock"]["except"]).iter().enumerate() {
                    block(text(except), &path.child("except").index(index), found);
                }
            }
        }
    }
}

pub(super) fn of_service_status(status: &Value, found: &mut Found) {
    let path = Path::new("status.loadBalancer.ingress");
    for (index, ingress) in items(&status["loadBalancer"]["ingress"]).iter().enumerate() {
        address(text(&ingress["ip"]), &path.index(index), found);
    }
}

/// Endpoints that somebody else than Kubernetes' own controller wrote.
pub(super) fn of_endpoints(endpoints: &Value, found: &mut Found) {
    if text(&endpoints["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"]) == "endpoint-controller" {
        return;
    }
    let subsets = Path::new("subsets");
    for (index, subset) in items(&endpoints["subsets"]).iter().enumerate() {
        let path = subsets.index(index);
        for list in ["addresses", "notReadyAddresses"] {
            let path = path.child(list);
            for (index, one) in items(&subset[list]).iter().enumerate() {
                address(text(&one["ip"]), &path.index(index).child("ip"), found);
            }
        }
    }
}
