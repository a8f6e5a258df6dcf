//! A Node whose addresses change while its proxy runs: NodePorts, health checks and source addresses follow, and connections that
//! have no part in it go on.

#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use orlop_chaos::Ground as _;
use orlop_chaos::{Bed, BedPod, Kind, Place, Traffic};
use orlop_conformance::{eventually, stdout};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_orlop-traffic");
const KINDS: [Kind; 3] = [Kind::TcpShort, Kind::UdpShort, Kind::SctpShort];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const PORT: u16 = 7000;
const NODE_PORT: u16 = 30_100;
const HEALTH_PORT: u16 = 31_100;
const CLUSTER_IPS: [&str; 2] = ["10.96.7.10", "fd00:96::10"];
const NEW: [&str; 2] = ["172.31.0.21", "fd00:31::21"];
/// An address that the plan knows but the device does not have yet is tried again after five seconds.
const SOON: Duration = Duration::from_secs(8);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn nftables_follows_a_node_to_its_new_addresses() {
    follows("address-n", "nftables");
}

#[test]
fn ebpf_follows_a_node_to_its_new_addresses() {
    follows("address-e", "ebpf");
}

fn follows(name: &str, mode: &'static str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let bed = Bed::new(name, mode).unwrap();
    let [caller, here, there] = ["caller", "here", "there"].map(|name| bed.pod(name).unwrap());
    let _serving = Traffic::serve(&bed, PROGRAM, Place::Pod(&there.pod), "there", &[PORT]).unwrap();
    write_service(&bed, "web", "Cluster", there);
    write_service(&bed, "local", "Local", here);
    let [old, new] = [Bed::node(1), NEW.map(|ip| ip.parse::<IpAddr>().unwrap())];
    let mut callers = [Place::Node(1), Place::Outside].map(|place| Traffic::call(&bed, PROGRAM, place).unwrap());
    serves_at(&bed, &mut callers, old);

    let mut held = Traffic::call(&bed, PROGRAM, Place::Pod(&caller.pod)).unwrap();
    for ip in CLUSTER_IPS {
        held.flow(&format!("held-{ip}"), Kind::TcpHeld, SocketAddr::new(ip.parse().unwrap(), PORT), 20).unwrap();
        held.flow(&format!("bulk-{ip}"), Kind::TcpBulk, SocketAddr::new(ip.parse().unwrap(), PORT), 20).unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    for (network, family) in ["24", "64"].into_iter().zip(0..) {
        bed.ip("node1", &format!("addr add {}/{network} dev eth0{}", new[family], ["", " nodad"][family])).unwrap();
        let pods = ["10.245.1.0/24", "fd00:245:1::/64"][family];
        bed.ip("node2", &format!("route replace {pods} via {}", new[family])).unwrap();
    }
    bed.set_node(1, &new).unwrap();
    for (network, family) in ["24", "64"].into_iter().zip(0..) {
        bed.ip("node1", &format!("addr del {}/{network} dev eth0", old[family])).unwrap();
    }
    serves_at(&bed, &mut callers, new);
    let exchanges = held.end().unwrap();
    let broken: Vec<_> = exchanges.iter().filter(|one| one.answer.is_err()).collect();
    assert!(broken.is_empty() && exchanges.len() > 40, "{} exchanges, {broken:?}\n{}", exchanges.len(), bed.logs());
}

/// The NodePort answers there, its server sees the node there, and so does a load balancer.
fn serves_at(bed: &Bed, callers: &mut [Traffic; 2], node: [IpAddr; 2]) {
    for (node, kind) in node.into_iter().flat_map(|node| KINDS.map(|kind| (node, kind))) {
        let to = SocketAddr::new(node, NODE_PORT);
        for (from, caller) in ["the node", "outside"].into_iter().zip(&mut *callers) {
            let what = format!("{} {to} from {from}", kind.name());
            let served = eventually(&what, SOON, || {
                let answers = caller.once(kind, to, 1)?;
                Ok(answers[0].answer.is_ok().then_some(()))
            });
            served.unwrap_or_else(|error| panic!("{error:#}\n{}", bed.logs()));
            for exchange in caller.once(kind, to, 5).unwrap() {
                let (server, seen) = exchange.answer.clone().unwrap_or_else(|error| panic!("{what}: {error}"));
                let seen: SocketAddr = seen.parse().unwrap();
                assert_eq!((server.as_str(), seen.ip()), ("there:7000", node), "{what}\n{}", bed.logs());
                // A port that somebody might call the node at is nobody's source.
                assert!(!(30_000..=32_767).contains(&seen.port()), "{what}: from {seen}");
            }
        }
    }
    for node in node {
        let url = format!("http://{}/", SocketAddr::new(node, HEALTH_PORT));
        let answer = eventually(&format!("{url} to answer"), SOON, || {
            stdout(&mut bed.command(None, &["curl", "-s", "-g", "-m", "2", &url])).map(Some)
        });
        let answer = answer.unwrap_or_else(|error| panic!("{error:#}\n{}", bed.logs()));
        assert!(answer.contains(r#""localEndpoints": 1"#), "{answer}");
    }
}

fn write_service(bed: &Bed, name: &str, policy: &str, server: &BedPod) {
    let local = policy == "Local";
    let offset = u16::from(local);
    let ports = PROTOCOLS.map(|protocol| {
        json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": PORT, "nodePort": NODE_PORT + offset})
    });
    let cluster_ips = if local { ["10.96.7.11", "fd00:96::11"] } else { CLUSTER_IPS };
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer", "externalTrafficPolicy": policy, "ports": ports,
            "clusterIP": cluster_ips[0], "clusterIPs": cluster_ips,
            "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"],
        },
    });
    if local {
        service["spec"]["healthCheckNodePort"] = json!(HEALTH_PORT);
    }
    bed.api.apply(service).unwrap();
    for (family, address) in ["IPv4", "IPv6"].into_iter().zip(server.addresses) {
        let ports = PROTOCOLS.map(|name| json!({"name": name.to_lowercase(), "protocol": name, "port": PORT}));
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family, "ports": ports,
            "metadata": {
                "name": format!("{name}-{}", family.to_lowercase()), "labels": {"kubernetes.io/service-name": name},
            },
            "endpoints": [{
                "addresses": [address], "nodeName": format!("node{}", server.pod.node), "conditions": {"ready": true},
            }],
        });
        bed.api.apply(slice).unwrap();
    }
}
