//! Under 200 new connections a second, what dies takes nobody else with it: two seconds after a container died or a node was cut off
//! nothing is sent there any more, and no connection to the others fails.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use orlop_conformance::caller::{Call, Load};
use orlop_conformance::{Cluster, Pods, Wanted, echo, eventually};
use orlop_netns::NetNs;
use rtnetlink::LinkUnspec;

const RATE: u32 = 200;
/// How long after a death a connection may still meet it.
const GRACE: Duration = Duration::from_secs(2);

#[test]
fn nftables_leaves_the_dead_alone() {
    deaths(Wanted { name: "dead-n", nodes: 2, proxy_mode: "nftables", overlay: "vxlan", publish: None });
}

#[test]
fn ebpf_leaves_the_dead_alone() {
    deaths(Wanted { name: "dead-e", nodes: 2, proxy_mode: "ebpf", overlay: "vxlan", publish: None });
}

fn deaths(wanted: Wanted) {
    let cluster = Cluster::up(wanted).unwrap();
    cluster.kubectl_with(&["create"], &echo(4)).unwrap();
    let pods = cluster.ready_pods("echo", 4).unwrap();
    cluster.endpoints("echo", &pods).unwrap();
    a_container_dies(&cluster, &pods);
    let pods = cluster.ready_pods("echo", 4).unwrap();
    cluster.endpoints("echo", &pods).unwrap();
    a_node_is_cut_off(&cluster, &pods);
}

/// The second death: the first one is followed by a restart at once, this one by ten seconds of back-off.
fn a_container_dies(cluster: &Cluster, pods: &Pods) {
    let victim = &pods.on("node2")[0];
    exit(cluster, &victim.ip);
    eventually("the restarted container", Duration::from_secs(20), || {
        let pods = cluster.pods("echo")?;
        Ok(pods.0.iter().find(|pod| pod.name == victim.name && pod.ready && pod.restarts == 1).cloned())
    })
    .unwrap();
    cluster.endpoints("echo", pods).unwrap();

    let load = Load::start(&cluster.netns("outside"), RATE, cluster.node_port(1, 30090).unwrap()).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    exit(cluster, &victim.ip);
    let died = Instant::now();
    std::thread::sleep(Duration::from_secs(6));
    let dead = BTreeSet::from([victim.name.clone()]);
    judge("a container died", &load.end(), died, &pods.names(), &dead);
}

fn exit(cluster: &Cluster, ip: &str) {
    // It ends while it answers: what curl thinks of that is of no interest.
    let _ = cluster.on_node(1, &["curl", "-s", "-m", "2", &format!("http://{ip}:8080/exit?code=1")]);
}

fn a_node_is_cut_off(cluster: &Cluster, pods: &Pods) {
    let load = Load::start(&cluster.netns("outside"), RATE, cluster.node_port(1, 30090).unwrap()).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    cable(cluster, "node2", false);
    let cut = Instant::now();
    std::thread::sleep(Duration::from_secs(6));
    let calls = load.end();
    let ready = cluster.kubectl(&["get", "node", "node2", "--no-headers"]).unwrap();
    cable(cluster, "node2", true);
    assert_eq!(ready.split_whitespace().nth(1), Some("NotReady"), "{ready}");
    let dead = pods.on("node2").iter().map(|pod| pod.name.clone()).collect();
    judge("a node was cut off", &calls, cut, &pods.names(), &dead);
    cluster.ready_pods("echo", 4).unwrap();
}

/// Plugs a machine's cable into the switch or pulls it out.
fn cable(cluster: &Cluster, port: &str, plugged: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let switch = NetNs::open(&cluster.netns("switch")).unwrap().connect().await.unwrap();
        let index = switch.index(port).await.unwrap();
        let link = LinkUnspec::new_with_index(index);
        let link = if plugged { link.up() } else { link.down() };
        switch.set_link(port, link.build()).await.unwrap();
    });
}

fn judge(what: &str, calls: &[Call], death: Instant, all: &BTreeSet<String>, dead: &BTreeSet<String>) {
    let enough = usize::try_from(RATE).unwrap() * 5;
    assert!(calls.len() > enough, "only {} calls were made", calls.len());
    let seen_before: BTreeSet<&String> =
        calls.iter().filter(|call| call.began < death).filter_map(|call| call.answer.as_ref().ok()).collect();
    assert!(
        dead.iter().all(|name| seen_before.contains(name)),
        "the dead never answered while they lived: {seen_before:?}"
    );
    let (mut late, mut after) = (Vec::new(), 0);
    for call in calls {
        let since = call.began.saturating_duration_since(death);
        after += usize::from(since > GRACE);
        match &call.answer {
            Ok(name) => {
                assert!(all.contains(name), "a stranger answered: {name}");
                if since > GRACE && dead.contains(name) {
                    late.push(format!("{since:?} after it {name} answered"));
                }
            }
            // One that began before the death may be caught by it half-way; it cannot be told from one that began just after.
            Err(error) if since > GRACE || call.began + Duration::from_secs(2) < death => {
                late.push(format!("{since:?} after it: {error}"));
            }
            Err(_) => {}
        }
    }
    assert!(late.is_empty(), "{what}: {} of {} calls: {:#?}", late.len(), calls.len(), &late[..late.len().min(10)]);
    assert!(after > 400, "only {after} calls after the grace");
}
