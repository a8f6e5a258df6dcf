//! An agent that is killed, again and again, while connections are made and kept.

use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use orlop_bpf::EbpfBackend;
use orlop_plan::{Backend as _, Plan, Protocol, diff};

use crate::plans::{node_port, plan};
use crate::world::{Namespace, Node, echo, options, talk};

const NODE_PORT: &str = "172.30.0.11:30001";
const ENDPOINTS: [&str; 2] = ["10.244.1.5:8080", "10.244.1.5:8081"];
const ROOT: &str = "ORLOP_TEST_BPF_ROOT";
const CGROUP: &str = "ORLOP_TEST_CGROUP";
const READY: &str = "ORLOP_TEST_READY";

fn plan_with(endpoints: &[&str]) -> Plan {
    let mut plan = plan(&["172.30.0.11"]);
    node_port(&mut plan, Protocol::Tcp, 30_001, endpoints);
    plan
}

#[test]
#[ignore = "the process that `a_killed_agent_loses_no_connection` starts and kills"]
fn agent() {
    let path = |name| PathBuf::from(env::var_os(name).expect("started by another test"));
    let mut backend = EbpfBackend::open(options(path(ROOT), path(CGROUP))).expect("open the backend");
    let (all, one) = (plan_with(&ENDPOINTS), plan_with(&ENDPOINTS[..1]));
    backend.resync(&all).expect("adopt the maps");
    fs::write(path(READY), []).expect("say so");
    let parent = parent_id();
    while parent_id() == parent {
        backend.sync(&one, &diff(&all, &one)).expect("remove an endpoint");
        backend.sync(&all, &diff(&one, &all)).expect("add it again");
    }
}

/// Starts the agent in the node's namespaces, from whose thread it inherits them.
fn start(node: &Node, ready: &Path) -> Child {
    let (options, ready) = (node.options(), ready.to_owned());
    node.namespace.run(move || {
        let mut command = Command::new(env::current_exe().expect("this binary"));
        command
            .args(["--ignored", "--exact", "crash::agent"])
            .env(ROOT, options.bpf_root)
            .env(CGROUP, options.cgroup_root);
        command.env(READY, ready).stdout(std::process::Stdio::null()).spawn().expect("start the agent")
    })
}

#[test]
fn a_killed_agent_loses_no_connection() {
    let (node, pod, outside) = (Node::new(), Namespace::new(), Namespace::new());
    node.namespace.cable("eth0", &outside, "eth0");
    node.namespace.ip("addr add 172.30.0.11/24 dev eth0");
    outside.ip("addr add 172.30.0.200/24 dev eth0");
    node.namespace.cable("pod", &pod, "eth0");
    node.namespace.ip("route add 10.244.1.5 dev pod");
    pod.ip("addr add 10.244.1.5/32 dev eth0");
    pod.ip("route add 172.30.0.11 dev eth0");
    node.leave_cgroup();
    ENDPOINTS.iter().for_each(|endpoint| pod.serve("pod", endpoint));
    node.with_backend(|backend| backend.resync(&plan_with(&ENDPOINTS)).expect("fill the maps"));

    let directory = tempfile::tempdir().expect("a directory");
    let ready = directory.path().join("ready");
    let done = Arc::new(AtomicBool::new(false));
    let until = done.clone();
    let (made, kept) = thread::scope(|scope| {
        let clients = scope.spawn(|| {
            outside.run(move || {
                let (mut kept, _) = talk(NODE_PORT).expect("connect to the NodePort");
                let mut made = 0;
                while !until.load(Ordering::Relaxed) {
                    talk(NODE_PORT).expect("a new connection while agents come and go");
                    echo(&mut kept, b"still here").expect("the old connection while agents come and go");
                    made += 1;
                }
                (made, kept)
            })
        });
        for _ in 0..3 {
            let mut agent = start(&node, &ready);
            let begun = Instant::now();
            while fs::remove_file(&ready).is_err() {
                assert!(begun.elapsed() < Duration::from_secs(10), "the agent does not start");
                thread::sleep(Duration::from_millis(10));
            }
            thread::sleep(Duration::from_millis(200));
            assert!(agent.try_wait().expect("look at the agent").is_none(), "the agent ended by itself");
            agent.kill().expect("kill -9");
            agent.wait().expect("it ends");
        }
        done.store(true, Ordering::Relaxed);
        clients.join().expect("clients")
    });
    assert!(made > 50, "{made}");
    drop(kept);
}
