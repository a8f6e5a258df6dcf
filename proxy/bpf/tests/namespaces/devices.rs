//! What the device hooks do beyond [`crate::scenarios`].

use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use orlop_bpf::{EbpfBackend, Options};
use orlop_plan::{Backend as _, Protocol};

use crate::net::{Kind, LOCAL, NODE_PORT, Net, REMOTE};
use crate::plans::{node_port, plan};
use crate::world::{Namespace, echo, talk};

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let net = Net::serving(Kind::Ebpf, &[LOCAL]);
    let through = |expected: &'static str| {
        net.pod.run(move || {
            let (mut connection, line) = talk("10.96.0.10:80").expect("connect to the ClusterIP");
            assert!(line.starts_with(expected), "{line}");
            echo(&mut connection, &[7; 10_000]).expect("echo");
        });
    };
    through("local 172.30.0.11:");
    net.node.join_cgroup();
    through("local 10.244.1.5:");
}

#[test]
fn a_socket_connected_to_an_endpoint_that_is_removed_is_told_within_a_second() {
    let net = Net::new(Kind::Ebpf);
    net.node.join_cgroup();
    let before = net.plan(&[LOCAL]);
    let first = before.clone();
    let mut agent = net.node.start_backend(move |backend| backend.resync(&first).expect("fill the maps"));
    // A process of the pod, by which its namespace is found: this one's own is another.
    let _process = net.pod.process();
    let connected = |expected: &'static str| {
        move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
            socket.connect("10.96.0.10:80").expect("connect");
            socket.send(b"?").expect("send");
            let mut buffer = [0; 100];
            let count = socket.recv(&mut buffer).expect("an answer");
            assert!(buffer[..count].starts_with(expected.as_bytes()));
            socket
        }
    };
    let (in_pod, on_node) = (net.pod.run(connected("local")), net.node.namespace.run(connected("local")));
    let after = net.plan(&[REMOTE]);
    agent.sync(&after, &orlop_plan::diff(&before, &after)).expect("change the maps");
    let start = Instant::now();
    for socket in [in_pod, on_node] {
        let error = socket.recv(&mut [0; 100]).expect_err("nothing more comes");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted, "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    net.pod.run(connected("remote"));
}

#[test]
fn where_there_is_no_tcx_filters_do_the_same_and_outlive_the_agent_until_the_cleanup() {
    let net = Net::new(Kind::Ebpf);
    let (plan, options) = (net.plan(&[LOCAL, REMOTE]), Options { tcx: false, ..net.node.options() });
    let root = options.bpf_root.clone();
    let agent = move || {
        let mut agent = EbpfBackend::open(options.clone()).expect("open the backend");
        agent.resync(&plan).expect("fill the maps");
    };
    net.node.namespace.run(agent.clone());
    let pins = root.clone();
    let links = net.node.namespace.run(move || {
        let hash = std::fs::read_dir(pins).expect("the root").flatten().next().expect("a directory").path();
        let links = std::fs::read_dir(hash.join("links")).expect("links").flatten();
        links.map(|link| link.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    });
    assert!(links.iter().all(|link| !link.starts_with("tc_")), "{links:?}");
    let mut old = net.outside.run(|| talk(NODE_PORT).expect("connect to the NodePort").0);
    net.node.namespace.run(agent);
    net.outside.run(move || {
        echo(&mut old, &vec![7; 100_000]).expect("a new agent is not noticed");
        let servers: HashSet<_> = (0..30)
            .map(|_| talk(NODE_PORT).expect("connect to the NodePort").1.split(' ').next().map(str::to_owned))
            .collect();
        assert_eq!(servers.len(), 2, "{servers:?}");
    });
    net.node.namespace.run(move || orlop_bpf::remove(&root).expect("clean up"));
    net.outside.run(|| talk(NODE_PORT).map(|(_, line)| panic!("{line}")).expect_err("nobody translates"));
}

#[test]
fn what_is_retired_carries_its_connections_to_their_end_and_takes_no_new_ones() {
    let net = Net::serving(Kind::Ebpf, &[REMOTE]);
    let root = net.node.options().bpf_root;
    let retire = move || orlop_bpf::retire(&root).expect("retire");
    let mut old = net.outside.run(|| talk(NODE_PORT).expect("connect to the NodePort").0);
    assert!(net.node.namespace.run(retire.clone()), "a connection is left");
    net.outside.run(move || {
        echo(&mut old, &vec![7; 100_000]).expect("the connection goes on");
        talk(NODE_PORT).map(|(_, line)| panic!("{line}")).expect_err("nobody translates");
        let mut socket = old;
        socket.shutdown(std::net::Shutdown::Write).expect("close");
        assert_eq!(std::io::Read::read(&mut socket, &mut [0]).expect("the server closes too"), 0);
    });
    assert!(!net.node.namespace.run(retire), "nothing is left");
    let root = net.node.options().bpf_root;
    assert_eq!(net.node.namespace.run(|| std::fs::read_dir(root).expect("the root").count()), 0);
}

#[test]
fn a_pod_that_starts_later_is_covered() {
    let net = Net::new(Kind::Ebpf);
    let agent = net.node.start_backend(|backend| {
        let mut plan = plan(&["172.30.0.11"]);
        node_port(&mut plan, Protocol::Tcp, 30_001, &["10.244.1.6:8080"]);
        backend.resync(&plan).expect("fill the maps");
    });
    let late = Namespace::new();
    net.node.namespace.cable("late", &late, "eth0");
    net.node.namespace.ip("route add 10.244.1.6 dev late");
    late.ip("addr add 10.244.1.6/32 dev eth0");
    late.ip("route add 172.30.0.11 dev eth0");
    late.serve("late", "10.244.1.6:8080");
    std::thread::sleep(Duration::from_millis(300));
    net.outside.run(|| assert!(talk(NODE_PORT).expect("connect to the NodePort").1.starts_with("late")));
    drop(agent);
}
