//! Endpoints and Services change fifty times a second under traffic: who was removed meets nobody new a second later, no connection to
//! the living breaks, and in the end each node's kernel holds what the API server does.
//!
//! Thirty seconds, or `ORLOP_CHAOS_SECONDS`; `ORLOP_CHAOS_SEED` repeats a run's changes.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "churn/ledger.rs"]
mod ledger;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ledger::Ledger;
use orlop_chaos::{Exchange, Kind, Objects, PODS, Place, Pod, Traffic, now, pods, slice};
use orlop_conformance::{Cluster, Wanted, eventually};
use orlop_netns::NetNs;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_orlop-traffic");
/// Services under change, each changed by a writer of its own.
const SERVICES: usize = 4;
const CHANGES_PER_SECOND: u32 = 50;
/// Servers in each pod: a Service has an EndpointSlice for each of their ports.
const PORTS: [u16; 6] = [7000, 7001, 7002, 7003, 7004, 7005];
const PODS_WANTED: usize = 4;
const FIRST_NODE_PORT: u16 = 30110;
/// The ports that the calling pod's connections have in eBPF mode, where connection tracking does not give them others: few, so that
/// what was made for one is met by others.
const CALLER_PORTS: &str = "32768 33167";
/// How long after a change somebody new may still meet what was.
const GRACE: Duration = Duration::from_secs(1);
/// And how long where the machine was elsewhere for a moment, for one exchange in a thousand.
const BUSY_GRACE: Duration = Duration::from_secs(2);

#[test]
fn nftables_keeps_up() {
    churn("churn-n", "nftables");
}

#[test]
fn ebpf_keeps_up() {
    churn("churn-e", "ebpf");
}

/// A Service under change.
struct Subject {
    n: usize,
    name: String,
    cluster_ip: SocketAddr,
    node_port: u16,
}

/// A Service that comes and goes, at an address of its own.
fn fleeting(n: usize) -> (String, SocketAddr) {
    (format!("fleeting-{n}"), format!("10.96.200.{}:{}", 10 + n, PORTS[0]).parse().unwrap())
}

fn churn(name: &'static str, mode: &'static str) {
    let number = |variable| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let length = Duration::from_secs(number("ORLOP_CHAOS_SECONDS").unwrap_or(30));
    let seed = number("ORLOP_CHAOS_SEED").unwrap_or_else(|| now().as_micros() as u64);
    println!("ORLOP_CHAOS_SEED={seed}");
    let wanted = Wanted { name, nodes: 2, proxy_mode: mode, overlay: "vxlan", publish: None };
    let cluster = Cluster::up(wanted).unwrap();
    for node in [1, 2] {
        // A node where the mode does not work has fallen back to another.
        eventually("the proxy", Duration::from_secs(10), || {
            let serving = cluster.on_node(node, &["curl", "-s", "http://127.0.0.1:10249/proxyMode"])?;
            Ok((serving.trim() == mode).then_some(()))
        })
        .unwrap();
    }
    cluster.kubectl_with(&["create"], PODS).unwrap();
    let servers = pods(&cluster, "server", PODS_WANTED).unwrap();
    let caller = pods(&cluster, "caller", 1).unwrap().remove(0);
    if mode == "ebpf" {
        // And each is free again as soon as its connection is closed.
        let ports = [("net/ipv4/ip_local_port_range", CALLER_PORTS), ("net/ipv4/tcp_max_tw_buckets", "0")];
        NetNs::open(&caller.netns).unwrap().sysctl(&ports).unwrap();
    }
    let serve = |pod: &Pod| Traffic::serve(&cluster, PROGRAM, Place::Pod(pod), &pod.ip, &PORTS).unwrap();
    let _serving: Vec<Traffic> = servers.iter().map(serve).collect();
    let objects = Objects::of(&cluster).unwrap();
    let subjects: Vec<Subject> = (0..SERVICES).map(|n| subject(&objects, n, &servers)).collect();

    let places = [("node", Place::Node(1)), ("pod", Place::Pod(&caller)), ("outside", Place::Outside)];
    let mut callers: Vec<Traffic> =
        places.iter().map(|(_, place)| Traffic::call(&cluster, PROGRAM, *place).unwrap()).collect();
    let node_ip: IpAddr = cluster.node_ip(1).unwrap().into();
    for ((place, _), traffic) in places.iter().zip(&mut callers) {
        for subject in &subjects {
            let outside = *place == "outside";
            let to = if outside { SocketAddr::new(node_ip, subject.node_port) } else { subject.cluster_ip };
            eventually("the Service to be served", Duration::from_secs(10), || {
                Ok(traffic.once(Kind::TcpShort, to, 1)?.iter().all(|one| one.answer.is_ok()).then_some(()))
            })
            .unwrap();
            for (kind, rate) in [
                (Kind::TcpShort, 20),
                (Kind::UdpShort, 20),
                (Kind::TcpHeld, 5),
                (Kind::UdpConnected, 10),
                (Kind::TcpBulk, 5),
            ] {
                traffic.flow(&format!("{place}/{}/{}", kind.name(), subject.name), kind, to, rate).unwrap();
            }
            if !outside {
                let (name, to) = fleeting(subject.n);
                traffic.flow(&format!("{place}/tcp-short/{name}"), Kind::TcpShort, to, 8).unwrap();
            }
        }
    }
    let ledgers: Vec<Ledger> = std::thread::scope(|scope| {
        let (objects, servers) = (&objects, &servers);
        let change = |subject| scope.spawn(move || change(objects, subject, servers, seed, length));
        let writers: Vec<_> = subjects.iter().map(change).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    std::thread::sleep(GRACE + Duration::from_millis(500));
    let ledger = Ledger::of_all(ledgers);

    the_kernels_hold(&cluster, &subjects, &ledger);
    let (mut wrong, mut late, mut total) = (Vec::new(), Vec::new(), 0);
    for traffic in callers {
        let mut flows: BTreeMap<String, Vec<Exchange>> = BTreeMap::new();
        // Of those before it some may have ended late.
        for exchange in traffic.end().unwrap().into_iter().filter(|one| one.flow.contains('/')) {
            flows.entry(exchange.flow.clone()).or_default().push(exchange);
        }
        for exchanges in flows.values_mut() {
            exchanges.sort_by_key(|exchange| exchange.began);
            total += exchanges.len();
            wrong.extend(ledger.problems(exchanges, BUSY_GRACE));
            late.extend(ledger.problems(exchanges, GRACE));
        }
    }
    let shown = |list: &[String]| list[..list.len().min(40)].join("\n");
    if !wrong.is_empty() {
        let known = what_is_known_of(&cluster, &subjects, &wrong);
        panic!("{} of {total} exchanges:\n{}\n{known}\n{}", wrong.len(), shown(&wrong), cluster.logs());
    }
    assert!(late.len() * 1000 <= total, "{} of {total} exchanges were late:\n{}", late.len(), shown(&late));
    let rate = f64::from(u32::try_from(ledger.changes).unwrap()) / length.as_secs_f64();
    assert!(rate > f64::from(CHANGES_PER_SECOND) * 0.7, "only {rate:.0} changes a second were made");
    let (changes, late) = (ledger.changes, late.len());
    println!("{changes} changes ({rate:.0} a second), {total} exchanges of which {late} were late, in {mode} mode");
}

fn subject(objects: &Objects, n: usize, servers: &[Pod]) -> Subject {
    let name = format!("subject-{n}");
    let node_port = FIRST_NODE_PORT + u16::try_from(n).unwrap();
    let ports = ["TCP", "UDP"].map(|protocol| {
        json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": PORTS[0], "nodePort": node_port})
    });
    let service = objects.apply(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"type": "NodePort", "ports": ports},
    }));
    let cluster_ip = service.unwrap()["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    for port in PORTS {
        let present = if port == PORTS[0] { vec![endpoint(stays(n, servers), true)] } else { Vec::new() };
        objects.apply(&slice(&format!("{name}-{port}"), &name, port, &present)).unwrap();
    }
    Subject { n, name, cluster_ip: SocketAddr::new(cluster_ip, PORTS[0]), node_port }
}

/// The pod whose first server is an endpoint all the time.
fn stays(n: usize, servers: &[Pod]) -> &Pod {
    &servers[n % servers.len()]
}

fn endpoint(pod: &Pod, ready: bool) -> Value {
    json!({"addresses": [pod.ip], "nodeName": format!("node{}", pod.node), "conditions": {"ready": ready}})
}

/// Changes a Service until time is up, and says what was so when.
fn change(objects: &Objects, subject: &Subject, servers: &[Pod], seed: u64, length: Duration) -> Ledger {
    let mut random = Random(seed ^ (subject.n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut ledger = Ledger::default();
    let mut slices: BTreeMap<u16, BTreeMap<&str, bool>> =
        PORTS.into_iter().map(|port| (port, BTreeMap::new())).collect();
    let always = (PORTS[0], stays(subject.n, servers).ip.as_str());
    slices.entry(always.0).or_default().insert(always.1, true);
    ledger.comes(&subject.name, &server(always.1, always.0), Duration::ZERO);
    let (other, address) = fleeting(subject.n);
    let mut other_is_there = false;
    let period = Duration::from_secs(1) * u32::try_from(SERVICES).unwrap() / CHANGES_PER_SECOND;
    let (end, mut due) = (Instant::now() + length, Instant::now());
    while Instant::now() < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += period;
        ledger.changes += 1;
        if random.below(40) == 0 {
            if other_is_there {
                ledger.leaves(&other, now());
                objects.delete_service(&other).unwrap();
                ledger.left(&other, now());
            } else {
                ledger.begins(&other, now());
                create_fleeting(objects, &other, address, servers);
                ledger.began(&other, now());
            }
            other_is_there = !other_is_there;
            continue;
        }
        let port = PORTS[random.below(PORTS.len())];
        let pod = &servers[random.below(servers.len())];
        if (port, pod.ip.as_str()) == always {
            continue;
        }
        let members = slices.entry(port).or_default();
        let was = members.get(pod.ip.as_str()) == Some(&true);
        // Away in one of two ways, or there.
        let will = match random.below(4) {
            0 => None,
            1 => Some(false),
            _ => Some(true),
        };
        match will {
            None => members.remove(pod.ip.as_str()),
            Some(ready) => members.insert(&pod.ip, ready),
        };
        let of = |ip: &str| servers.iter().find(|pod| pod.ip == ip).unwrap();
        let list: Vec<Value> = members.iter().map(|(ip, ready)| endpoint(of(ip), *ready)).collect();
        let name = server(&pod.ip, port);
        let is = will == Some(true);
        if is && !was {
            ledger.comes(&subject.name, &name, now());
        }
        objects.apply(&slice(&format!("{}-{port}", subject.name), &subject.name, port, &list)).unwrap();
        if was && !is {
            ledger.goes(&subject.name, &name, now());
        }
    }
    ledger
}

fn create_fleeting(objects: &Objects, name: &str, address: SocketAddr, servers: &[Pod]) {
    objects
        .apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"clusterIP": address.ip(), "ports": [{"name": "tcp", "port": PORTS[0]}]},
        }))
        .unwrap();
    let all: Vec<Value> = servers.iter().map(|pod| endpoint(pod, true)).collect();
    objects.apply(&slice(&format!("{name}-1"), name, PORTS[0], &all)).unwrap();
}

fn server(ip: &str, port: u16) -> String {
    format!("{ip}:{port}")
}

/// Each node's agent reads its kernel back: it holds the endpoints that the ledger knows, and nothing that its plan does not want.
fn the_kernels_hold(cluster: &Cluster, subjects: &[Subject], ledger: &Ledger) {
    for node in [1, 2] {
        let node_ip: IpAddr = cluster.node_ip(node).unwrap().into();
        for subject in subjects {
            let wanted = ledger.present(&subject.name);
            for to in [subject.cluster_ip, SocketAddr::new(node_ip, subject.node_port)] {
                for protocol in ["TCP", "UDP"] {
                    let url = format!("http://127.0.0.1:10249/explain?to={to}/{protocol}&from=node");
                    let text = cluster.on_node(node, &["curl", "-s", &url]).unwrap();
                    let held = text.lines().find_map(|line| line.strip_prefix("The kernel (")?.split_once(": "));
                    let held: BTreeSet<&str> = held.map(|(_, list)| list.split(", ").collect()).unwrap_or_default();
                    assert_eq!(
                        held, wanted,
                        "node{node}, {}: the kernel and the API server differ\n{text}",
                        subject.name
                    );
                    assert!(!text.contains("DRIFT") && text.contains("No drift"), "node{node}: {text}");
                }
            }
        }
    }
}

/// What every node's agent finds in its kernel of the connections in these texts: of each as it was made, and of any that another
/// Service's connection left between the same ends.
fn what_is_known_of(cluster: &Cluster, subjects: &[Subject], problems: &[String]) -> String {
    let mut text = String::new();
    let clients: BTreeSet<SocketAddr> = problems.iter().filter_map(|problem| own_address(problem)).take(10).collect();
    let services: Vec<_> = subjects.iter().flat_map(|subject| [subject.cluster_ip, fleeting(subject.n).1]).collect();
    for client in clients {
        for (node, to) in [1, 2].into_iter().flat_map(|node| services.iter().map(move |to| (node, to))) {
            let url = format!("http://127.0.0.1:10249/explain?to={to}/TCP&from=pod&flow={client}");
            let story = cluster.on_node(node, &["curl", "-s", &url]).unwrap_or_else(|error| format!("{error:#}"));
            if story.contains("goes to") {
                text += &format!("--- node{node}\n{story}\n");
            }
        }
    }
    text
}

/// `... [10.244.0.5:40000 to ...]`
fn own_address(problem: &str) -> Option<SocketAddr> {
    problem.split_once('[')?.1.split(' ').next()?.parse().ok()
}

/// xorshift64*: good enough to choose changes, and the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}
