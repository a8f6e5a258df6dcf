//! What the device hooks do beyond [`crate::scenarios`].

use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use orlop_bpf::{EbpfBackend, Options};
use orlop_plan::{Backend as _, Protocol};

use crate::net::{Addresses, Kind, LOCAL, NODE_PORT, Net, REMOTE, V4, V6};
use crate::plans::{cluster_ip, node_port, plan};
use crate::world::{Namespace, ask, echo, talk};

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
    let plan = net.plan(&[REMOTE]);
    let retire = move || orlop_bpf::retire(&root, &plan).expect("retire");
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

#[test]
fn what_a_build_with_another_abi_left_is_replaced() {
    let net = Net::serving(Kind::Ebpf, &[REMOTE]);
    let root = net.node.options().bpf_root;
    let pins = move || {
        let names = std::fs::read_dir(&root).expect("the root").flatten().map(|entry| entry.file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        (root.clone(), names)
    };
    let before = net.node.namespace.run(pins.clone());
    let (root, names) = before.clone();
    net.node.namespace.run(move || {
        std::fs::rename(root.join(&names[0]), root.join("0123456789abcdef")).expect("rename");
        std::fs::create_dir(root.join("somebody-elses")).expect("a directory");
    });
    net.serve(&[LOCAL]);
    let (_, mut names) = net.node.namespace.run(pins);
    assert_eq!(names.pop().as_deref(), Some("somebody-elses"));
    assert_eq!(names, before.1);
    // What is gone may run for a moment yet, but behind what took its place.
    net.outside.run(|| assert!(talk(NODE_PORT).expect("connect to the NodePort").1.starts_with("local")));
}

#[test]
fn connections_that_nftables_began_go_on_when_ebpf_takes_over() {
    let net = Net::serving(Kind::Nftables, &[LOCAL, REMOTE]);
    let mut old = net.outside.run(|| (0..10).map(|_| talk(NODE_PORT).expect("connect").0).collect::<Vec<_>>());
    let (full, empty) = (net.plan(&[REMOTE]), plan(&["172.30.0.11"]));
    net.node.with_backend(move |backend| {
        backend.resync(&full).expect("fill the maps");
        // As the agent does: nftables keeps its base chains for what it translates, without Services.
        orlop_nft::NftBackend::open().expect("open nftables").resync(&empty).expect("empty its maps");
    });
    net.outside.run(move || {
        for connection in &mut old {
            echo(connection, &[7; 10_000]).expect("the old connection goes on");
        }
        for _ in 0..10 {
            assert!(talk(NODE_PORT).expect("connect to the NodePort").1.starts_with("remote"));
        }
    });
}

#[test]
fn two_services_of_one_endpoint_are_told_apart_though_the_client_uses_one_port_for_both() {
    let net = Net::new(Kind::Ebpf);
    net.node.with_backend(|backend| {
        let mut plan = plan(&["172.30.0.11", "172.31.0.11"]);
        for address in ["10.96.0.10", "10.96.0.11"] {
            cluster_ip(&mut plan, Protocol::Udp, address, 80, &[REMOTE]);
        }
        backend.resync(&plan).expect("fill the maps");
    });
    net.pod.run(|| {
        let socket = UdpSocket::bind("10.244.1.5:5000").expect("a socket");
        for _ in 0..3 {
            let ports = ["10.96.0.10:80", "10.96.0.11:80"].map(|service| {
                let (from, line) = ask(&socket, service).expect("an answer");
                assert_eq!(from.to_string(), service);
                // Its own is for what it says to the endpoint itself.
                let port = line.strip_prefix("remote 10.244.1.5:").filter(|port| *port != "5000");
                port.unwrap_or_else(|| panic!("{line}")).to_owned()
            });
            assert_ne!(ports[0], ports[1]);
        }
    });
}

#[test]
fn when_every_source_port_towards_an_endpoint_is_taken_others_are_still_reached() {
    let net = Net::new(Kind::Ebpf);
    let options = Options { node_port_range: (1028, 32_767), ..net.node.options() };
    let plan = net.plan(&[REMOTE]);
    net.node.namespace.run(move || {
        // What is left for masquerading: 1024 to 1027.
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "32768 65535").expect("set the range");
        let mut plan = plan;
        node_port(&mut plan, Protocol::Tcp, 30_002, &["10.244.2.5:8081"]);
        EbpfBackend::open(options).expect("open the backend").resync(&plan).expect("fill the maps");
    });
    net.other.serve("second", "10.244.2.5:8081");
    net.outside.run(|| {
        let held: Vec<_> = (0..4).map(|_| talk(NODE_PORT).expect("a port is left").0).collect();
        let ports: HashSet<_> = held.iter().map(|c| c.local_addr().expect("an address").port()).collect();
        assert_eq!(ports.len(), 4);
        talk(NODE_PORT).map(|(_, line)| panic!("{line}")).expect_err("no port is left");
        assert!(talk("172.30.0.11:30002").expect("connect to the other endpoint").1.starts_with("second 172.31.0.11:"));
    });
}

fn sent_by(net: &Net, device: &'static str) -> u64 {
    net.node.namespace.run(move || {
        let all = std::fs::read_to_string("/proc/thread-self/net/dev").expect("the devices");
        let line = all.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'));
        // Ten columns on: packets sent.
        let number = line.expect("the device").split_whitespace().nth(9).expect("a number");
        number.parse().expect("a number")
    })
}

fn carry_a_megabyte(net: &Net, at: &'static Addresses) {
    net.outside.run(move || {
        let (mut connection, line) = talk(at.node_port).expect("connect to the NodePort");
        assert!(line.starts_with("local "), "{line}");
        echo(&mut connection, &vec![7; 1_000_000]).expect("echo");
    });
}

#[test]
fn what_is_for_a_pod_arrives_at_its_end_of_the_cable_past_the_nodes_unless_that_has_a_queue() {
    let net = Net::serving(Kind::Ebpf, &[V4.local, V6.local]);
    for at in [&V4, &V6] {
        // A neighbour has to be asked for.
        carry_a_megabyte(&net, at);
        let (before, out) = (sent_by(&net, "pod"), sent_by(&net, "eth0"));
        carry_a_megabyte(&net, at);
        let (pod, wire) = (sent_by(&net, "pod") - before, sent_by(&net, "eth0") - out);
        // Addresses may be asked for now and then; what comes back goes out as any packet.
        assert!(pod < 10 && wire > 15, "{pod} packets to the pod, {wire} to the wire");
    }
    // A limit of the pod's bandwidth is one.
    net.node.namespace.ip("link set pod txqueuelen 1000");
    net.node.namespace.run(|| {
        let command = "qdisc add dev pod root pfifo limit 1000";
        assert!(std::process::Command::new("tc").args(command.split(' ')).status().expect("run tc").success());
    });
    net.serve(&[V4.local, V6.local]);
    for at in [&V4, &V6] {
        let before = sent_by(&net, "pod");
        carry_a_megabyte(&net, at);
        let pod = sent_by(&net, "pod") - before;
        assert!(pod > 15, "{pod} packets passed the queue");
    }
}

#[test]
fn a_pod_takes_what_the_wire_brought_to_another_link_address_as_a_port_of_a_bridge_is_brought() {
    let net = Net::serving(Kind::Ebpf, &[V4.local]);
    carry_a_megabyte(&net, &V4);
    net.outside.ip("neigh replace 172.30.0.11 lladdr 02:00:00:00:00:77 dev eth0 nud permanent");
    carry_a_megabyte(&net, &V4);
}
