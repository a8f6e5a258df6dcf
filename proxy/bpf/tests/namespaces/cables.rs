//! How hosts, nodes and pods of the tests are joined: a switch, an overlay, a pod behind its device; in both families.

#![allow(unsafe_code)]

use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use crate::world::Namespace;

/// A switch in a namespace of its own, that hosts are joined to by their `eth0`, with the addresses 172.30.0.N and fd00:30::N.
pub fn switch(hosts: &[(&Namespace, u8)]) -> Namespace {
    let switch = Namespace::new();
    switch.ip("link add bridge type bridge");
    switch.ip("link set bridge up");
    for (host, address) in hosts {
        let port = format!("p{address}");
        switch.cable(&port, host, "eth0");
        switch.ip(&format!("link set {port} master bridge"));
        host.ip(&format!("addr add 172.30.0.{address}/24 dev eth0"));
        host.ip(&format!("addr add fd00:30::{address}/64 dev eth0"));
    }
    switch
}

/// What the overlay sets up on node `own` of `own` and `peer`: node N is 172.30.0.1N, its pods 10.244.N.0/24 and fd00:244:N::/64.
pub fn vxlan(node: &Namespace, own: u8, peer: u8) {
    let (own_mac, peer_mac) = (format!("02:00:00:00:00:0{own}"), format!("02:00:00:00:00:0{peer}"));
    node.ip(&format!("link add vx address {own_mac} type vxlan id 1 dev eth0 dstport 8472 nolearning"));
    node.ip(&format!("addr add 10.244.{own}.0/32 dev vx"));
    node.ip("link set vx up");
    node.ip(&format!("neigh add 10.244.{peer}.0 lladdr {peer_mac} dev vx nud permanent"));
    node.ip(&format!("route add 10.244.{peer}.0/24 via 10.244.{peer}.0 dev vx onlink"));
    node.ip(&format!("addr add fd00:244:{own}::/128 dev vx"));
    node.ip(&format!("neigh add fd00:244:{peer}:: lladdr {peer_mac} dev vx nud permanent"));
    node.ip(&format!("route add fd00:244:{peer}::/64 via fd00:244:{peer}:: dev vx onlink"));
    node.run(move || {
        let arguments = format!("fdb append {peer_mac} dev vx dst 172.30.0.1{peer}");
        let status = std::process::Command::new("bridge").args(arguments.split(' ')).status();
        assert!(status.expect("run bridge (iproute2)").success());
    });
}

/// Routes to the other node's pods, without an overlay.
pub fn routes(node: &Namespace, peer: u8) {
    node.ip(&format!("route add 10.244.{peer}.0/24 via 172.30.0.1{peer}"));
    node.ip(&format!("route add fd00:244:{peer}::/64 via fd00:30::1{peer}"));
}

/// Joins pod 10.244.N.5 and fd00:244:N::5 to node N by the node's device `pod`.
pub fn pod(node: &Namespace, pod: &Namespace, n: u8) {
    node.cable("pod", pod, "eth0");
    node.ip(&format!("route add 10.244.{n}.5 dev pod"));
    node.ip("addr add 169.254.1.1/32 dev pod scope link");
    pod.ip(&format!("addr add 10.244.{n}.5/32 dev eth0"));
    pod.ip("route add 169.254.1.1 dev eth0");
    pod.ip("route add default via 169.254.1.1");
    node.ip(&format!("route add fd00:244:{n}::5 dev pod"));
    node.ip("addr add fe80::1/64 dev pod");
    pod.ip(&format!("addr add fd00:244:{n}::5/128 dev eth0"));
    pod.ip("route add default via fe80::1 dev eth0");
}

/// Has the ends of a cable do what a network card does by itself: whoever sends finishes checksums.
pub fn finish_checksums(host: &Namespace, device: &str) {
    const ETHTOOL_STXCSUM: u32 = 0x17;
    offload(host, device, ETHTOOL_STXCSUM, false);
}

/// And frames that the other end's driver redirects here arrive.
pub fn take_frames(host: &Namespace, device: &str) {
    const ETHTOOL_SGRO: u32 = 0x2c;
    offload(host, device, ETHTOOL_SGRO, true);
}

/// Turns an offload of a device on or off (`SIOCETHTOOL`).
fn offload(namespace: &Namespace, device: &str, command: u32, on: bool) {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    /// `struct ethtool_value`, and `struct ifreq` with a pointer to one.
    #[repr(C)]
    struct Value(u32, u32);
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        value: *mut Value,
        rest: [u64; 2],
    }
    let mut name = [0; 16];
    name[..device.len()].copy_from_slice(device.as_bytes());
    namespace.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let mut value = Value(command, on.into());
        let mut request = Request { name, value: &raw mut value, rest: [0; 2] };
        // SAFETY: both are laid out as the kernel's, and outlive the call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    });
}
