//! The mode is switched while traffic flows: nothing breaks, stalls or changes its endpoint.

use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use orlop_nft::NftBackend;
use orlop_plan::{Backend as _, Plan};

use crate::net::{Addresses, Kind, Net, V4, V6};
use crate::plans::plan;
use crate::world::{Namespace, ask, echo, talk};

const NODE: [&str; 4] = ["172.30.0.11", "172.31.0.11", "fd00:30::11", "fd00:31::11"];

/// Begins something from an address to another, and gives what does it once.
type Begin = fn(&'static str, &'static str) -> Box<dyn FnMut() + Send>;

/// Everything a host does at once, until it is told to stop.
struct Traffic {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU32>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Traffic {
    /// Long and short TCP, connected and unconnected UDP, to this address.
    fn start(host: &Namespace, name: &'static str, at: &'static Addresses, to: &'static str) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut threads = Vec::new();
        let kinds: [Begin; 4] = [long, short, connected, unconnected];
        let kinds = ["long TCP", "short TCP", "connected UDP", "unconnected UDP"].into_iter().zip(kinds);
        for (what, kind) in kinds {
            let (stop, rounds) = (stop.clone(), rounds.clone());
            // A thread begun inside stays inside.
            threads.push(host.run(move || {
                let mut once = kind(at.any, to);
                let who = format!("{what} of {name} to {to}");
                thread::Builder::new()
                    .name(who)
                    .spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            let begun = Instant::now();
                            once();
                            assert!(
                                begun.elapsed() < Duration::from_secs(1),
                                "{name}: stalled for {:?}",
                                begun.elapsed()
                            );
                            rounds.fetch_add(1, Ordering::Relaxed);
                            thread::sleep(Duration::from_millis(5));
                        }
                    })
                    .expect("a thread")
            }));
        }
        Self { stop, rounds, threads }
    }

    /// Lets some of it happen.
    fn flow(&self) {
        let begun = self.rounds.load(Ordering::Relaxed);
        let start = Instant::now();
        while self.rounds.load(Ordering::Relaxed) < begun + 60 {
            assert!(start.elapsed() < Duration::from_secs(10), "no traffic");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("undisturbed traffic"));
    }
}

fn long(_: &'static str, to: &'static str) -> Box<dyn FnMut() + Send> {
    let mut connection: TcpStream = talk(to).expect("connect").0;
    Box::new(move || echo(&mut connection, &[7; 3_000]).expect("the long connection goes on"))
}

fn short(_: &'static str, to: &'static str) -> Box<dyn FnMut() + Send> {
    Box::new(move || drop(talk(to).expect("a new connection")))
}

fn connected(any: &'static str, to: &'static str) -> Box<dyn FnMut() + Send> {
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    socket.connect(to).expect("connect");
    let mut first = None;
    Box::new(move || {
        let mut buffer = [0; 100];
        socket.send(b"?").expect("send");
        let count =
            socket.recv(&mut buffer).unwrap_or_else(|e| panic!("the connected socket is answered {e} {first:?}"));
        let server = buffer[..count].split(|byte| *byte == b' ').next().map(<[u8]>::to_vec);
        assert_eq!(*first.get_or_insert_with(|| server.clone()), server, "another endpoint");
    })
}

fn unconnected(any: &'static str, to: &'static str) -> Box<dyn FnMut() + Send> {
    let socket = UdpSocket::bind(any).expect("a socket");
    let mut first = None;
    Box::new(move || {
        let (from, line) = ask(&socket, to).expect("the unconnected socket is answered");
        assert_eq!(from, to.parse().expect("an address"));
        let server = line.split(' ').next().map(str::to_owned);
        assert_eq!(*first.get_or_insert_with(|| server.clone()), server, "another endpoint");
    })
}

/// What the agent does when it starts in eBPF mode.
fn to_ebpf(net: &Net, full: &Plan) {
    let (full, empty) = (full.clone(), plan(&NODE));
    net.node.with_backend(move |backend| {
        backend.resync(&full).expect("fill the maps");
        NftBackend::open().expect("open nftables").keeping_flows().resync(&empty).expect("empty its maps");
    });
}

/// Two endpoints beyond the node, so that none of the clients is one of them.
fn endpoints(at: &Addresses) -> [String; 2] {
    [at.remote.to_owned(), at.remote.replace("8080", "8081")]
}

/// A node whose stack has a way to Services' addresses, as any with a default route has; nobody serves yet.
fn net(kind: Kind, at: &Addresses) -> (Net, Plan) {
    let net = Net::new(kind);
    net.node.namespace.ip("route add default via 172.30.0.200");
    net.node.namespace.ip("route add default via fd00:30::200");
    // Processes of the node call the other pod from its first address.
    net.other.ip("route add 172.30.0.0/24 via 172.31.0.11");
    net.other.ip("route add fd00:30::/64 via fd00:31::11");
    let endpoints = endpoints(at);
    net.other.serve("second", &endpoints[1]);
    let plan = net.plan(&endpoints.each_ref().map(String::as_str));
    (net, plan)
}

/// What the agent does when it starts in nftables mode.
fn to_nftables(net: &Net, full: &Plan) {
    let (full, root) = (full.clone(), net.node.options().bpf_root);
    net.node.namespace.run(move || {
        NftBackend::open().expect("open nftables").resync(&full).expect("fill its maps");
        orlop_bpf::retire(&root, &full).expect("retire");
    });
}

/// Switches there and back, three times, while all this goes on.
fn switch(net: &Net, plan: &Plan, traffic: Vec<Traffic>) {
    let flow = || traffic.iter().for_each(Traffic::flow);
    flow();
    for _ in 0..3 {
        to_ebpf(net, plan);
        flow();
        to_nftables(net, plan);
        flow();
    }
    traffic.into_iter().for_each(Traffic::end);
}

#[test]
fn the_outside_does_not_notice_a_switch() {
    for at in [&V4, &V6] {
        let (net, plan) = net(Kind::Nftables, at);
        to_nftables(&net, &plan);
        let traffic = Traffic::start(&net.outside, "outside", at, at.node_port);
        switch(&net, &plan, vec![traffic]);
    }
}

#[test]
fn pods_and_the_node_do_not_notice_a_switch() {
    for at in [&V4, &V6] {
        let (net, plan) = net(Kind::Nftables, at);
        to_nftables(&net, &plan);
        net.node.join_cgroup();
        let _process = net.pod.process();
        let pod = Traffic::start(&net.pod, "pod", at, at.cluster_ip);
        let node = Traffic::start(&net.node.namespace, "node", at, at.cluster_ip);
        switch(&net, &plan, vec![pod, node]);
    }
}

#[test]
fn a_flow_that_was_left_to_ebpf_leaves_an_endpoint_that_is_removed() {
    let (net, plan) = net(Kind::Ebpf, &V4);
    let only = net.plan(&[V4.remote]);
    net.node.with_backend(move |backend| backend.resync(&plan).expect("fill the maps"));
    let socket = net.outside.run(|| {
        loop {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            if ask(&socket, V4.node_port).expect("an answer").1.starts_with("second") {
                return socket;
            }
        }
    });
    to_nftables(&net, &only);
    net.outside.run(move || assert!(ask(&socket, V4.node_port).expect("an answer").1.starts_with("remote")));
}
