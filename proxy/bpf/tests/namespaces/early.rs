//! Translating in the driver: on virtual cables, whose ends are told to do what a real network card does by itself.

#![allow(unsafe_code)]

use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use aya::maps::{Map, MapData, PerCpuArray};
use orlop_bpf::{EbpfBackend, Options, Xdp};
use orlop_plan::Backend as _;

use crate::net::{Addresses, Kind, Net, V4, V6};
use crate::world::{Namespace, ask, echo, talk};

/// Packets that drivers have translated.
fn early(net: &Net) -> u64 {
    let root = net.node.options().bpf_root;
    net.node.namespace.run(move || {
        let hash = std::fs::read_dir(root).expect("the root").flatten().next().expect("a directory").path();
        let map = MapData::from_pin(counters(&hash)).expect("the counters");
        let map: PerCpuArray<_, u64> = Map::PerCpuArray(map).try_into().expect("a map of numbers");
        map.get(&orlop_ebpf::counters::EARLY, 0).expect("a number").iter().sum()
    })
}

fn counters(hash: &Path) -> std::path::PathBuf {
    hash.join("COUNTERS")
}

/// Turns an offload of the namespace's `eth0` on or off (`SIOCETHTOOL`).
fn offload(namespace: &Namespace, command: u32, on: bool) {
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
    namespace.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let mut value = Value(command, on.into());
        let mut request = Request { name: [0; 16], value: &raw mut value, rest: [0; 2] };
        request.name[..4].copy_from_slice(b"eth0");
        // SAFETY: both are laid out as the kernel's, and outlive the call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    });
}

fn serve(net: &Net, xdp: Xdp, endpoints: &[&str]) {
    let (plan, options) = (net.plan(endpoints), Options { xdp, ..net.node.options() });
    net.node.namespace.run(move || {
        EbpfBackend::open(options).expect("open the backend").resync(&plan).expect("fill the maps");
    });
}

fn established_connections_pass_through_drivers(at: &'static Addresses) {
    const ETHTOOL_STXCSUM: u32 = 0x17;
    const ETHTOOL_SGRO: u32 = 0x2c;
    let net = Net::new(Kind::Ebpf);
    for host in [&net.outside, &net.other] {
        offload(host, ETHTOOL_STXCSUM, false);
        offload(host, ETHTOOL_SGRO, true);
    }
    serve(&net, Xdp::Native, &[at.remote]);
    let exchange = || {
        net.outside.run(move || {
            let (mut connection, line) = talk(at.node_port).expect("connect to the NodePort");
            assert!(line.starts_with(&format!("remote {}", at.second)), "{line}");
            echo(&mut connection, &vec![7; 1_000_000]).expect("echo");
            let socket = UdpSocket::bind(at.any).expect("a socket");
            for _ in 0..20 {
                let (from, _) = ask(&socket, at.node_port).expect("an answer");
                assert_eq!(from.to_string(), at.node_port);
            }
        });
    };
    exchange();
    let count = early(&net);
    // A megabyte each way is 1,400 packets at least.
    assert!(count > 1_000, "{count}");
    // Pods' devices take no frames from drivers: the stack's hook passes them on.
    serve(&net, Xdp::Native, &[at.local]);
    net.outside.run(move || {
        let (mut connection, line) = talk(at.node_port).expect("connect to the NodePort");
        assert!(line.starts_with("local "), "{line}");
        echo(&mut connection, &vec![7; 100_000]).expect("echo");
    });
    // On virtual cables only who asks for it by name.
    for xdp in [Xdp::BestEffort, Xdp::Disabled] {
        serve(&net, xdp, &[at.remote]);
        let before = early(&net);
        exchange();
        assert_eq!(early(&net), before, "{xdp:?}");
    }
}

#[test]
fn established_connections_of_ipv4_pass_through_drivers() {
    established_connections_pass_through_drivers(&V4);
}

#[test]
fn established_connections_of_ipv6_pass_through_drivers() {
    established_connections_pass_through_drivers(&V6);
}
