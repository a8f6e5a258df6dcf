//! What the backend tells of flows that there are.

use std::io::Read as _;
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::time::Duration;

use orlop_bpf::EbpfBackend;
use orlop_plan::{Backend as _, Flow, FlowFilter, Protocol};

use crate::net::{Kind, LOCAL, NODE_PORT, Net, REMOTE, V4, V6};
use crate::world::{ask, echo, eventually, talk};

const BYTES: usize = 100_000;

fn socket_address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn wanted(protocol: Protocol, service: &str, client: Option<SocketAddr>) -> FlowFilter {
    FlowFilter { protocol, service: socket_address(service), client, most: 10 }
}

/// What a backend tells in its own namespace.
fn told(net: &Net, wanted: FlowFilter) -> Vec<Flow> {
    net.node.with_backend(move |agent| flows(agent, &wanted))
}

#[track_caller]
fn told_one(net: &Net, wanted: FlowFilter) -> Flow {
    let mut all = told(net, wanted);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn flows(agent: &mut EbpfBackend, wanted: &FlowFilter) -> Vec<Flow> {
    let found = agent.flows(wanted).expect("list flows");
    assert!(found.notes.is_empty(), "{:?}", found.notes);
    assert_eq!(found.total, found.all.len());
    found.all
}

#[track_caller]
fn only(agent: &mut EbpfBackend, wanted: &FlowFilter) -> Flow {
    let mut all = flows(agent, wanted);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn of_a_connection_through_a_device_it_is_known_where_it_goes_since_when_how_much_and_how_it_ended() {
    let net = Net::serving(Kind::Ebpf, &[LOCAL, V6.local]);
    for (at, any) in [(&V4, "0.0.0.0:30001"), (&V6, "[::]:30001")] {
        let mut connection = net.outside.run(|| {
            let (mut connection, _) = talk(at.node_port).expect("connect to the NodePort");
            echo(&mut connection, &[7; BYTES]).expect("echo");
            connection
        });
        let client = connection.local_addr().expect("its own address");
        let one = wanted(Protocol::Tcp, at.node_port, Some(client));
        let flow = told_one(&net, one);
        assert_eq!(
            (flow.client, flow.service, flow.endpoint),
            (client, socket_address(at.node_port), socket_address(at.local))
        );
        assert_eq!(flow.state, "established");
        assert!(
            flow.source.is_some_and(|source| source.to_string().starts_with(at.second) || source.ip() != client.ip())
        );
        let (begun, last) = (flow.begun.expect("it began"), flow.last.expect("it went on"));
        assert!(last <= begun && begun < Duration::from_secs(10), "{flow:?}");
        for volume in [flow.there, flow.back] {
            assert!(volume.is_some_and(|v| v.bytes > BYTES as u64 && v.packets > 1), "{flow:?}");
        }
        // In the list of the Service, by its address or by any.
        for service in [at.node_port, any] {
            assert_eq!(told_one(&net, wanted(Protocol::Tcp, service, None)).client, client);
        }
        assert!(told(&net, wanted(Protocol::Udp, at.node_port, None)).is_empty());
        let stranger = SocketAddr::new(client.ip(), client.port() ^ 1);
        assert!(told(&net, wanted(Protocol::Tcp, at.node_port, Some(stranger))).is_empty());

        connection.shutdown(Shutdown::Write).expect("close");
        assert_eq!(connection.read(&mut [0]).expect("the server closes too"), 0);
        eventually(|| told_one(&net, one).state == "closed by both sides");
    }
    let socket = net.outside.run(|| {
        let socket = UdpSocket::bind("172.30.0.200:0").expect("a socket");
        ask(&socket, NODE_PORT).expect("an answer");
        socket
    });
    let client = socket.local_addr().expect("its own address");
    let flow = told_one(&net, wanted(Protocol::Udp, NODE_PORT, Some(client)));
    assert_eq!((flow.endpoint, flow.state.as_str()), (socket_address(LOCAL), "established"));
    assert_eq!([flow.there, flow.back].map(|volume| volume.map(|v| v.packets)), [Some(1), Some(1)]);
}

#[test]
fn of_a_socket_on_the_node_it_is_known_which_service_it_called_and_where_it_was_led() {
    let net = Net::new(Kind::Ebpf);
    let plan = net.plan(&[REMOTE, V6.remote]);
    net.node.join_cgroup();
    net.node.with_backend(move |agent| {
        agent.resync(&plan).expect("fill the maps");
        for at in [&V4, &V6] {
            let (mut connection, _) = talk(at.cluster_ip).expect("connect to the ClusterIP");
            echo(&mut connection, &[7; BYTES]).expect("echo");
            let connected = UdpSocket::bind(at.any).expect("a socket");
            connected.connect(at.cluster_ip).expect("connect it");
            let free = UdpSocket::bind(at.any).expect("a socket");
            ask(&free, at.cluster_ip).expect("an answer");

            let (service, endpoint) = (socket_address(at.cluster_ip), socket_address(at.remote));
            let client = connection.local_addr().expect("its own address");
            let flow = only(agent, &wanted(Protocol::Tcp, at.cluster_ip, Some(client)));
            assert_eq!((flow.client, flow.service, flow.endpoint, flow.source), (client, service, endpoint, None));
            assert_eq!(flow.state, "ESTABLISHED");
            for volume in [flow.there, flow.back] {
                assert!(volume.is_some_and(|v| v.bytes >= BYTES as u64 && v.packets > 1), "{flow:?}");
            }
            assert!(flow.last <= flow.begun && flow.begun < Some(Duration::from_secs(10)), "{flow:?}");
            let client = connected.local_addr().expect("its own address");
            let flow = only(agent, &wanted(Protocol::Udp, at.cluster_ip, Some(client)));
            assert_eq!((flow.endpoint, flow.state.as_str()), (endpoint, "connected"));
            assert!(flow.begun < Some(Duration::from_secs(10)), "{flow:?}");
            // What is kept in the socket alone is not told of, but that there is such a socket is.
            let client = free.local_addr().expect("its own address");
            let found = agent.flows(&wanted(Protocol::Udp, at.cluster_ip, Some(client))).expect("list flows");
            assert_eq!((found.total, found.notes.len()), (0, 1), "{found:?}");
            assert!(found.notes[0].starts_with("1 unconnected UDP socket(s)"), "{found:?}");
        }
    });
}
