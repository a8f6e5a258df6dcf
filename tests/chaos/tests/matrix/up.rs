//! The table in a real cluster: IPv4, TCP and UDP.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

use orlop_chaos::{Kind, Objects, Place, Pod, Traffic, pods, slice};
use orlop_conformance::{Cluster, Wanted};
use orlop_netns::NetNs;

use crate::case::{Case, PORT, cases, networks, state};
use crate::walk::{World, serve, walk};

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

pub fn matrix(name: &'static str, mode: &'static str) {
    let wanted = Wanted { name, nodes: 2, proxy_mode: mode, overlay: "vxlan", publish: None };
    let cluster = Cluster::up(wanted).unwrap();
    for node in [1, 2] {
        let told = cluster.on_node(node, &["curl", "-s", "http://127.0.0.1:10249/proxyMode"]).unwrap();
        assert_eq!(told.trim(), mode, "node{node} fell back to another proxy mode\n{}", cluster.logs());
    }
    cluster.kubectl_with(&["create"], PODS).unwrap();
    let servers = pods(&cluster, "server", 2).unwrap();
    let caller = pods(&cluster, "caller", 1).unwrap().remove(0);
    let _serving: Vec<Traffic> = servers.iter().map(|pod| serve(&cluster, Place::Pod(pod), &pod.name)).collect();
    let objects = Objects::of(&cluster).unwrap();
    let cases = settled(&cluster, &objects, &servers);
    // Otherwise the kernel tells one caller only of one refused datagram a second, and all of them of a thousand.
    NetNs::open(&cluster.netns("node1")).unwrap().sysctl(&[("net/ipv4/icmp_ratemask", "0")]).unwrap();
    let gateway = outside(&cluster).to_string();
    for [network, _] in networks() {
        let to = |gateway: &str| ["ip", "route", "replace", &network, "via", gateway].map(str::to_owned);
        let node_ip = cluster.node_ip(1).unwrap().to_string();
        cluster.outside(&to(&node_ip).each_ref().map(String::as_str)).unwrap();
        // A node has a way to wherever load balancers are: its default route.
        cluster.on_node(1, &to(&gateway).each_ref().map(String::as_str)).unwrap();
    }
    let page = |page: &str| {
        let url = format!("http://127.0.0.1:10249{page}");
        cluster.on_node(1, &["curl", "-s", "-m", "5", &url]).unwrap_or_default()
    };
    let world = World {
        ground: &cluster,
        mode,
        kinds: &[Kind::TcpShort, Kind::UdpShort],
        // A node's NodePorts answer on its InternalIP.
        loopback: false,
        places: [Place::Node(1), Place::Pod(&caller), Place::Outside],
        own: [local_addresses(&cluster), [caller.ip.parse().unwrap()].into(), outside_addresses(&cluster)],
        page: &page,
    };
    let wrong = walk(&world, &cases);
    assert!(wrong.is_empty(), "{} cells:\n{}\n{}", wrong.len(), wrong.join("\n"), cluster.logs());
}

fn settled(cluster: &Cluster, objects: &Objects, servers: &[Pod]) -> Vec<Case> {
    let at = |pod: &Pod| (pod.ip.parse().unwrap(), pod.node);
    let mut cases = cases();
    for case in &mut cases {
        let service = objects.apply(&case.service(1, &["TCP", "UDP"], &[outside(cluster)])).unwrap();
        let cluster_ip: IpAddr = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
        objects.set_ingress(&case.name, &case.ingress(0)).unwrap();
        let list = state(case.endpoints, [at(&servers[0]), at(&servers[1])]);
        if !list.is_empty() {
            objects.apply(&slice(&case.name, &case.name, PORT, &list)).unwrap();
        }
        case.settle(&[cluster_ip], &[cluster.node_ip(1).unwrap().into()]);
    }
    cases
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
