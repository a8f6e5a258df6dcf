//! Addresses of the machines on the switch (ARCHITECTURE.md, "Addresses").

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// The prefix length of the switch's network, 172.30.0.0/24.
const PREFIX: u8 = 24;

/// The most nodes that fit between the first machine's address and the outside host's.
pub(crate) const MAX_NODES: u32 = 180;

/// The address of node `n`, counted from 1.
pub(crate) fn node(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 30, 0, 10)) + n)
}

/// The outside host's address, which is also every node's default gateway.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 200);

/// The port of the API server in node 1's namespace.
pub(crate) const API_PORT: u16 = 6443;

/// An address with the network's prefix.
pub(crate) fn on_switch(address: Ipv4Addr) -> Ipv4Net {
    Ipv4Net::new_assert(address, PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_node_has_the_outside_hosts_address() {
        assert_eq!(node(1), Ipv4Addr::new(172, 30, 0, 11));
        assert!(node(MAX_NODES) < OUTSIDE);
    }
}
