//! IP addresses and blocks as Kubernetes' API fields accept them.
use crate::field::{Errors, Path};
use std::net::IpAddr;

/// A valid address in any spelling without leading zeros and without an IPv4 address mapped into IPv6.
pub(crate) fn validate_ip(value: &str, path: &Path<'_>, errors: &mut Errors) -> Option<IpAddr> {
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_some() => {
            errors.invalid(path, value, "must not be an IPv4-mapped IPv6 address");
            None
        }
        Ok(ip) => Some(ip),
        Err(_) if is_sloppy_ipv4(value) => {
            errors.invalid(path, value, "must not have leading 0s");
            None
        }
        Err(_) => {
            errors.invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
            None
        }
    }
}

/// Four decimal octets, some with leading zeros.
fn is_sloppy_ipv4(value: &str) -> bool {
    let octets: Vec<&str> = value.split('.').collect();
    octets.len() == 4
        && octets.iter().all(|octet| {
            !octet.is_empty()
                && octet.bytes().all(|c| c.is_ascii_digit())
                && octet.parse::<u64>().is_ok_and(|n| n <= 255)
        })
}

/// An address that a pod can have: specified, not loopback, not link-local.
pub(crate) fn validate_endpoint_ip(value: &str, path: &Path<'_>, errors: &mut Errors) {
    let Ok(ip) = value.parse::<IpAddr>() else {
        errors.invalid(path, value, "must be a valid IP address");
        return;
    };
    let (link_local, link_local_multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    if ip.is_unspecified() {
        errors.invalid(path, value, format!("may not be unspecified ({value})"));
    }
    if ip.is_loopback() {
        errors.invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        errors.invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_multicast {
        errors.invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// An address block whose host bits are zero.
pub(crate) fn validate_cidr(value: &str, path: &Path<'_>, errors: &mut Errors) -> Option<ipnet::IpNet> {
    match value.parse::<ipnet::IpNet>() {
        Ok(net) if net.trunc() == net => return Some(net),
        Ok(_) => errors.invalid(path, value, "must not have bits set beyond the prefix length"),
        Err(_) => errors.invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(check: impl Fn(&str, &Path<'_>, &mut Errors), value: &str) -> String {
        let mut errors = Errors::default();
        check(value, &Path::new("ip"), &mut errors);
        errors.message()
    }

    #[test]
    fn spellings_that_readers_disagree_on_are_refused() {
        let ip = |value: &str| {
            let check = |value: &str, path: &Path<'_>, errors: &mut Errors| {
                validate_ip(value, path, errors);
            };
            message(check, value)
        };
        for good in ["1.2.3.4", "::1", "FE80:0:0:0:0:0:0:0abc"] {
            assert_eq!(ip(good), "[]");
        }
        assert_eq!(ip("010.2.3.4"), "ip: Invalid value: \"010.2.3.4\": must not have leading 0s");
        assert_eq!(
            ip("::ffff:1.2.3.4"),
            "ip: Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address"
        );
        assert_eq!(
            ip("1.2.3"),
            "ip: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        );
    }

    #[test]
    fn endpoints_are_addresses_that_others_can_reach() {
        assert_eq!(message(validate_endpoint_ip, "10.0.0.1"), "[]");
        for (ip, part) in [
            ("0.0.0.0", "unspecified"),
            ("127.0.0.1", "loopback"),
            ("169.254.1.1", "link-local range"),
            ("224.0.0.1", "multicast"),
            ("fe80::1", "link-local range"),
        ] {
            assert!(message(validate_endpoint_ip, ip).contains(part), "{ip}");
        }
    }
}
