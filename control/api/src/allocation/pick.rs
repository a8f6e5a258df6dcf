//! Which address or port to give when the user asks for none: at random from the upper band, so that low ones stay free for
//! those who choose their own (KEP-3070, KEP-3668); then from the lower band; then none is left.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use rand::Rng;

/// So many random tries before searching in order.
const TRIES: usize = 16;
/// IPv6 ranges are used only this far (as kube-apiserver does).
const MAX_SIZE: u128 = 1 << 16;

/// A free address of the range. The network address and, for IPv4, the broadcast address are never given.
pub fn address(cidr: &IpNet, free: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let bits = cidr.max_prefix_len() - cidr.prefix_len();
    let hosts = 1u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX);
    let last = if cidr.addr().is_ipv4() { hosts.saturating_sub(2) } else { hosts.saturating_sub(1).min(MAX_SIZE) };
    let band = (last / 16).clamp(16, 256).min(last);
    let found = number(1..=last, band, |n| free(nth(cidr, n)))?;
    Some(nth(cidr, found))
}

/// A free port of the range.
pub fn port(range: &RangeInclusive<u16>, free: impl Fn(u16) -> bool) -> Option<u16> {
    let (first, last) = (u128::from(*range.start()), u128::from(*range.end()));
    let band = ((last - first) / 32).clamp(16, 128).min(last - first);
    let found = number(first..=last, band, |n| u16::try_from(n).is_ok_and(&free))?;
    u16::try_from(found).ok()
}

/// The `n`th address of a network; the network address is the 0th.
pub fn nth(cidr: &IpNet, n: u128) -> IpAddr {
    match cidr.network() {
        IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from(u32::from(base).wrapping_add(n as u32))),
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base).wrapping_add(n))),
    }
}

/// A free number of the range: its first `band` numbers come last.
fn number(range: RangeInclusive<u128>, band: u128, free: impl Fn(u128) -> bool) -> Option<u128> {
    let (first, last) = range.into_inner();
    if first > last {
        return None;
    }
    let upper = (first + band).min(last);
    let mut rng = rand::rng();
    for _ in 0..TRIES {
        let n = rng.random_range(upper..=last);
        if free(n) {
            return Some(n);
        }
    }
    let start = rng.random_range(upper..=last);
    (start..=last).chain(upper..start).chain(first..upper).find(|n| free(*n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_address_of_a_small_network_is_given_once() {
        let cidr: IpNet = "10.0.0.0/28".parse().unwrap();
        let mut taken = HashSet::new();
        while let Some(ip) = address(&cidr, |ip| !taken.contains(&ip)) {
            assert!(cidr.contains(&ip));
            assert!(taken.insert(ip));
        }
        assert_eq!(taken.len(), 14);
        assert!(!taken.contains(&cidr.network()) && !taken.contains(&cidr.broadcast()));
    }

    #[test]
    fn low_ports_are_left_to_those_who_choose() {
        for _ in 0..200 {
            assert!(port(&(30000..=32767), |_| true).unwrap() >= 30086);
        }
        assert_eq!(port(&(30000..=32767), |p| p == 30000), Some(30000));
        assert_eq!(port(&(30000..=32767), |_| false), None);
    }
}
