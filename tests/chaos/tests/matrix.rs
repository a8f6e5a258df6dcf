//! Every policy, state of endpoints, caller and protocol with real packets, in both modes: `matrix/table.txt` says what must come of it.
//!
//! The test bed has no IPv6, so every cell is one of IPv4.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use orlop_chaos::{Exchange, Kind, Objects, Place, Pod, Traffic, pods, slice};
use orlop_conformance::{Cluster, Wanted, eventually};
use orlop_netns::NetNs;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_orlop-traffic");
const TABLE: &str = include_str!("matrix/table.txt");
const ORIGINS: [&str; 3] = ["node", "pod", "outside"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
const PORT: u16 = 7000;
const FIRST_NODE_PORT: u16 = 30100;
/// Tries of a cell: of two servers each answers once, but for one time in 4 million.
const TRIES: usize = 23;

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: here, labels: {app: server}}
spec:
  nodeName: node1
  containers: [{name: web, image: 'localhost/orlop/web:v1'}]
---
apiVersion: v1
kind: Pod
metadata: {name: there, labels: {app: server}}
spec:
  nodeName: node2
  containers: [{name: web, image: 'localhost/orlop/web:v1'}]
---
apiVersion: v1
kind: Pod
metadata: {name: caller, labels: {app: caller}}
spec:
  nodeName: node1
  containers: [{name: web, image: 'localhost/orlop/web:v1'}]
";

#[test]
fn nftables_does_what_the_table_says() {
    matrix("matrix-n", "nftables");
}

#[test]
fn ebpf_does_what_the_table_says() {
    matrix("matrix-e", "ebpf");
}

/// A row of the table.
struct Row {
    frontend: &'static str,
    policy: &'static str,
    endpoints: &'static str,
    /// By [`ORIGINS`].
    cells: [&'static str; 3],
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let row = |line: &'static str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [frontend, policy, endpoints, node, pod, outside] = words[..] else { panic!("{line:?} has six words") };
        Row { frontend, policy, endpoints, cells: [node, pod, outside] }
    };
    lines.map(row).collect()
}

/// A Service for each state of endpoints under each pair of policies, and one for each special row.
struct Case {
    name: String,
    /// The only frontend that it is for.
    special: Option<&'static str>,
    internal: &'static str,
    external: &'static str,
    endpoints: &'static str,
    cluster_ip: SocketAddr,
    node_port: SocketAddr,
    load_balancer: SocketAddr,
    external_ip: SocketAddr,
}

/// Networks of load balancers' and external addresses, each of which the n-th Service has one in.
const LOAD_BALANCERS: [u8; 3] = [203, 0, 113];
const EXTERNAL_IPS: [u8; 3] = [198, 51, 100];
const SPECIAL: [&str; 3] = ["admitted", "denied", "proxy-mode"];

impl Case {
    /// What a row says something of, by name.
    fn addresses(&self, row: &Row) -> Vec<(&'static str, SocketAddr)> {
        let policy = if row.frontend == "cluster-ip" { self.internal } else { self.external };
        if row.policy != policy || row.endpoints != self.endpoints {
            return Vec::new();
        }
        let node_port = ("node-port", self.node_port);
        let load_balancer = ("load-balancer", self.load_balancer);
        match (row.frontend, self.special) {
            ("cluster-ip", None) => vec![("cluster-ip", self.cluster_ip)],
            ("external", None) if self.internal == "Local" => vec![node_port],
            ("external", None) => vec![node_port, load_balancer, ("external-ip", self.external_ip)],
            (frontend, Some(special)) if frontend == special => vec![load_balancer],
            _ => Vec::new(),
        }
    }
}

fn matrix(name: &'static str, mode: &'static str) {
    let wanted = Wanted { name, nodes: 2, proxy_mode: mode, overlay: "vxlan", publish: None };
    let cluster = Cluster::up(wanted).unwrap();
    for node in [1, 2] {
        let told = cluster.on_node(node, &["curl", "-s", "http://127.0.0.1:10249/proxyMode"]).unwrap();
        assert_eq!(told.trim(), mode, "node{node} fell back to another proxy mode\n{}", cluster.logs());
    }
    cluster.kubectl_with(&["create"], PODS).unwrap();
    let servers = pods(&cluster, "server", 2).unwrap();
    let caller = pods(&cluster, "caller", 1).unwrap().remove(0);
    let serve = |pod: &Pod| Traffic::serve(&cluster, PROGRAM, Place::Pod(pod), &pod.name, &[PORT]).unwrap();
    let _serving: Vec<Traffic> = servers.iter().map(serve).collect();
    let objects = Objects::of(&cluster).unwrap();
    let cases = cases(&cluster, &objects, &servers);
    let node = local_addresses(&cluster);
    // Otherwise the kernel tells one caller only of one refused datagram a second, and all of them of a thousand.
    NetNs::open(&cluster.netns("node1")).unwrap().sysctl(&[("net/ipv4/icmp_ratemask", "0")]).unwrap();
    let gateway = outside(&cluster).to_string();
    for [a, b, c] in [LOAD_BALANCERS, EXTERNAL_IPS] {
        let to =
            |gateway: &str| ["ip", "route", "replace", &format!("{a}.{b}.{c}.0/24"), "via", gateway].map(str::to_owned);
        let node_ip = cluster.node_ip(1).unwrap().to_string();
        cluster.outside(&to(&node_ip).each_ref().map(String::as_str)).unwrap();
        // A node has a way to wherever load balancers are: its default route.
        cluster.on_node(1, &to(&gateway).each_ref().map(String::as_str)).unwrap();
    }

    let places = [Place::Node(1), Place::Pod(&caller), Place::Outside];
    let mut callers = places.map(|place| Traffic::call(&cluster, PROGRAM, place).unwrap());
    the_last_is_served(&mut callers[0], cases.last().unwrap());

    let (rows, mut cells, mut wrong) = (rows(), 0, Vec::new());
    for (n, (origin, traffic)) in ORIGINS.into_iter().zip(&mut callers).enumerate() {
        let own: BTreeSet<IpAddr> = match origin {
            "pod" => [caller.ip.parse().unwrap()].into(),
            "outside" => outside_addresses(&cluster),
            _ => node.clone(),
        };
        let mut asked = Vec::new();
        for (row, case) in rows.iter().flat_map(|row| cases.iter().map(move |case| (row, case))) {
            let addresses = if row.cells[n] == "-" { Vec::new() } else { case.addresses(row) };
            for ((frontend, to), kind) in
                addresses.into_iter().flat_map(|to| [Kind::TcpShort, Kind::UdpShort].map(|kind| (to, kind)))
            {
                let tries = match row.cells[n] {
                    // Who waits for nothing waits three seconds.
                    "dropped" | "failure" => 2,
                    "refused" => 3,
                    _ => TRIES,
                };
                let key = format!("{frontend}/{}/{}", case.name, kind.name());
                asked.push((key, kind, to, tries, row.cells[n]));
            }
        }
        let answers =
            traffic.ask(asked.iter().map(|(key, kind, to, tries, _)| (key.as_str(), *kind, *to, *tries))).unwrap();
        for (key, kind, to, _, expected) in &asked {
            let exchanges: Vec<&Exchange> = answers.iter().filter(|exchange| exchange.flow == *key).collect();
            cells += 1;
            if let Err(got) = judge(expected, &exchanges, &own, &node) {
                let protocol = if *kind == Kind::UdpShort { "UDP" } else { "TCP" };
                let url = format!("http://127.0.0.1:10249/explain?to={to}/{protocol}&from={origin}");
                let held = cluster.on_node(1, &["curl", "-s", "-m", "5", &url]).unwrap_or_default();
                wrong.push(format!("{key} from {origin}: expected {expected}, got {got}; node1 says now:\n{held}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cells} cells:\n{}\n{}", wrong.len(), wrong.join("\n"), cluster.logs());
    let [inside, outside, special] = [16 * 2 * 2, 16 * 3 * (2 + 1 + 1), SPECIAL.len()];
    assert_eq!(cells, (inside + outside + special) * 2, "the table is whole");
    println!("{cells} cells in {mode} mode");
}

fn cases(cluster: &Cluster, objects: &Objects, servers: &[Pod]) -> Vec<Case> {
    let rows = rows();
    let states: BTreeSet<&str> = rows.iter().map(|row| row.endpoints).collect();
    let pairs = POLICIES.into_iter().flat_map(|internal| POLICIES.map(|external| (internal, external)));
    let ordinary =
        pairs.flat_map(|(internal, external)| states.iter().map(move |state| (None, internal, external, *state)));
    let special = SPECIAL.map(|special| (Some(special), "Cluster", "Cluster", "both"));
    let wanted = ordinary.chain(special).enumerate();
    wanted
        .map(|(n, (special, internal, external, endpoints))| {
            let name = match special {
                Some(special) => special.to_owned(),
                None => format!("{}-{}-{endpoints}", internal.to_lowercase(), external.to_lowercase()),
            };
            let (node_port, n) = (FIRST_NODE_PORT + u16::try_from(n).unwrap(), u8::try_from(n + 10).unwrap());
            let at = |[a, b, c]: [u8; 3]| IpAddr::from([a, b, c, n]);
            let ports = ["TCP", "UDP"].map(|protocol| {
            json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": PORT, "nodePort": node_port})
        });
            let mut spec = json!({
                "type": "LoadBalancer", "internalTrafficPolicy": internal, "externalTrafficPolicy": external,
                "externalIPs": [at(EXTERNAL_IPS)], "ports": ports,
            });
            match special {
                Some("admitted") => spec["loadBalancerSourceRanges"] = json!([format!("{}/32", outside(cluster))]),
                Some("denied") => spec["loadBalancerSourceRanges"] = json!(["192.0.2.0/24"]),
                _ => {}
            }
            if external == "Local" {
                spec["healthCheckNodePort"] = json!(node_port + 1000);
            }
            let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
            let cluster_ip: IpAddr =
                objects.apply(&service).unwrap()["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
            let ip_mode = if special == Some("proxy-mode") { "Proxy" } else { "VIP" };
            objects.set_ingress(&name, &json!({"ip": at(LOAD_BALANCERS), "ipMode": ip_mode})).unwrap();
            let list = state(endpoints, servers);
            if !list.is_empty() {
                objects.apply(&slice(&name, &name, PORT, &list)).unwrap();
            }
            Case {
                name,
                special,
                internal,
                external,
                endpoints,
                cluster_ip: SocketAddr::new(cluster_ip, PORT),
                node_port: SocketAddr::new(cluster.node_ip(1).unwrap().into(), node_port),
                load_balancer: SocketAddr::new(at(LOAD_BALANCERS), PORT),
                external_ip: SocketAddr::new(at(EXTERNAL_IPS), PORT),
            }
        })
        .collect()
}

/// The endpoints of a state: `(ready, serving, terminating)` here and there.
fn state(name: &str, servers: &[Pod]) -> Vec<Value> {
    const READY: (bool, bool, bool) = (true, true, false);
    const LEAVING: (bool, bool, bool) = (false, true, true);
    let [here, there] = match name {
        "both" => [Some(READY), Some(READY)],
        "only-here" => [Some(READY), None],
        "only-there" => [None, Some(READY)],
        "leaving" => [Some(LEAVING), Some(LEAVING)],
        "leaving-here" => [Some(LEAVING), Some(READY)],
        "leaving-there" => [None, Some(LEAVING)],
        "none-ready" => [Some((false, false, false)), Some((false, false, true))],
        "empty" => [None, None],
        other => panic!("nobody knows the state {other:?}"),
    };
    let endpoint = |(pod, conditions): (&Pod, Option<(bool, bool, bool)>)| {
        let (ready, serving, terminating) = conditions?;
        Some(json!({
            "addresses": [pod.ip], "nodeName": format!("node{}", pod.node),
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        }))
    };
    servers.iter().zip([here, there]).filter_map(endpoint).collect()
}

fn the_last_is_served(traffic: &mut Traffic, case: &Case) {
    eventually("the last Service to be served", Duration::from_secs(10), || {
        Ok(traffic.once(Kind::TcpShort, case.cluster_ip, 1)?.iter().all(|one| one.answer.is_ok()).then_some(()))
    })
    .unwrap();
    // The other node, and what is behind the last one that can be asked.
    std::thread::sleep(Duration::from_secs(1));
}

/// The addresses of the test bed that are local ones in a network namespace.
fn addresses_in(netns: &Path, candidates: &[IpAddr]) -> BTreeSet<IpAddr> {
    let local = |ip: &&IpAddr| UdpSocket::bind((**ip, 0)).is_ok();
    NetNs::open(netns).unwrap().run(|| candidates.iter().filter(local).copied().collect()).unwrap()
}

/// Node 1's: its InternalIP, and those of the overlay and the pods' gateway.
fn local_addresses(cluster: &Cluster) -> BTreeSet<IpAddr> {
    let pod_cidr = cluster.kubectl(&["get", "node", "node1", "-o", "jsonpath={.spec.podCIDR}"]).unwrap();
    let base = pod_cidr.rsplit_once('.').unwrap().0;
    let mut candidates: Vec<IpAddr> = (0..=255).map(|n| format!("{base}.{n}").parse().unwrap()).collect();
    candidates.push(cluster.node_ip(1).unwrap().into());
    addresses_in(&cluster.netns("node1"), &candidates)
}

/// The outside host's own.
fn outside(cluster: &Cluster) -> IpAddr {
    *outside_addresses(cluster).first().unwrap()
}

fn outside_addresses(cluster: &Cluster) -> BTreeSet<IpAddr> {
    let base: IpAddr = cluster.node_ip(1).unwrap().into();
    let base = base.to_string();
    let base = base.rsplit_once('.').unwrap().0.to_owned();
    let candidates: Vec<IpAddr> = (1..255).map(|n| format!("{base}.{n}").parse().unwrap()).collect();
    addresses_in(&cluster.netns("outside"), &candidates)
}

/// Whether a cell came true; if not, what happened.
fn judge(
    expected: &str,
    exchanges: &[&Exchange],
    own: &BTreeSet<IpAddr>,
    node: &BTreeSet<IpAddr>,
) -> Result<(), String> {
    let servers: BTreeSet<&str> = exchanges.iter().filter_map(|one| one.server()?.split(':').next()).collect();
    let failures: BTreeSet<String> = exchanges.iter().filter_map(|one| one.answer.clone().err()).collect();
    let sources: BTreeSet<IpAddr> = exchanges
        .iter()
        .filter_map(|one| one.answer.as_ref().ok()?.1.parse::<SocketAddr>().ok())
        .map(|address| address.ip())
        .collect();
    let (who, source) = expected.split_once('/').unwrap_or((expected, "any"));
    let expected_servers: &[&str] = match who {
        "each" => &["here", "there"],
        "here" => &["here"],
        "there" => &["there"],
        _ => &[],
    };
    let all_failed = |words: &[&str]| failures.iter().all(|failure| words.iter().any(|word| failure.contains(word)));
    let failed_well = match who {
        "refused" => !failures.is_empty() && all_failed(&["refused"]),
        "failure" => !failures.is_empty(),
        "dropped" => !failures.is_empty() && all_failed(&["timed out", "temporarily unavailable", "not permitted"]),
        _ => failures.is_empty(),
    };
    let seen_well = match source {
        "kept" => sources.is_subset(own),
        "node" => sources.is_subset(node),
        _ => true,
    };
    if servers.iter().eq(expected_servers) && failed_well && seen_well {
        return Ok(());
    }
    Err(format!("servers {servers:?} which saw {sources:?}, failures {failures:?}"))
}
