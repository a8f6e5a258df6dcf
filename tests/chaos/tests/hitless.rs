//! Nobody notices the agents: while they are killed, restarted, upgraded and switched between nftables and eBPF, with endpoints and Services
//! changing as they are away, no flow is reset, waits longer than a second, or changes its server.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop_chaos::{Exchange, Kind, Objects, PODS, Place, Traffic, another_build, now, pods, slice};
use orlop_conformance::{Cluster, Wanted, eventually};
use orlop_netns::NetNs;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_orlop-traffic");
/// The longest that any exchange may take, and a removed endpoint may be met by somebody new.
const STALL: Duration = Duration::from_secs(1);
/// Events in each test, or `ORLOP_CHAOS_EVENTS`; the tests together see every kind at least twenty times.
const EVENTS: usize = 20;
const SERVERS: usize = 4;
const NODE_PORT: u16 = 30070;
/// The port of the servers that stay, and of the one that comes and goes.
const STAYS: u16 = 7000;
const GOES: u16 = 7001;

#[test]
fn nftables_agents_come_and_go_unnoticed() {
    let mut bed = Bed::up("hitless-n", "nftables");
    bed.agents_come_and_go(events());
    bed.judge();
}

#[test]
fn ebpf_agents_come_and_go_unnoticed() {
    let mut bed = Bed::up("hitless-e", "ebpf");
    bed.agents_come_and_go(events());
    bed.judge();
}

/// Endpoints' nodes answer clients themselves, and drivers pass established connections on.
#[test]
fn ebpf_agents_come_and_go_unnoticed_with_direct_server_return_and_xdp() {
    let flags = &["--ebpf-forwarding", "dsr", "--ebpf-xdp", "native"];
    let mut bed = Bed::up_with("hitless-d", "ebpf", "host-gw", flags);
    bed.agents_come_and_go(events() / 2);
    bed.judge();
}

#[test]
fn a_switch_between_nftables_and_ebpf_is_unnoticed() {
    let mut bed = Bed::up("hitless-s", "nftables");
    bed.switches();
    bed.judge();
}

#[test]
fn an_upgrade_in_nftables_mode_is_unnoticed() {
    let mut bed = Bed::up("hitless-un", "nftables");
    bed.upgrades();
    bed.judge();
}

#[test]
fn an_upgrade_in_ebpf_mode_is_unnoticed() {
    let mut bed = Bed::up("hitless-ue", "ebpf");
    bed.upgrades();
    bed.judge();
}

#[test]
fn a_client_may_use_its_port_again() {
    let wanted = Wanted { name: "hitless-p", nodes: 2, proxy_mode: "ebpf", overlay: "vxlan", publish: None };
    let cluster = Cluster::up(wanted).unwrap();
    cluster.kubectl_with(&["create"], PODS).unwrap();
    let endpoints: Vec<Value> =
        pods(&cluster, "server", SERVERS).unwrap().iter().map(|pod| json!({"addresses": [pod.ip]})).collect();
    let objects = Objects::of(&cluster).unwrap();
    objects.apply(&slice("web-1", "web", 8080, &endpoints)).unwrap();
    objects.apply(&service("web", json!({"type": "NodePort"}), NODE_PORT)).unwrap();
    let url = format!("http://{}/hostname", cluster.node_port(1, NODE_PORT).unwrap());
    eventually("the Service to answer", Duration::from_secs(5), || {
        Ok(cluster.outside(&["curl", "-s", "-m", "1", &url]).is_ok().then_some(()))
    })
    .unwrap();
    // Whoever closes first, the client's own kernel lets it have the port at once.
    let outside = NetNs::open(&cluster.netns("outside")).unwrap();
    outside.sysctl(&[("net/ipv4/tcp_max_tw_buckets", "0")]).unwrap();
    let call = |port: u16| {
        let port = port.to_string();
        let close = "Connection: close";
        cluster.outside(&["curl", "-sS", "-m", "4", "-H", close, "--local-port", &port, &url]).map(drop)
    };
    (20_000..20_005).for_each(|port| call(port).unwrap());
    // Longer than any part of the proxy takes a closed connection for one that may still speak.
    std::thread::sleep(Duration::from_secs(12));
    (20_000..20_005).for_each(|port| call(port).unwrap());
}

fn events() -> usize {
    std::env::var("ORLOP_CHAOS_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(EVENTS)
}

/// A cluster, its servers and its callers.
struct Bed {
    // Callers and servers end before their cluster.
    callers: Vec<(&'static str, Traffic)>,
    probe: Traffic,
    _servers: Vec<Traffic>,
    objects: Objects,
    cluster: Cluster,
    endpoint: Vec<Value>,
    /// What was done when.
    events: Vec<(Duration, String)>,
    /// From when to when the server that comes and goes must be met by nobody new.
    gone: Vec<(Duration, Duration)>,
}

impl Bed {
    fn up(name: &'static str, proxy_mode: &'static str) -> Self {
        Self::up_with(name, proxy_mode, "vxlan", &[])
    }

    fn up_with(
        name: &'static str,
        proxy_mode: &'static str,
        overlay: &'static str,
        flags: &'static [&'static str],
    ) -> Self {
        let wanted = Wanted { name, nodes: 2, proxy_mode, overlay, publish: None };
        let cluster = Cluster::up_with(wanted, flags).unwrap();
        cluster.kubectl_with(&["create"], PODS).unwrap();
        let servers = pods(&cluster, "server", SERVERS).unwrap();
        let caller = pods(&cluster, "caller", 1).unwrap().remove(0);
        let serve = |(name, pod)| Traffic::serve(&cluster, PROGRAM, Place::Pod(pod), name, &[STAYS, GOES]).unwrap();
        let serving: Vec<Traffic> = ["a", "b", "c", "d"].into_iter().zip(&servers).map(serve).collect();
        let endpoint: Vec<Value> =
            servers.iter().map(|pod| json!({"addresses": [pod.ip], "nodeName": format!("node{}", pod.node)})).collect();

        let objects = Objects::of(&cluster).unwrap();
        objects.apply(&slice("echo-stays", "echo", STAYS, &endpoint)).unwrap();
        let echo = objects.apply(&service("echo", json!({"type": "NodePort"}), NODE_PORT)).unwrap();
        let cluster_ip = SocketAddr::new(echo["spec"]["clusterIP"].as_str().unwrap().parse().unwrap(), STAYS);
        let node_ports = [1, 2].map(|node| cluster.node_port(node, NODE_PORT).unwrap());
        let mut probe = Traffic::call(&cluster, PROGRAM, Place::Node(1)).unwrap();
        answers(&mut probe, cluster_ip);

        let mut callers = Vec::new();
        for (name, place, to) in [
            ("node", Place::Node(1), cluster_ip),
            ("pod", Place::Pod(&caller), cluster_ip),
            ("outside", Place::Outside, node_ports[0]),
            ("outside-node2", Place::Outside, node_ports[1]),
        ] {
            let mut traffic = Traffic::call(&cluster, PROGRAM, place).unwrap();
            let mut flow = |kind: Kind, n: u32, rate| {
                traffic.flow(&format!("{name}/{}/{n}", kind.name()), kind, to, rate).unwrap();
            };
            flow(Kind::TcpShort, 1, 50);
            flow(Kind::UdpShort, 1, 10);
            flow(Kind::TcpBulk, 1, 30);
            for n in 1..=3 {
                flow(Kind::TcpHeld, n, 10);
                flow(Kind::UdpConnected, n, 10);
                flow(Kind::UdpUnconnected, n, 10);
            }
            callers.push((name, traffic));
        }
        std::thread::sleep(Duration::from_secs(2));
        let (events, gone) = (vec![(now(), "everything began".into())], vec![(Duration::ZERO, now())]);
        Self { callers, probe, _servers: serving, objects, cluster, endpoint, events, gone }
    }

    fn note(&mut self, event: impl Into<String>) {
        self.events.push((now(), event.into()));
    }

    /// Kills, restarts and stops for a while in turn; what changes meanwhile is served afterwards.
    fn agents_come_and_go(&mut self, events: usize) {
        for n in 1..=events {
            if n % 2 == 1 {
                self.note(format!("kill -9 of both agents (event {n})"));
                (1..=2).for_each(|node| self.cluster.kill(&format!("/node{node}/node")).unwrap());
            } else {
                self.note(format!("SIGTERM to both agents (event {n})"));
                (1..=2).for_each(|node| self.terminate(node));
            }
            let change = self.change(n);
            self.cluster.again().unwrap();
            self.note(format!("`up` again after event {n}"));
            self.settle(n, change);
        }
    }

    fn switches(&mut self) {
        for n in 1..=events() {
            let mode = if n % 2 == 1 { "ebpf" } else { "nftables" };
            self.note(format!("switching to {mode} (event {n})"));
            let change = self.change(n);
            self.cluster.switch(mode).unwrap();
            self.note(format!("switched to {mode} (event {n})"));
            for node in [1, 2] {
                let told = self.cluster.on_node(node, &["curl", "-s", "http://127.0.0.1:10249/proxyMode"]).unwrap();
                assert_eq!(told.trim(), mode, "node{node} fell back\n{}", self.cluster.logs());
            }
            self.settle(n, change);
        }
    }

    /// Each time `up` is called by another build, and every agent becomes one of its: by turns one that differs in its build
    /// identifier alone, one with other eBPF programs, and the first again.
    fn upgrades(&mut self) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.cluster.name());
        std::fs::create_dir_all(&folder).unwrap();
        let first = self.cluster.binary().to_owned();
        let [same, other] = [("same", false), ("other", true)].map(|(name, programs)| {
            let path = folder.join(name);
            another_build(&first, &path, programs).unwrap();
            path
        });
        let builds = [("with the same programs", same), ("with other programs", other), ("the first", first.clone())];
        let mut present = self.programs();
        // Half of them in each mode.
        for n in 1..=events() / 2 {
            let (name, build) = &builds[(n - 1) % builds.len()];
            self.note(format!("upgrading to the build {name} (event {n})"));
            let change = self.change(n);
            self.cluster.upgrade(build.clone()).unwrap();
            self.note(format!("upgraded to the build {name} (event {n})"));
            self.settle(n, change);
            let before = std::mem::replace(&mut present, self.programs());
            let kept = before.is_empty() || *name == "with the same programs";
            assert_eq!(before == present, kept, "event {n}, {name}: {before:?} became {present:?}");
        }
        self.cluster.upgrade(first).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// The eBPF programs that the nodes' agents have pinned, by their inodes: a new program is a new file.
    fn programs(&self) -> BTreeSet<(PathBuf, u64)> {
        let inside = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
        let nodes = inside(PathBuf::from(format!("/run/orlop/{}/bpf", self.cluster.name())));
        let pins = nodes.flat_map(inside).flat_map(|abi| inside(abi.join("programs")));
        pins.map(|pin| (pin.clone(), std::fs::metadata(pin).unwrap().ino())).collect()
    }

    fn terminate(&self, node: u32) {
        let group = format!("/run/orlop/{0}/cgroup/orlop-{0}/node{node}/node", self.cluster.name());
        let processes = std::fs::read_to_string(format!("{group}/cgroup.procs")).unwrap();
        for pid in processes.lines() {
            orlop_conformance::stdout(std::process::Command::new("kill").args(["-TERM", pid])).unwrap();
        }
        eventually("the agent to end", Duration::from_secs(10), || {
            Ok(std::fs::read_to_string(format!("{group}/cgroup.events"))?.contains("populated 0").then_some(()))
        })
        .unwrap();
    }

    /// Changes the Service under traffic, and others: at odd times the endpoint that comes and goes comes, at even ones it goes.
    /// Says the address of a Service that is new.
    fn change(&mut self, n: usize) -> Option<SocketAddr> {
        let comes = n % 2 == 1;
        if comes {
            self.gone.last_mut().unwrap().1 = now();
        }
        let endpoints = if comes { &self.endpoint[n / 2 % SERVERS..][..1] } else { &[] };
        self.objects.apply(&slice("echo-goes", "echo", GOES, endpoints)).unwrap();
        if !comes {
            self.objects.delete_service("other").unwrap();
            return None;
        }
        self.objects.apply(&slice("other-1", "other", STAYS, &self.endpoint)).unwrap();
        let other = self.objects.apply(&service("other", json!({}), 0)).unwrap();
        Some(SocketAddr::new(other["spec"]["clusterIP"].as_str().unwrap().parse().unwrap(), STAYS))
    }

    /// What changed is served.
    fn settle(&mut self, n: usize, new: Option<SocketAddr>) {
        match new {
            Some(address) => answers(&mut self.probe, address),
            None => self.gone.push((now() + STALL, Duration::MAX)),
        }
        std::thread::sleep(Duration::from_millis(if n.is_multiple_of(5) { 1500 } else { 200 }));
    }

    /// Ends the callers and finds whatever any of them noticed.
    fn judge(self) {
        let (mut noticed, mut total, mut met) = (Vec::new(), 0, 0);
        for (name, traffic) in self.callers {
            let mut flows: BTreeMap<String, Vec<Exchange>> = BTreeMap::new();
            for exchange in traffic.end().unwrap() {
                flows.entry(exchange.flow.clone()).or_default().push(exchange);
            }
            assert_eq!(flows.len(), 12, "{name}: not every flow spoke: {:?}", flows.keys());
            for exchanges in flows.values_mut() {
                exchanges.sort_by_key(|exchange| exchange.began);
                assert!(exchanges.len() > 100, "{}: only {} exchanges", exchanges[0].flow, exchanges.len());
                total += exchanges.len();
                met += exchanges.iter().filter(|exchange| exchange.server().is_some_and(goes)).count();
                noticed.extend(problems(exchanges, &self.gone));
            }
        }
        noticed.sort();
        let after = |at: &Duration| {
            let last = self.events.iter().rev().find(|(when, _)| when <= at);
            last.map_or("before everything".into(), |(when, event)| format!("{:?} after: {event}", *at - *when))
        };
        let lines: Vec<String> = noticed.iter().map(|(at, text)| format!("{at:?} {text}; {}", after(at))).collect();
        assert!(
            lines.is_empty(),
            "{} of {total} exchanges noticed something:\n{}\n{}",
            lines.len(),
            lines[..lines.len().min(40)].join("\n"),
            self.cluster.logs()
        );
        assert!(met > 20, "the endpoint that comes and goes was met only {met} times");
        let took = self.events.last().unwrap().0 - self.events[0].0;
        println!("{took:?}, {total} exchanges, {met} with the endpoint that comes and goes");
    }
}

/// A Service without selector, TCP and UDP.
fn service(name: &str, mut spec: Value, node_port: u16) -> Value {
    let mut ports =
        json!([{"name": "tcp", "protocol": "TCP", "port": STAYS}, {"name": "udp", "protocol": "UDP", "port": STAYS}]);
    if node_port > 0 {
        ports.as_array_mut().unwrap().iter_mut().for_each(|port| port["nodePort"] = node_port.into());
    }
    spec["ports"] = ports;
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn goes(server: &str) -> bool {
    server.ends_with(&format!(":{GOES}"))
}

/// Waits until an address answers.
fn answers(probe: &mut Traffic, address: SocketAddr) {
    eventually(&format!("{address} to answer"), Duration::from_secs(5), || {
        Ok(probe.once(Kind::TcpShort, address, 1)?.iter().all(|exchange| exchange.answer.is_ok()).then_some(()))
    })
    .unwrap();
}

/// What the callers of one flow noticed, and when.
fn problems(exchanges: &[Exchange], gone: &[(Duration, Duration)]) -> Vec<(Duration, String)> {
    let lasts = exchanges[0].flow.split('/').nth(1).unwrap().parse::<Kind>().unwrap().lasts();
    let mut noticed = Vec::new();
    let mut before: Option<&Exchange> = None;
    for exchange in exchanges {
        let flow = &exchange.flow;
        let mut tell = |text: String| noticed.push((exchange.ended, text));
        match &exchange.answer {
            Err(error) => tell(format!("{flow}: {error}")),
            Ok(_) if exchange.took() > STALL => tell(format!("{flow}: stalled for {:?}", exchange.took())),
            Ok((server, _)) if !lasts && goes(server) => {
                if gone.iter().any(|(from, to)| exchange.began > *from && exchange.ended < *to) {
                    tell(format!("{flow}: met {server}, which is no endpoint any more"));
                }
            }
            Ok((server, _)) => {
                let other = before.and_then(Exchange::server).filter(|before| lasts && before != server);
                if let Some(other) = other {
                    tell(format!("{flow}: changed from {other} to {server}"));
                }
            }
        }
        if let Some(before) = before.filter(|before| lasts && exchange.began.saturating_sub(before.ended) > STALL) {
            tell(format!("{flow}: silent for {:?}", exchange.began - before.ended));
        }
        before = Some(exchange);
    }
    noticed
}
