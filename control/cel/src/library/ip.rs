//! IP addresses and networks.

use std::net::IpAddr;

use super::Answer;
use crate::value::{Value, failed};

/// An address without zone that is no IPv4 in IPv6.
fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if text.contains('%') {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    let ip: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
        )
    })?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Result<(IpAddr, u8), String> {
    let bad = || {
        format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): no '/' or bad prefix"
        )
    };
    let (ip, bits) = text.split_once('/').ok_or_else(bad)?;
    if ip.contains('%') || bits.is_empty() || bits.starts_with('+') || (bits.len() > 1 && bits.starts_with('0')) {
        return Err(bad());
    }
    let ip: IpAddr = ip.parse().map_err(|_| bad())?;
    let bits: u8 = bits.parse().map_err(|_| bad())?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    match ip {
        _ if bits > most => Err(bad()),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        ip => Ok((ip, bits)),
    }
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

fn contains(net: IpAddr, bits: u8, ip: IpAddr) -> bool {
    net.is_ipv4() == ip.is_ipv4() && masked(net, bits) == masked(ip, bits)
}

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    Some(match (function, args) {
        ("isIP", [Value::String(s)]) => Ok(Value::Bool(parse_ip(s).is_ok())),
        ("ip", [Value::String(s)]) => parse_ip(s).map(Value::Ip).or_else(failed),
        ("ip.isCanonical", [Value::String(s)]) => match parse_ip(s) {
            Ok(ip) => Ok(Value::Bool(ip.to_string() == **s)),
            Err(e) => failed(e),
        },
        ("isCIDR", [Value::String(s)]) => Ok(Value::Bool(parse_cidr(s).is_ok())),
        ("cidr", [Value::String(s)]) => parse_cidr(s).map(|(ip, bits)| Value::Cidr(ip, bits)).or_else(failed),
        ("family", [Value::Ip(ip)]) => Ok(Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        ("isUnspecified", [Value::Ip(ip)]) => Ok(Value::Bool(ip.is_unspecified())),
        ("isLoopback", [Value::Ip(ip)]) => Ok(Value::Bool(ip.is_loopback())),
        ("isLinkLocalMulticast", [Value::Ip(ip)]) => Ok(Value::Bool(is_link_local_multicast(*ip))),
        ("isLinkLocalUnicast", [Value::Ip(ip)]) => Ok(Value::Bool(is_link_local(*ip))),
        ("isGlobalUnicast", [Value::Ip(ip)]) => Ok(Value::Bool(
            !ip.is_unspecified()
                && !ip.is_loopback()
                && !ip.is_multicast()
                && !is_link_local(*ip)
                && !matches!(ip, IpAddr::V4(v4) if v4.is_broadcast()),
        )),
        ("ip", [Value::Cidr(ip, _)]) => Ok(Value::Ip(*ip)),
        ("prefixLength", [Value::Cidr(_, bits)]) => Ok(Value::Int(i64::from(*bits))),
        ("masked", [Value::Cidr(ip, bits)]) => Ok(Value::Cidr(masked(*ip, *bits), *bits)),
        ("containsIP", [Value::Cidr(net, bits), Value::Ip(ip)]) => Ok(Value::Bool(contains(*net, *bits, *ip))),
        ("containsIP", [Value::Cidr(net, bits), Value::String(s)]) => {
            parse_ip(s).map(|ip| Value::Bool(contains(*net, *bits, ip))).or_else(failed)
        }
        ("containsCIDR", [Value::Cidr(net, bits), Value::Cidr(ip, longer)]) => {
            Ok(Value::Bool(longer >= bits && contains(*net, *bits, *ip)))
        }
        ("containsCIDR", [Value::Cidr(net, bits), Value::String(s)]) => {
            parse_cidr(s).map(|(ip, longer)| Value::Bool(longer >= *bits && contains(*net, *bits, ip))).or_else(failed)
        }
        _ => return None,
    })
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}
