//! Direct server return and XDP on real nodes: a host outside asks either node for an endpoint that is on one of them, which sees the host
//! and whose node answers it, over TCP and UDP; and what is carried arrives whole.

#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use orlop_conformance::{Cluster, Wanted};
use orlop_netns::NetNs;

/// Endpoints on node 2 alone, and externalTrafficPolicy Cluster.
const SERVICE: &str = "
apiVersion: v1
kind: ReplicationController
metadata: {name: echo}
spec:
  replicas: 2
  selector: {app: echo}
  template:
    metadata: {labels: {app: echo}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node2}
      containers: [{name: web, image: 'localhost/orlop/web:v1'}]
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  type: NodePort
  externalTrafficPolicy: Cluster
  selector: {app: echo}
  ports:
  - {name: http, port: 8080, nodePort: 30080}
  - {name: tcp, port: 9000, nodePort: 30090}
  - {name: udp, port: 9000, protocol: UDP, nodePort: 30090}
";
const OUTSIDE: &str = "172.30.0.200";
const PATIENCE: Duration = Duration::from_secs(5);
const CARRIED: usize = 16 << 20;

#[test]
fn clients_are_answered_directly_over_vxlan() {
    walk("direct-v", "vxlan");
}

#[test]
fn clients_are_answered_directly_over_host_gw() {
    walk("direct-h", "host-gw");
}

fn walk(name: &'static str, overlay: &'static str) {
    let wanted = Wanted { name, nodes: 2, proxy_mode: "ebpf", overlay, publish: None };
    let cluster = Cluster::up_with(wanted, &["--ebpf-forwarding", "dsr", "--ebpf-xdp", "native"]).unwrap();
    cluster.kubectl_with(&["create"], SERVICE).unwrap();
    let pods = cluster.ready_pods("echo", 2).unwrap();
    cluster.endpoints("echo", &pods).unwrap();
    for node in [1, 2] {
        drivers_have_a_program(&cluster, node);
        let names = pods.names();
        let named = |name: &str| assert!(names.contains(name), "{name} of {names:?}");
        pods_see_the_client_over_http(&cluster, node);
        named(&whole_streams_are_echoed(&cluster, node));
        datagrams_are_answered_by_whom_was_asked(&cluster, node).iter().for_each(|name| named(name));
    }
    the_answers_do_not_pass_the_node_that_was_asked(&cluster);
}

fn drivers_have_a_program(cluster: &Cluster, node: u32) {
    let told = cluster.on_node(node, &["curl", "-s", "http://127.0.0.1:10249/proxyMode"]).unwrap();
    assert_eq!(told.trim(), "ebpf", "node{node} fell back\n{}", cluster.logs());
    let device = cluster.on_node(node, &["ip", "link", "show", "dev", "eth0"]).unwrap();
    assert!(device.contains("prog/xdp id "), "{device}\n{}", cluster.logs());
}

fn pods_see_the_client_over_http(cluster: &Cluster, node: u32) {
    let url = format!("http://{}/clientip", cluster.node_port(node, 30080).unwrap());
    for _ in 0..10 {
        let client = cluster.outside(&["curl", "-sS", "-m", "4", &url]).unwrap();
        assert!(client.starts_with(&format!("{OUTSIDE}:")), "through node{node}: {client}");
    }
}

/// Sends and gets back so many bytes; gives who answered.
fn whole_streams_are_echoed(cluster: &Cluster, node: u32) -> String {
    let to = cluster.node_port(node, 30090).unwrap();
    from_outside(cluster, move || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = line(&mut stream);
        let sent: Vec<u8> = (0..CARRIED as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut reader = stream.try_clone().unwrap();
        let reading = thread::spawn(move || {
            let mut back = vec![0; CARRIED];
            reader.read_exact(&mut back).map(|()| back)
        });
        stream.write_all(&sent).unwrap();
        let back = reading.join().unwrap().unwrap();
        assert!(back == sent, "what came back through {to} is something else");
        name
    })
}

fn datagrams_are_answered_by_whom_was_asked(cluster: &Cluster, node: u32) -> Vec<String> {
    let to = cluster.node_port(node, 30090).unwrap();
    from_outside(cluster, move || {
        let ask = |n: u32| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            // Connected: an answer from any other address is none.
            socket.connect(to).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut name = String::new();
            for m in 0..5 {
                let question = format!("{n}-{m}-{}", "x".repeat(n as usize * 50));
                socket.send(question.as_bytes()).unwrap();
                let mut buffer = [0; 4096];
                let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{to}, {n}-{m}: {error}"));
                let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let words: Vec<&str> = answer.split(' ').collect();
                let own = format!("{OUTSIDE}:{}", socket.local_addr().unwrap().port());
                assert_eq!(words[1..], [own.as_str(), &question], "{to}");
                name = words[0].to_owned();
            }
            name
        };
        (0..20).map(ask).collect()
    })
}

/// What the client sends comes in on node 1's device, and nothing of what it gets.
fn the_answers_do_not_pass_the_node_that_was_asked(cluster: &Cluster) {
    let received = || -> usize {
        let devices = cluster.on_node(1, &["cat", "/proc/net/dev"]).unwrap();
        let device = devices.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
        device.unwrap().split_whitespace().next().unwrap().parse().unwrap()
    };
    let before = received();
    whole_streams_are_echoed(cluster, 1);
    let received = received() - before;
    assert!((CARRIED..CARRIED + CARRIED / 2).contains(&received), "{received} of {CARRIED} bytes, twice");
}

fn from_outside<T: Send>(cluster: &Cluster, work: impl FnOnce() -> T + Send) -> T {
    NetNs::open(&cluster.netns("outside")).unwrap().run(work).unwrap()
}

fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}
