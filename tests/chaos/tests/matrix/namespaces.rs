//! The table between namespaces: IPv4 and IPv6, TCP, UDP and SCTP.
//!
//! SCTP is asked for packet by packet, since kernels may have no sockets of it; none of the socket level's hooks is ever called for
//! it, so that in eBPF mode, too, it is nftables that translates it: the flows are asked for and must be conntrack's.

use std::net::IpAddr;

use orlop_chaos::{Bed, BedPod, Kind, Place, Traffic};
use serde_json::json;

use crate::case::{Case, PORT, cases, networks, state};
use crate::walk::{World, call, serve, walk};

const KINDS: [Kind; 3] = [Kind::TcpShort, Kind::UdpShort, Kind::SctpShort];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

pub fn matrix(name: &'static str, mode: &'static str) {
    let bed = Bed::new(name, mode).unwrap();
    let [caller, here, there] = ["caller", "here", "there"].map(|name| bed.pod(name).unwrap());
    let _serving: Vec<Traffic> =
        [here, there].map(|pod| serve(&bed, Place::Pod(&pod.pod), &pod.pod.name)).into_iter().collect();
    for (network, family) in networks().iter().flat_map(|both| both.iter().zip(0..)) {
        // Load balancers' addresses are reached through node 1, which itself has a default route.
        bed.ip("outside", &format!("route add {network} via {}", Bed::node(1)[family])).unwrap();
    }
    let cases = settled(&bed, [here, there]);
    let page = |page: &str| bed.ask(1, page).unwrap_or_default();
    let world = World {
        ground: &bed,
        mode,
        kinds: &KINDS,
        loopback: mode == "ebpf",
        places: [Place::Node(1), Place::Pod(&caller.pod), Place::Outside],
        own: [Bed::node_addresses(1).into_iter().collect(), caller.addresses.into(), Bed::outside().into()],
        page: &page,
    };
    let wrong = walk(&world, &cases);
    assert!(wrong.is_empty(), "{} cells:\n{}\n{}", wrong.len(), wrong.join("\n"), bed.logs());
    sctp_is_conntracks(&bed, cases.iter().find(|case| case.endpoints == "both").unwrap());
}

/// Who translates an association, of a process of the node too, is connection tracking; the socket level has no part in it.
fn sctp_is_conntracks(bed: &Bed, case: &Case) {
    let mut caller = call(bed, Place::Node(1));
    for places in &case.places {
        let answers = caller.once(Kind::SctpShort, places.cluster_ip, 1).unwrap();
        let (_, seen) = answers[0].answer.as_ref().unwrap();
        let flows = bed.ask(1, &format!("/flows?frontend={}/SCTP", places.cluster_ip)).unwrap();
        let flow = flows.lines().find(|line| line.contains(seen));
        assert!(flow.is_some_and(|flow| flow.ends_with("(connection tracking)")), "from {seen}:\n{flows}");
    }
}

/// Writes the objects of every case. Every second Service has IPv6 as its first family.
fn settled(bed: &Bed, servers: [&BedPod; 2]) -> Vec<Case> {
    let mut cases = cases();
    for (n, case) in cases.iter_mut().enumerate() {
        let order = if n % 2 == 0 { [0, 1] } else { [1, 0] };
        let cluster_ips = order.map(|family| case.cluster_ip(family));
        let mut service = case.service(2, &PROTOCOLS, &Bed::outside());
        let spec = &mut service["spec"];
        (spec["clusterIP"], spec["clusterIPs"]) = (json!(cluster_ips[0]), json!(cluster_ips));
        (spec["ipFamilyPolicy"], spec["ipFamilies"]) = (json!("RequireDualStack"), json!(order.map(|f| FAMILIES[f])));
        service["status"] = json!({"loadBalancer": {"ingress": [case.ingress(0), case.ingress(1)]}});
        bed.api.apply(service).unwrap();
        for (family, name) in FAMILIES.into_iter().enumerate() {
            let at = |pod: &BedPod| (pod.addresses[family], pod.pod.node);
            let ports = PROTOCOLS.map(|name| json!({"name": name.to_lowercase(), "protocol": name, "port": PORT}));
            bed.api
                .apply(json!({
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": name, "ports": ports,
                    "metadata": {
                        "name": format!("{}-{}", case.name, name.to_lowercase()),
                        "labels": {"kubernetes.io/service-name": case.name},
                    },
                    "endpoints": state(case.endpoints, servers.map(at)),
                }))
                .unwrap();
        }
        let both: [IpAddr; 2] = [0, 1].map(|family| case.cluster_ip(family));
        case.settle(&both, &Bed::node(1));
    }
    cases
}
