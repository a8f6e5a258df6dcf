//! Real machines: containerd in namespaces of its own, and nothing left after `down`. Needs root and the tools that `cargo xtask setup` unpacks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use orlop_machine::{DownOptions, Options, Roots, down, up};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A cluster of the test's own; whatever an earlier, killed run left of it is cleared first.
struct Cluster {
    options: Options,
    _lib: TempDir,
}

impl Cluster {
    fn new(name: &str, nodes: u32) -> Self {
        let lib = tempfile::tempdir().unwrap();
        let tools = std::env::var_os("ORLOP_TOOLS").map_or_else(default_tools, PathBuf::from);
        let images = lib.path().join("no-images");
        fs::create_dir(&images).unwrap();
        let mut options = Options::new(tools, images).unwrap();
        options.name = name.into();
        options.nodes = nodes;
        options.machines_only = true;
        options.roots = Roots { lib: lib.path().join("lib"), ..Roots::default() };
        let cluster = Self { options, _lib: lib };
        cluster.down();
        cluster
    }

    fn up(&self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(up(self.options.clone())).unwrap();
    }

    fn down(&self) {
        let options =
            DownOptions { name: self.options.name.clone(), keep_data: false, roots: self.options.roots.clone() };
        down(&options).unwrap();
    }

    fn run_dir(&self) -> PathBuf {
        self.options.roots.run.join(&self.options.name)
    }

    /// Asks a machine's containerd for its version through the API.
    fn containerd_answers(&self, n: u32) -> bool {
        let socket = self.run_dir().join(format!("node{n}/containerd.sock"));
        let ctr = self.options.tools_dir.join("bin/ctr");
        let output =
            Command::new(ctr).arg("--address").arg(socket).args(["--timeout", "5s", "version"]).output().unwrap();
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("Server:")
    }

    fn containerd_pids(&self, n: u32) -> Vec<String> {
        let group = self.run_dir().join(format!("cgroup/orlop-{}/node{n}/containerd/cgroup.procs", self.options.name));
        fs::read_to_string(group).unwrap_or_default().lines().map(str::to_string).collect()
    }

    /// Everything on the host that carries the cluster's name.
    fn traces(&self) -> Vec<String> {
        let name = &self.options.name;
        let mut traces = Vec::new();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        traces.extend(mounts.lines().filter(|line| line.contains(&format!("/{name}"))).map(str::to_string));
        for dir in [Path::new("/run/netns"), &self.options.roots.run, &self.options.roots.lib] {
            traces.extend(entries(dir).filter(|path| path.contains(name.as_str())));
        }
        for controller in entries(Path::new("/sys/fs/cgroup")) {
            traces.extend(entries(Path::new(&controller)).filter(|path| path.contains(name.as_str())));
        }
        traces
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.down();
    }
}

fn default_tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools")
}

fn entries(dir: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path().display().to_string())
}

#[test]
fn two_machines_come_up_and_down_leaves_nothing() {
    let cluster = Cluster::new("machine-test-a", 2);
    cluster.up();
    assert!(cluster.containerd_answers(1) && cluster.containerd_answers(2));
    let pid = cluster.containerd_pids(1)[0].clone();
    let namespace = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
    for kind in ["net", "mnt", "uts", "cgroup"] {
        assert_ne!(namespace(&pid, kind), namespace("self", kind), "{kind}");
        assert_ne!(namespace(&pid, kind), namespace(&cluster.containerd_pids(2)[0], kind), "{kind}");
    }
    cluster.down();
    assert_eq!(cluster.traces(), Vec::<String>::new());
    cluster.down();
}

#[test]
fn up_again_keeps_what_runs_and_repairs_what_was_killed() {
    let cluster = Cluster::new("machine-test-b", 1);
    cluster.up();
    let before = cluster.containerd_pids(1);
    cluster.up();
    assert_eq!(cluster.containerd_pids(1), before, "a second up restarts nothing");

    fs::write(cluster.run_dir().join(format!("cgroup/orlop-{}/cgroup.kill", cluster.options.name)), "1").unwrap();
    cluster.up();
    assert!(cluster.containerd_answers(1));
    assert_ne!(cluster.containerd_pids(1), before);

    // A down that was interrupted: a namespace is gone, the rest is there.
    orlop_netns::NetNs::unpin(Path::new("/run/netns/machine-test-b-node1")).unwrap();
    cluster.up();
    assert!(cluster.containerd_answers(1));
}

#[test]
fn machines_see_each_other_and_the_outside_host_through_the_switch() {
    use std::io::{Read, Write};
    let cluster = Cluster::new("machine-test-c", 2);
    cluster.up();
    let open = |what: &str| orlop_netns::NetNs::open(Path::new(&format!("/run/netns/machine-test-c-{what}"))).unwrap();
    let listener = open("node2").run(|| std::net::TcpListener::bind("0.0.0.0:80")).unwrap().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip().to_string();
            stream.write_all(peer.as_bytes()).unwrap();
        }
    });
    for (from, address) in [("node1", "172.30.0.11"), ("outside", "172.30.0.200")] {
        let seen = open(from).run(|| {
            let mut text = String::new();
            std::net::TcpStream::connect("172.30.0.12:80").unwrap().read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(seen.unwrap(), address);
    }
}
