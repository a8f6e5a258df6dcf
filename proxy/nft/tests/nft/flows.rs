//! Flows whose endpoint or Service went, also while no agent looked, and flows that must live.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_nft::NftBackend;
use orlop_plan::{Backend, Endpoint, FrontendKind, Plan, Protocol, WhenEmpty, diff};

use crate::plans::{self, NODE_PORT, VIP, cluster, target, web, with};
use crate::world::{NODE, World, ask, connect, tcp, udp_ask};

/// An agent's life: it starts, finds what there is, and is killed without a word.
fn life(world: &World, plans: Vec<Plan>) {
    world.node.run(move || {
        let mut backend = NftBackend::open().unwrap();
        backend.resync(&plans[0]).unwrap();
        for step in plans.windows(2) {
            backend.sync(&step[1], &diff(&step[0], &step[1])).unwrap();
        }
    });
}

fn service() -> SocketAddr {
    format!("{VIP}:80").parse().unwrap()
}

fn datagrams(world: &World) -> Arc<UdpSocket> {
    Arc::new(world.pods[0].run(|| UdpSocket::bind("0.0.0.0:0").unwrap()))
}

#[test]
fn flows_to_living_endpoints_survive_restarts_while_services_change() {
    let world = World::new(4);
    life(&world, vec![web(&[1, 2, 3])]);
    let socket = datagrams(&world);
    let owner = udp_ask(&socket, service()).unwrap().0;
    let mut held = world.pods[0].run(|| connect(service()).unwrap());
    let keeper = ask(&mut held).unwrap().0;
    for round in 0..20 {
        // Everybody but the two owners comes and goes, in the life of an agent and between lives.
        let others: Vec<usize> =
            (1..4).filter(|pod| *pod == owner || *pod == keeper || (pod + round) % 2 == 0).collect();
        let mut plan = web(&others);
        if round % 3 == 0 {
            plan.frontends.insert(
                cluster("10.96.0.77", Protocol::Udp),
                Arc::new(target("default/other", FrontendKind::ClusterIp, plans::pods(&[1]))),
            );
        }
        life(&world, if round % 2 == 0 { vec![plan] } else { vec![plan.clone(), web(&[1, 2, 3]), plan] });
        assert_eq!(udp_ask(&socket, service()).unwrap().0, owner, "round {round}");
        assert_eq!(ask(&mut held).unwrap().0, keeper, "round {round}");
    }
}

#[test]
fn an_endpoint_that_went_while_no_agent_looked_loses_its_datagrams_and_keeps_its_connections() {
    let world = World::new(3);
    life(&world, vec![web(&[1])]);
    let socket = datagrams(&world);
    assert_eq!(udp_ask(&socket, service()).unwrap().0, 1);
    let mut held = world.pods[0].run(|| connect(service()).unwrap());
    assert_eq!(ask(&mut held).unwrap().0, 1);
    life(&world, vec![web(&[2])]);
    assert_eq!(udp_ask(&socket, service()).unwrap().0, 2);
    assert_eq!(ask(&mut held).unwrap().0, 1);
}

#[test]
fn a_service_that_went_while_no_agent_looked_gets_no_datagram_any_more() {
    let world = World::new(2);
    life(&world, vec![web(&[1])]);
    let (by_address, by_port) = (datagrams(&world), datagrams(&world));
    let through_node: SocketAddr = format!("{NODE}:{NODE_PORT}").parse().unwrap();
    assert_eq!(udp_ask(&by_address, service()).unwrap().0, 1);
    assert_eq!(udp_ask(&by_port, through_node).unwrap().0, 1);
    life(&world, vec![plans::empty()]);
    assert!(udp_ask(&by_address, service()).is_err());
    assert!(udp_ask(&by_port, through_node).is_err());
}

#[test]
fn an_agent_killed_between_the_table_and_the_flows_leaves_a_note_of_what_it_owes() {
    let world = World::new(2);
    life(&world, vec![web(&[1])]);
    let socket = datagrams(&world);
    assert_eq!(udp_ask(&socket, service()).unwrap().0, 1);
    // The table as that agent would have left it: the Service gone, its flows not.
    world.node.run(|| {
        let script = format!(
            "delete element ip orlop frontends {{ {VIP} . udp . 80 }}; delete element ip orlop groups {{ {VIP} . udp . 80 }}; \
             add element ip orlop leaving {{ {VIP} . udp . 80 }}"
        );
        let done = Command::new("nft").arg(&script).status().expect("running nft: it must be in PATH");
        assert!(done.success(), "{script}");
    });
    assert_eq!(udp_ask(&socket, service()).unwrap().0, 1, "the flow lives on");
    life(&world, vec![plans::empty()]);
    assert!(udp_ask(&socket, service()).is_err());
}

#[test]
fn a_note_is_gone_after_the_change_that_follows_the_last_look() {
    let world = World::new(1);
    let leaving = world.node.run(|| {
        let mut backend = NftBackend::open().unwrap();
        backend.resync(&web(&[0])).unwrap();
        backend.sync(&plans::empty(), &diff(&web(&[0]), &plans::empty())).unwrap();
        let (deadline, mut there) = (Instant::now() + Duration::from_secs(10), false);
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let (old, new) = if there { (web(&[0]), web(&[])) } else { (plans::empty(), web(&[0])) };
            backend.sync(&new, &diff(&old, &new)).unwrap();
            backend.sync(&web(&[0]), &diff(&new, &web(&[0]))).unwrap();
            there = true;
            let output = Command::new("nft").args(["list", "set", "ip", "orlop", "leaving"]).output().unwrap();
            let leaving = String::from_utf8_lossy(&output.stdout).into_owned();
            if !leaving.contains("elements") || Instant::now() > deadline {
                return leaving;
            }
        }
    });
    assert!(leaving.contains("set leaving") && !leaving.contains("elements"), "{leaving}");
}

#[test]
fn a_connection_that_nobody_answered_goes_to_the_next_endpoint() {
    let world = World::new(1);
    let nobody = Endpoint { address: "10.244.9.9".parse().unwrap(), port: 8080, local: false };
    let silent = with(web(&[0]), move |target| target.endpoints = [nobody].into_iter().collect());
    life(&world, vec![silent.clone()]);
    // Its SYN is on the way to nobody; the second is due after a second.
    let waiting = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let start = Instant::now();
            world.pods[0]
                .run(move || {
                    let mut stream = TcpStream::connect_timeout(&service(), Duration::from_secs(5))?;
                    ask(&mut stream)
                })
                .map(|answer| (answer.0, start.elapsed()))
        });
        std::thread::sleep(Duration::from_millis(300));
        let agent = world.node.run(move || {
            let mut backend = NftBackend::open().unwrap();
            backend.resync(&silent).unwrap();
            backend.sync(&web(&[0]), &diff(&silent, &web(&[0]))).unwrap();
            backend
        });
        let answer = client.join().unwrap();
        drop(agent);
        answer
    });
    // The second SYN is sent while the first may have an answer on the way.
    assert_eq!(waiting.expect("the third SYN finds the new endpoint").0, 0);
}

#[test]
fn a_connection_whose_answer_is_on_its_way_is_left_to_have_it() {
    let world = World::new(3);
    let mut agent = world.node.run(|| {
        let mut agent = NftBackend::open().unwrap();
        agent.resync(&web(&[1])).unwrap();
        agent
    });
    // For a while the pod says nobody on which address it is: the SYN waits on the node's side of the cable.
    world.node.sysctl("ipv4/neigh/pod1/retrans_time_ms", "100");
    world.node.sysctl("ipv4/neigh/pod1/mcast_solicit", "30");
    world.pods[1].ip("link set eth0 arp off");
    let answer = std::thread::scope(|scope| {
        let client = scope.spawn(|| world.pods[0].run(|| connect(service()).and_then(|mut stream| ask(&mut stream))));
        std::thread::sleep(Duration::from_millis(200));
        agent.sync(&web(&[2]), &diff(&web(&[1]), &web(&[2]))).unwrap();
        agent.settle();
        std::thread::sleep(Duration::from_millis(100));
        world.pods[1].ip("link set eth0 arp on");
        client.join().unwrap()
    });
    assert_eq!(answer.unwrap().0, 1);
}

#[test]
fn a_local_policy_that_comes_takes_datagrams_from_endpoints_it_forbids() {
    let world = World::new(2);
    let local = |plan: Plan| {
        with(plan, |target| {
            target.local = Some(plans::pods(&[1]));
            target.endpoints = plans::pods(&[1]);
            target.when_empty = WhenEmpty::Drop;
        })
    };
    life(&world, vec![web(&[0])]);
    let socket = Arc::new(world.outside.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()));
    let through_node: SocketAddr = format!("{NODE}:{NODE_PORT}").parse().unwrap();
    assert_eq!(udp_ask(&socket, through_node).unwrap().0, 0);
    life(&world, vec![web(&[0]), local(web(&[1]))]);
    assert_eq!(udp_ask(&socket, through_node).unwrap().0, 1);
}

#[test]
fn what_a_change_costs_does_not_grow_with_the_flows_of_others() {
    let world = World::new(3);
    let mut plan = web(&[1]);
    let small = |pods: &[usize]| Arc::new(target("default/small", FrontendKind::ClusterIp, plans::pods(pods)));
    plan.frontends.insert(cluster("10.96.0.77", Protocol::Udp), small(&[1, 2]));
    let cost = |world: &World, plan: &Plan| {
        let mut less = plan.clone();
        less.frontends.insert(cluster("10.96.0.77", Protocol::Udp), small(&[1]));
        let plan = plan.clone();
        world.node.run(move || {
            let mut backend = NftBackend::open().unwrap();
            backend.resync(&plan).unwrap();
            let mut costs: Vec<Duration> = (0..20)
                .map(|_| {
                    let start = Instant::now();
                    backend.sync(&less, &diff(&plan, &less)).unwrap();
                    backend.settle();
                    let cost = start.elapsed();
                    backend.sync(&plan, &diff(&less, &plan)).unwrap();
                    cost
                })
                .collect();
            costs.sort_unstable();
            costs[10]
        })
    };
    let before = cost(&world, &plan);
    let flows = world.pods[0].run(|| {
        // Each from a socket of its own.
        (0..20_000).filter(|_| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"?", service()).is_ok()).count()
    });
    let after = cost(&world, &plan);
    eprintln!("a lost endpoint costs {before:?}, beside {flows} flows of others {after:?}");
    assert!(after < before * 4 + Duration::from_millis(20), "{before:?}, then {after:?}");
    assert_eq!(tcp(&world.pods[0], &format!("{VIP}:80")).unwrap().0, 1);
}
