//! Facts of the network namespace the agent runs in.

use std::fs;

use crate::Error;
use crate::sys;

/// The cookie that `bpf_get_netns_cookie` gives for the node's own sockets.
pub fn cookie() -> Result<u64, Error> {
    sys::netns_cookie().map_err(Error::bpf("read the cookie of this network namespace"))
}

/// `net.ipv4.ip_local_port_range`; the kernel's default where it cannot be read.
pub fn local_ports() -> (u16, u16) {
    let parse = |text: String| {
        let mut numbers = text.split_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok().and_then(parse).unwrap_or((32_768, 60_999))
}
