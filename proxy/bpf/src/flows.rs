//! Flows as the programs keep them: at devices in two tables, of sockets in the sockets themselves.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use orlop_ebpf::{Address, Backend, Connection, Flow, FlowKey, Peer, Talk, TalkKey, flow_flags};
use orlop_plan::{FlowFilter, Flows, Protocol, Volume};

use crate::convert::{address, ip};
use crate::map::Map;
use crate::netns::{inside, namespaces};
use crate::sock_diag::{SockDiag, Stored};
use crate::{Error, sys};

/// States of TCP that a socket which called somebody can have: `1 << TCP_*`.
const CALLERS: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// Everything that is wanted.
pub fn read(pins: &Path, cgroup_root: &Path, wanted: &FlowFilter) -> Result<Flows, Error> {
    let mut flows = at_devices(pins, wanted)?;
    let sockets = Sockets::open(pins, wanted.protocol)?;
    let mut silent = 0;
    for (inode, namespace) in namespaces(cgroup_root) {
        match inside(&namespace, || sockets.flows(wanted)) {
            Ok((found, more)) => {
                silent += more;
                for mut flow in found {
                    flow.place = format!("{} in net:[{inode}]", flow.place);
                    flows.push(flow, wanted);
                }
            }
            Err(error) => flows.notes.push(format!("the sockets of net:[{inode}] cannot be read: {error}")),
        }
    }
    if silent > 0 {
        flows.notes.push(format!(
            "{silent} unconnected UDP socket(s) with this port may talk to it: that is kept in the socket, where the \
             kernel does not let it be read"
        ));
    }
    Ok(flows)
}

/// Those whose packets arrive at devices.
pub fn at_devices(pins: &Path, wanted: &FlowFilter) -> Result<Flows, Error> {
    let tables = [("FLOWS", Map::open(pins, "FLOWS")?), ("HALF_OPEN", Map::open(pins, "HALF_OPEN")?)];
    let now = sys::now();
    let mut flows = Flows::default();
    let entry = |key: &FlowKey| -> Result<Option<Flow>, Error> {
        let [(_, confirmed), (_, half_open)] = &tables;
        Ok(confirmed.get(key)?.or(half_open.get(key)?))
    };
    for (name, table) in &tables {
        let found = match (wanted.client, wanted.address()) {
            (Some(client), Some(called)) => {
                let key = FlowKey {
                    source: address(client.ip()),
                    destination: address(called),
                    source_port: client.port().to_be(),
                    destination_port: wanted.service.port().to_be(),
                    protocol: wanted.protocol.number().into(),
                };
                table.get(&key)?.map(|flow| (key, flow)).into_iter().collect()
            }
            // A list is of what lives.
            _ => table.dump_if(|key, flow| is_wanted(key, flow, wanted) && !flow.is_expired(now))?,
        };
        for (key, flow) in found.iter().filter(|(_, flow)| !flow.is_reply()) {
            let answer = entry(&flow.becomes.answer())?.filter(|answer| answer.becomes == key.answer());
            flows.push(device_flow(key, flow, answer.as_ref(), now, name, wanted.protocol), wanted);
        }
    }
    Ok(flows)
}

fn is_wanted(key: &FlowKey, flow: &Flow, wanted: &FlowFilter) -> bool {
    !flow.is_reply()
        && key.protocol == u32::from(wanted.protocol.number())
        && wanted.admits_service(socket_address(&key.destination, key.destination_port))
        && wanted.admits_client(socket_address(&key.source, key.source_port))
}

fn device_flow(
    key: &FlowKey,
    flow: &Flow,
    answer: Option<&Flow>,
    now: u64,
    table: &str,
    protocol: Protocol,
) -> orlop_plan::Flow {
    let ago = |then: u64| Duration::from_nanos(now.saturating_sub(then));
    let (client, seen_as) =
        (socket_address(&key.source, key.source_port), socket_address(&flow.becomes.source, flow.becomes.source_port));
    let last = flow.seen.max(answer.map_or(0, |answer| answer.seen));
    let way = match flow.device {
        0 => "through the stack of this node".to_owned(),
        index => format!("out of device {index}"),
    };
    // Of half a connection that is all there is to be known here.
    let way = match flow.flags & (flow_flags::DIRECT | flow_flags::DELIVERED) {
        0 => way,
        flow_flags::DIRECT => format!("{way}, and the endpoint's node answers the client"),
        _ => format!("{way}, sent on by the node that was asked, whose address the answers get"),
    };
    orlop_plan::Flow {
        protocol,
        client,
        service: socket_address(&key.destination, key.destination_port),
        endpoint: socket_address(&flow.becomes.destination, flow.becomes.destination_port),
        source: (client != seen_as).then_some(seen_as),
        state: state(flow, now).into(),
        begun: Some(ago(flow.opened)),
        last: Some(ago(last)),
        kept: Some(Duration::from_nanos(flow.remaining(now))),
        there: Some(Volume { packets: flow.packets, bytes: flow.bytes }),
        back: answer.map(|answer| Volume { packets: answer.packets, bytes: answer.bytes }),
        place: format!("eBPF map {table}, {way}"),
    }
}

fn state(flow: &Flow, now: u64) -> &'static str {
    let flag = |flag| flow.flags & flag != 0;
    if flag(flow_flags::RESET) {
        "ended by a reset"
    } else if flow.is_closed() {
        "closed by both sides"
    } else if flow.is_expired(now) {
        "over: nobody said anything for too long"
    } else if flag(flow_flags::CLIENT_FIN) {
        "closed by the client"
    } else if flag(flow_flags::SERVER_FIN) {
        "closed by the endpoint"
    } else if flag(flow_flags::ANSWERED) {
        "established"
    } else {
        "not answered yet"
    }
}

fn socket_address(address: &Address, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), u16::from_be(port))
}

/// What is known of sockets.
struct Sockets {
    /// Whose values are in TCP sockets.
    connections: Map<u32, Connection>,
    /// By cookie, connected UDP sockets.
    connected: HashMap<u64, Connection>,
    /// By cookie, what unconnected ones say beyond what they have room for.
    talks: HashMap<u64, Vec<Talk>>,
}

impl Sockets {
    fn open(pins: &Path, protocol: Protocol) -> Result<Self, Error> {
        let connections = Map::open(pins, "SOCKET_CONNECTIONS")?;
        let (mut connected, mut talks) = (HashMap::new(), HashMap::<u64, Vec<Talk>>::new());
        if protocol == Protocol::Udp {
            connected.extend(Map::<u64, Connection>::open(pins, "CONNECTED_UDP")?.dump()?);
            for (key, talk) in Map::<TalkKey, Talk>::open(pins, "OTHER_TALKS")?.dump()? {
                talks.entry(key.cookie).or_default().push(talk);
            }
        }
        Ok(Self { connections, connected, talks })
    }

    /// Those of this thread's network namespace; and how many sockets may have more to tell.
    fn flows(&self, wanted: &FlowFilter) -> io::Result<(Vec<orlop_plan::Flow>, usize)> {
        let sockets = SockDiag::open()?;
        let (mut flows, silent) = match wanted.protocol {
            Protocol::Udp => self.udp(&sockets, wanted)?,
            _ => (self.tcp(&sockets, wanted)?, 0),
        };
        flows.retain(|flow| wanted.admits_service(flow.service) && wanted.admits_client(flow.client));
        Ok((flows, silent))
    }

    fn tcp(&self, sockets: &SockDiag, wanted: &FlowFilter) -> io::Result<Vec<orlop_plan::Flow>> {
        let port = wanted.client.map_or(0, |client| client.port().to_be());
        let now = sys::exact_now();
        let volume = |(packets, bytes): (u64, u64)| Volume { packets, bytes };
        let flow = |socket: Stored| {
            let connection = socket.value.as_deref().and_then(sys::value::<Connection>)?;
            let begun = Duration::from_nanos(now.saturating_sub(connection.since));
            Some(orlop_plan::Flow {
                state: tcp_state(socket.state).into(),
                begun: Some(begun),
                last: socket.traffic.map(|traffic| traffic.last.min(begun)),
                there: socket.traffic.map(|traffic| volume(traffic.sent)),
                back: socket.traffic.map(|traffic| volume(traffic.received)),
                ..socket_flow(&socket.from, socket.cookie, &connection.peer, &connection.backend, wanted)
            })
        };
        let all = sockets.stored(CALLERS, port, self.connections.as_fd())?;
        Ok(all.into_iter().filter_map(flow).collect())
    }

    fn udp(&self, sockets: &SockDiag, wanted: &FlowFilter) -> io::Result<(Vec<orlop_plan::Flow>, usize)> {
        let now = sys::exact_now();
        let ago = |then: u64| Some(Duration::from_nanos(now.saturating_sub(then)));
        let mut flows = Vec::new();
        for socket in sockets.connected_udp()? {
            // Since then the socket may be connected to somebody else.
            let known = self.connected.get(&socket.cookie).filter(|connection| connection.backend == socket.to);
            flows.extend(known.map(|connection| orlop_plan::Flow {
                state: "connected".into(),
                begun: ago(connection.since),
                ..socket_flow(&socket.from, socket.cookie, &connection.peer, &connection.backend, wanted)
            }));
        }
        let mut silent = 0;
        for socket in sockets.unconnected_udp()? {
            let from = socket_address(&socket.from.address, socket.from.port);
            let talks = self.talks.get(&socket.cookie);
            silent += usize::from(talks.is_none() && wanted.client.is_some_and(|client| client.port() == from.port()));
            flows.extend(talks.into_iter().flatten().map(|talk| orlop_plan::Flow {
                state: "talking".into(),
                last: ago(talk.seen),
                ..socket_flow(&socket.from, socket.cookie, &talk.peer, &talk.backend, wanted)
            }));
        }
        Ok((flows, silent))
    }
}

/// What is the same for every kind of socket.
fn socket_flow(from: &Backend, cookie: u64, peer: &Peer, backend: &Backend, wanted: &FlowFilter) -> orlop_plan::Flow {
    let mut client = socket_address(&from.address, from.port);
    if from.address.is_any() && wanted.service.is_ipv4() {
        client.set_ip(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    }
    orlop_plan::Flow {
        protocol: wanted.protocol,
        client,
        service: socket_address(&peer.address, peer.port),
        endpoint: socket_address(&backend.address, backend.port),
        source: None,
        state: String::new(),
        begun: None,
        last: None,
        kept: None,
        there: None,
        back: None,
        place: format!("socket {cookie:x}"),
    }
}

/// The kernel's names of them.
fn tcp_state(number: u8) -> &'static str {
    match number {
        1 => "ESTABLISHED",
        2 => "SYN_SENT",
        4 => "FIN_WAIT1",
        5 => "FIN_WAIT2",
        8 => "CLOSE_WAIT",
        9 => "LAST_ACK",
        11 => "CLOSING",
        _ => "unknown",
    }
}
