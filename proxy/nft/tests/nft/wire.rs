//! The node of the judge's little world, with every wire to it in the test's hands: packets go in by a device or a raw
//! socket, and what comes of each is read from the devices and from the node's own sockets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recv, sendto, setsockopt,
    socket, sockopt,
};
use orlop_judge::frame::{self, First, Seen};
use orlop_judge::{Observed, Shot, Way, world};
use orlop_plan::{Family, Protocol};

use crate::tun::Tun;
use crate::world::Namespace;

/// How long a packet that must come may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long one that must not come is waited for after all that must.
const GRACE: Duration = Duration::from_millis(2);

/// A way in, and the ways out.
pub struct Wire {
    pub node: Namespace,
    uplink: Tun,
    pods: [Tun; 2],
    senders: [OwnedFd; 2],
    /// What reaches the node's own stack: TCP and ICMP of both families.
    own: Vec<(Protocol2, OwnedFd)>,
    datagrams: Vec<UdpSocket>,
    _listeners: Vec<TcpListener>,
    token: u32,
}

/// What a raw socket gives.
#[derive(Clone, Copy)]
enum Protocol2 {
    /// Packets with their IPv4 header.
    Whole,
    /// TCP without the IPv6 header.
    Segment,
    /// ICMPv6 without the IPv6 header.
    Icmp,
}

/// The kernel takes packets to an address of IPv6 a moment after it was added.
fn await_local_routes() {
    let start = Instant::now();
    let there = |address: &IpAddr| {
        let IpAddr::V6(ip) = address else { return true };
        let hex: String = ip.octets().iter().map(|byte| format!("{byte:02x}")).collect();
        let routes = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
        // RTF_LOCAL
        let local = |flags: &str| u32::from_str_radix(flags, 16).is_ok_and(|flags| flags >> 31 == 1);
        routes.lines().any(|line| line.starts_with(&hex) && line.split_whitespace().nth(8).is_some_and(local))
    };
    while !world::node(Family::V6).iter().all(there) {
        assert!(start.elapsed() < Duration::from_secs(10), "the node's addresses have no local routes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A raw socket of a family.
fn raw(family: AddressFamily, protocol: SockProtocol) -> OwnedFd {
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).unwrap();
    socket
}

impl Wire {
    pub fn new() -> Self {
        let node = Namespace::new();
        let [uplink, first, second] =
            node.run(|| [world::UPLINK, world::POD_DEVICES[0], world::POD_DEVICES[1]].map(Tun::new));
        for setting in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/all/send_redirects", "0"),
            ("ipv4/conf/default/send_redirects", "0"),
            ("ipv4/icmp_ratelimit", "0"),
            ("ipv4/icmp_msgs_per_sec", "1000000"),
            ("ipv4/icmp_msgs_burst", "1000000"),
            ("ipv6/icmp/ratelimit", "0"),
            ("ipv4/tcp_synack_retries", "0"),
        ] {
            node.sysctl(setting.0, setting.1);
        }
        for device in [world::UPLINK, world::POD_DEVICES[0], world::POD_DEVICES[1]] {
            node.ip(&format!("link set {device} txqueuelen 20000 up"));
        }
        for family in [Family::V4, Family::V6] {
            let length = if family == Family::V4 { 24 } else { 64 };
            for address in world::node(family) {
                let nodad = if family == Family::V4 { "" } else { " nodad" };
                node.ip(&format!("addr add {address}/{length} dev {}{nodad}", world::UPLINK));
            }
            let version = if family == Family::V4 { "-4" } else { "-6" };
            node.ip(&format!("{version} route add default dev {}", world::UPLINK));
            for (pod, device) in world::pods(family).iter().zip(world::POD_DEVICES) {
                node.ip(&format!("route add {pod} dev {device}"));
            }
        }
        node.run(await_local_routes);
        let (senders, own, listeners, datagrams) = node.run(|| {
            let (v4, v6) = (AddressFamily::Inet, AddressFamily::Inet6);
            let own = vec![
                (Protocol2::Whole, raw(v4, SockProtocol::Icmp)),
                (Protocol2::Whole, raw(v4, SockProtocol::Tcp)),
                (Protocol2::Segment, raw(v6, SockProtocol::Tcp)),
                (Protocol2::Icmp, raw(v6, SockProtocol::IcmpV6)),
            ];
            let ports = || world::PORTS.into_iter().chain(world::NODE_PORTS);
            let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let listeners = ports().map(|port| TcpListener::bind(any(port)).unwrap()).collect();
            let bind = |port| {
                let socket = UdpSocket::bind(any(port)).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            };
            let datagrams = ports().map(bind).collect();
            ([raw(v4, SockProtocol::Raw), raw(v6, SockProtocol::Raw)], own, listeners, datagrams)
        });
        Self { node, uplink, pods: [first, second], senders, own, datagrams, _listeners: listeners, token: 0 }
    }

    /// Sends packets, each from a port of its own; gives each one's source port and what came of it.
    pub fn fire(&mut self, shots: &[Shot], settled: impl Fn(usize, Observed) -> bool) -> Vec<(u16, Observed)> {
        self.collect(&mut HashMap::new());
        let base = self.token;
        let mut ports = Vec::with_capacity(shots.len());
        for shot in shots {
            let port = self.send(shot);
            ports.push(port);
        }
        let mut seen = HashMap::new();
        let start = Instant::now();
        let of = |seen: &HashMap<u32, Observed>, index: usize| {
            seen.get(&(base + 1 + index as u32)).copied().unwrap_or(Observed::Nothing)
        };
        loop {
            self.collect(&mut seen);
            if (0..shots.len()).all(|index| settled(index, of(&seen, index))) || start.elapsed() > PATIENCE {
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(GRACE);
        self.collect(&mut seen);
        ports.into_iter().enumerate().map(|(index, port)| (port, of(&seen, index))).collect()
    }

    fn send(&mut self, shot: &Shot) -> u16 {
        self.token += 1;
        // Clear of every port that something listens on.
        let source_port = match (1024 + self.token % 60_000) as u16 {
            port @ ..30_000 => port,
            port => port + 100,
        };
        let packet = First {
            source: shot.source,
            source_port,
            destination: shot.destination,
            port: shot.port,
            protocol: shot.protocol,
            token: self.token,
        };
        match (shot.way, shot.destination) {
            (Way::Uplink, _) => self.uplink.send(&packet.bytes()),
            (Way::Pod(index), _) => self.pods[index].send(&packet.bytes()),
            // What netfilter drops or refuses on the way out is an error here, and no news.
            (Way::Node, IpAddr::V4(ip)) => {
                let to = SockaddrIn::from(std::net::SocketAddrV4::new(ip, 0));
                let _ = sendto(self.senders[0].as_raw_fd(), &packet.bytes(), &to, MsgFlags::empty());
            }
            (Way::Node, IpAddr::V6(ip)) => {
                let to = SockaddrIn6::from(std::net::SocketAddrV6::new(ip, 0, 0, 0));
                let _ = sendto(self.senders[1].as_raw_fd(), &packet.bytes(), &to, MsgFlags::empty());
            }
        }
        source_port
    }

    /// Reads everything there is.
    fn collect(&self, seen: &mut HashMap<u32, Observed>) {
        let mut buffer = [0; 2048];
        for tun in [&self.uplink, &self.pods[0], &self.pods[1]] {
            while let Some(packet) = tun.receive(&mut buffer) {
                match frame::read(packet) {
                    Some(Seen::First(first, sound)) => {
                        let (source, destination) =
                            ((first.source, first.source_port), (first.destination, first.port));
                        seen.insert(first.token, Observed::Delivered { source, destination, sound });
                    }
                    Some(Seen::Refused(token)) => note(seen, token, Observed::Refused),
                    Some(Seen::Taken(token)) => note(seen, token, Observed::Taken),
                    None => {}
                }
            }
        }
        for (kind, socket) in &self.own {
            while let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                let (packet, nobody) = (&buffer[..length], IpAddr::V6(Ipv6Addr::UNSPECIFIED));
                let read = match kind {
                    Protocol2::Whole => frame::read(packet),
                    Protocol2::Segment => frame::segment(nobody, nobody, Protocol::Tcp, packet),
                    Protocol2::Icmp => frame::icmpv6(packet),
                };
                match read {
                    Some(Seen::Refused(token)) => note(seen, token, Observed::Refused),
                    Some(Seen::Taken(token)) => note(seen, token, Observed::Taken),
                    _ => {}
                }
            }
        }
        for socket in &self.datagrams {
            while let Ok(length) = socket.recv(&mut buffer) {
                if let Ok(token) = <[u8; 4]>::try_from(&buffer[..length]) {
                    note(seen, u32::from_be_bytes(token), Observed::Taken);
                }
            }
        }
    }
}

/// An answer, unless the packet was also seen to go elsewhere, which counts more.
fn note(seen: &mut HashMap<u32, Observed>, token: u32, observed: Observed) {
    seen.entry(token).or_insert(observed);
}
