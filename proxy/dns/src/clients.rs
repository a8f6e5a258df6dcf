//! Who is answered. A server on a node's address that asks upstream for everybody would be an open resolver, which strangers use to
//! flood others; so clients are private addresses, this server's own, and networks that were named. Others get silence.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Private networks: RFC 1918, shared address space (RFC 6598), loopback and link-local, unique local IPv6.
const PRIVATE: [(&str, u8); 9] = [
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("100.64.0.0", 10),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("::1", 128),
    ("fc00::", 7),
    ("fe80::", 10),
];

/// Networks whose clients are answered.
#[derive(Clone, Debug)]
pub(crate) struct Clients(Vec<IpNet>);

impl Clients {
    pub fn new(listen: &[SocketAddr], named: &[IpNet]) -> Self {
        let private = PRIVATE.iter().filter_map(|(address, length)| IpNet::new(address.parse().ok()?, *length).ok());
        let own = listen.iter().map(|address| IpNet::from(address.ip()));
        Self(private.chain(own).chain(named.iter().copied()).collect())
    }

    pub fn has(&self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V6(v6) => mapped(v6),
            v4 => v4,
        };
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn mapped(address: Ipv6Addr) -> IpAddr {
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_not_answered_unless_they_are_named() {
        let listen = ["203.0.113.7:10053".parse().unwrap()];
        let clients = Clients::new(&listen, &[]);
        let has = |clients: &Clients, address: &str| clients.has(address.parse().unwrap());
        for address in
            ["10.244.1.2", "172.30.0.12", "127.0.0.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1", "203.0.113.7"]
        {
            assert!(has(&clients, address), "{address}");
        }
        for address in ["203.0.113.8", "8.8.8.8", "172.32.0.1", "2001:db8::1"] {
            assert!(!has(&clients, address), "{address}");
        }
        assert!(has(&Clients::new(&listen, &["203.0.113.0/24".parse().unwrap()]), "203.0.113.8"));
    }
}
