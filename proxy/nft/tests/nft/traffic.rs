//! Packets take the ways the plan permits.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use orlop_nft::NftBackend;
use orlop_plan::{Backend, Masquerade, NodePortAddresses, Plan, Protocol, WhenEmpty, diff};

use crate::plans::{self, NODE_PORT, VIP, web, with};
use crate::world::{NODE, Namespace, OUTSIDE, World, ask, connect, pod_ip, tcp, udp, udp_ask};

/// A world whose node has the backend.
struct Served {
    world: World,
    backend: Arc<Mutex<NftBackend>>,
    plan: Plan,
}

impl Served {
    fn new(pods: usize, plan: Plan) -> Self {
        let world = World::new(pods);
        let backend = Arc::new(Mutex::new(world.node.run(NftBackend::open).unwrap()));
        backend.lock().unwrap().resync(&plan).unwrap();
        Self { world, backend, plan }
    }

    fn become_plan(&mut self, plan: Plan) {
        let mut backend = self.backend.lock().unwrap();
        backend.sync(&plan, &diff(&self.plan, &plan)).unwrap();
        backend.settle();
        self.plan = plan;
    }
}

fn service() -> String {
    format!("{VIP}:80")
}

fn through_node() -> String {
    format!("{NODE}:{NODE_PORT}")
}

/// Asks so often that each of `pods` must answer; gives who did.
fn answers(
    from: &Namespace,
    to: &str,
    ask: impl Fn(&Namespace, &str) -> std::io::Result<(usize, std::net::IpAddr)>,
) -> Vec<usize> {
    let mut seen: Vec<usize> = (0..60).map(|_| ask(from, to).unwrap().0).collect();
    seen.sort_unstable();
    seen.dedup();
    seen
}

#[test]
fn a_cluster_ip_reaches_every_endpoint_from_node_pod_and_outside() {
    let served = Served::new(3, web(&[0, 1, 2]));
    served.world.outside.ip(&format!("route add 10.96.0.0/12 via {NODE}"));
    for from in [&served.world.node, &served.world.pods[0], &served.world.outside] {
        assert_eq!(answers(from, &service(), tcp), [0, 1, 2]);
        assert_eq!(answers(from, &service(), udp), [0, 1, 2]);
    }
}

#[test]
fn a_node_port_answers_outside_pod_and_node() {
    let served = Served::new(3, web(&[0, 1, 2]));
    for from in [&served.world.outside, &served.world.pods[0], &served.world.node] {
        assert_eq!(answers(from, &through_node(), tcp), [0, 1, 2]);
        assert_eq!(answers(from, &through_node(), udp), [0, 1, 2]);
    }
}

#[test]
fn connections_spread_evenly() {
    let served = Served::new(3, web(&[0, 1, 2]));
    let mut counts = [0f64; 3];
    for _ in 0..600 {
        counts[tcp(&served.world.pods[0], &service()).unwrap().0] += 1.0;
    }
    let sigma = (600.0f64 * (1.0 / 3.0) * (2.0 / 3.0)).sqrt();
    assert!(counts.iter().all(|count| (count - 200.0).abs() <= 5.0 * sigma), "{counts:?}");
}

#[test]
fn a_pod_keeps_its_address_and_a_stranger_is_masqueraded() {
    let served = Served::new(2, web(&[1]));
    assert_eq!(tcp(&served.world.pods[0], &service()).unwrap(), (1, pod_ip(0)));
    assert_ne!(tcp(&served.world.outside, &through_node()).unwrap().1, OUTSIDE.parse::<std::net::IpAddr>().unwrap());
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let served = Served::new(1, web(&[0]));
    let (pod, client) = tcp(&served.world.pods[0], &service()).unwrap();
    assert_eq!(pod, 0);
    assert_ne!(client, pod_ip(0));
    assert_eq!(udp(&served.world.pods[0], &service()).unwrap().0, 0);
}

#[test]
fn an_endpoint_that_left_gets_no_new_connection_and_keeps_its_old_ones() {
    let mut served = Served::new(3, web(&[0, 1, 2]));
    let to: SocketAddr = service().parse().unwrap();
    let mut held: Vec<_> = served.world.node.run(move || (0..30).map(|_| connect(to).unwrap()).collect());
    let owners: Vec<usize> = held.iter_mut().map(|stream| ask(stream).unwrap().0).collect();
    served.become_plan(web(&[0, 2]));
    assert_eq!(answers(&served.world.node, &service(), tcp), [0, 2]);
    let still: Vec<usize> = held.iter_mut().map(|stream| ask(stream).unwrap().0).collect();
    assert_eq!(owners, still);
    served.become_plan(web(&[0, 1, 2]));
    assert_eq!(answers(&served.world.node, &service(), tcp), [0, 1, 2]);
}

#[test]
fn a_udp_client_is_moved_when_its_endpoint_leaves_and_only_then() {
    let mut served = Served::new(3, web(&[0, 1, 2]));
    let to: SocketAddr = service().parse().unwrap();
    let socket = Arc::new(served.world.pods[0].run(|| UdpSocket::bind("0.0.0.0:0").unwrap()));
    let first = udp_ask(&socket, to).unwrap().0;
    let others: Vec<usize> = (0..3).filter(|pod| *pod != first).collect();
    served.become_plan(web(&[first, others[0]]));
    assert_eq!(udp_ask(&socket, to).unwrap().0, first, "its endpoint stayed");
    served.become_plan(web(&others));
    assert_ne!(udp_ask(&socket, to).unwrap().0, first, "its endpoint left");
}

#[test]
fn a_udp_client_that_found_nobody_is_served_as_soon_as_somebody_is_there() {
    let mut served = Served::new(1, web(&[]));
    let to: SocketAddr = service().parse().unwrap();
    let socket = Arc::new(served.world.node.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()));
    assert!(udp_ask(&socket, to).is_err());
    served.become_plan(web(&[0]));
    assert_eq!(udp_ask(&socket, to).unwrap().0, 0);
}

#[test]
fn without_endpoints_and_on_other_ports_a_connection_is_refused_at_once() {
    let served = Served::new(1, web(&[]));
    for (from, to) in [
        (&served.world.node, service()),
        (&served.world.pods[0], service()),
        (&served.world.outside, through_node()),
        (&served.world.pods[0], format!("{VIP}:81")),
    ] {
        assert_eq!(tcp(from, &to).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{to}");
    }
}

#[test]
fn a_removed_service_is_nobodys_address() {
    let mut served = Served::new(1, web(&[0]));
    assert_eq!(tcp(&served.world.node, &through_node()).unwrap().0, 0);
    served.become_plan(plans::empty());
    assert!(tcp(&served.world.node, &through_node()).is_err());
    assert!(tcp(&served.world.pods[0], &service()).is_err());
}

#[test]
fn affinity_binds_a_client_to_its_endpoint_while_that_is_there() {
    let sticky = |endpoints: &[usize]| with(web(endpoints), |target| target.affinity_seconds = Some(60));
    let mut served = Served::new(3, sticky(&[0, 1, 2]));
    let bound = answers(&served.world.node, &service(), tcp);
    assert_eq!(bound.len(), 1);
    let rest: Vec<usize> = (0..3).filter(|pod| *pod != bound[0]).collect();
    served.become_plan(sticky(&rest));
    let moved = answers(&served.world.node, &service(), tcp);
    assert_eq!(moved.len(), 1);
    assert_ne!(moved, bound);
}

#[test]
fn affinity_is_switched_on_and_off_under_a_living_service() {
    let sticky = |seconds: Option<u32>| with(web(&[0, 1, 2]), move |target| target.affinity_seconds = seconds);
    let mut served = Served::new(3, sticky(None));
    let pod = |served: &Served| answers(&served.world.pods[0], &service(), tcp);
    assert_eq!(pod(&served), [0, 1, 2]);
    served.become_plan(sticky(Some(60)));
    assert_eq!(pod(&served).len(), 1);
    served.become_plan(sticky(None));
    assert_eq!(pod(&served), [0, 1, 2]);
    served.become_plan(sticky(Some(3600)));
    let bound = pod(&served);
    assert_eq!(bound.len(), 1);
    // Another timeout is no reason to forget.
    served.become_plan(sticky(Some(60)));
    assert_eq!(pod(&served), bound);
}

#[test]
fn a_client_that_stays_away_for_the_timeout_is_forgotten() {
    let served = Served::new(3, with(web(&[0, 1, 2]), |target| target.affinity_seconds = Some(1)));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let bound = answers(&served.world.pods[0], &service(), tcp);
        assert_eq!(bound.len(), 1, "{bound:?}");
        seen.extend(bound);
        std::thread::sleep(std::time::Duration::from_millis(1200));
    }
    assert!(seen.len() > 1, "eight times {seen:?}");
}

#[test]
fn connections_are_counted_by_frontend_and_by_endpoint() {
    let mut served = Served::new(2, web(&[0, 1]));
    for _ in 0..7 {
        tcp(&served.world.pods[0], &service()).unwrap();
    }
    for _ in 0..5 {
        udp(&served.world.outside, &through_node()).unwrap();
    }
    let connections = |served: &Served| {
        let counters = served.backend.lock().unwrap().counters().unwrap();
        let of = |frontend| counters.frontends.iter().find(|(f, _)| *f == frontend).unwrap().1.connections.unwrap();
        let to = |frontend| {
            let at = counters.endpoints.iter().filter(move |tally| tally.frontend == frontend);
            at.map(|tally| tally.tally.connections.unwrap()).sum::<u64>()
        };
        let both = [plans::cluster(VIP, Protocol::Tcp), plans::node_port(Protocol::Udp)];
        (both.map(of), both.map(to))
    };
    assert_eq!(connections(&served), ([7, 5], [7, 5]));
    // A change elsewhere in the Service takes nothing away.
    served.become_plan(web(&[0, 1, 2]));
    assert_eq!(connections(&served), ([7, 5], [7, 5]));
    served.become_plan(with(web(&[]), |_| {}));
    assert!(tcp(&served.world.pods[0], &service()).is_err());
    assert_eq!(connections(&served).0, [8, 5], "a refused connection was one");
}

#[test]
fn a_local_policy_keeps_the_callers_address_and_drops_where_nobody_is() {
    let local = |cluster: &[usize], here: &[usize]| {
        let here = plans::pods(here);
        with(web(cluster), move |target| {
            if target.kind == orlop_plan::FrontendKind::NodePort {
                target.local = Some(here.clone());
                target.masquerade = Masquerade::Never;
                target.when_empty = WhenEmpty::Drop;
            }
        })
    };
    let mut served = Served::new(2, local(&[0, 1], &[1]));
    assert_eq!(tcp(&served.world.outside, &through_node()).unwrap(), (1, OUTSIDE.parse().unwrap()));
    assert_eq!(answers(&served.world.node, &through_node(), tcp), [0, 1]);
    assert_eq!(answers(&served.world.pods[0], &through_node(), tcp), [0, 1]);
    served.become_plan(local(&[0, 1], &[]));
    assert_eq!(tcp(&served.world.outside, &through_node()).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(answers(&served.world.node, &through_node(), tcp), [0, 1]);
}

#[test]
fn source_ranges_admit_their_own_and_drop_the_rest() {
    let only = |range: &str| {
        let ranges: Arc<[ipnet::IpNet]> = vec![range.parse().unwrap()].into();
        with(web(&[0]), move |target| target.source_ranges = Some(ranges.clone()))
    };
    let mut served = Served::new(1, only("172.30.0.128/25"));
    assert_eq!(tcp(&served.world.outside, &through_node()).unwrap().0, 0);
    served.become_plan(only("192.0.2.0/24"));
    assert_eq!(tcp(&served.world.outside, &through_node()).unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn node_ports_answer_on_every_local_address_when_told_so() {
    let mut plan = web(&[0]);
    let mut served = Served::new(1, plan.clone());
    served.world.node.ip("addr add 172.30.0.99/24 dev eth0");
    let second = format!("172.30.0.99:{NODE_PORT}");
    assert!(tcp(&served.world.outside, &second).is_err());
    Arc::make_mut(&mut plan.node).node_ports = NodePortAddresses::AnyLocal;
    served.become_plan(plan);
    assert_eq!(tcp(&served.world.outside, &second).unwrap().0, 0);
    assert_eq!(tcp(&served.world.outside, &through_node()).unwrap().0, 0);
}
