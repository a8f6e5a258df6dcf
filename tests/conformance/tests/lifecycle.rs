//! `up` and `down` in any state: twice, interrupted, and after a kill -9 of everything.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use orlop_conformance::{Cluster, Wanted, caller, echo, eventually};

fn wanted(name: &'static str) -> Wanted {
    Wanted { name, nodes: 1, proxy_mode: "ebpf", overlay: "vxlan", publish: None }
}

fn containers(cluster: &Cluster) -> BTreeMap<String, String> {
    let path = "jsonpath={range .items[*]}{.metadata.name}={.status.containerStatuses[0].containerID}\n{end}";
    let text = cluster.kubectl(&["get", "pods", "-l", "app=echo", "-o", path]).unwrap();
    text.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn answers(cluster: &Cluster) {
    let pods = cluster.ready_pods("echo", 2).unwrap();
    cluster.endpoints("echo", &pods).unwrap();
    let address = cluster.node_port(1, 30090).unwrap();
    let answers = caller::calls(&cluster.netns("outside"), 20, address, caller::tcp).unwrap();
    assert!(answers.iter().all(|name| pods.names().contains(name)), "{answers:?}");
}

#[test]
fn up_again_changes_nothing_and_an_interrupted_down_is_no_harm() {
    let mut cluster = Cluster::up(wanted("life-up")).unwrap();
    cluster.kubectl_with(&["create"], &echo(2)).unwrap();
    answers(&cluster);
    let before = containers(&cluster);
    cluster.again().unwrap();
    assert_eq!(containers(&cluster), before, "a second `up` restarts nobody");
    answers(&cluster);

    let binary = std::env::var_os("ORLOP_BINARY").unwrap();
    let mut down = Command::new(binary).args(["down", "--name", cluster.name()]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let _ = down.kill();
    down.wait().unwrap();
    cluster.again().unwrap();
    cluster.kubectl(&["get", "nodes"]).unwrap();
}

#[test]
fn a_kill_of_the_agents_restarts_no_container() {
    let mut cluster = Cluster::up(wanted("life-agents")).unwrap();
    cluster.kubectl_with(&["create"], &echo(2)).unwrap();
    answers(&cluster);
    let before = containers(&cluster);
    for daemon in ["server", "node"] {
        cluster.kill(&format!("/node1/{daemon}")).unwrap();
    }
    // The data path needs no agent.
    let address = "172.30.0.11:30090".parse().unwrap();
    let answers_meanwhile = caller::calls(&cluster.netns("outside"), 20, address, caller::tcp).unwrap();
    assert!(answers_meanwhile.iter().all(|name| before.contains_key(name)), "{answers_meanwhile:?}");
    cluster.again().unwrap();
    answers(&cluster);
    assert_eq!(containers(&cluster), before, "new agents find their pods and go on");
}

#[test]
fn after_a_kill_of_everything_what_was_acknowledged_is_there_and_runs() {
    let mut cluster = Cluster::up(wanted("life-all")).unwrap();
    cluster.kubectl_with(&["create"], &echo(2)).unwrap();
    answers(&cluster);
    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"]).unwrap();
    cluster.kill("").unwrap();
    cluster.again().unwrap();
    let kept = cluster.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]).unwrap();
    assert_eq!(kept, "b");
    eventually("every container to run again", Duration::from_secs(60), || {
        let pods = cluster.pods("echo")?;
        Ok((pods.all_ready(2)).then_some(()))
    })
    .unwrap();
    answers(&cluster);
}
