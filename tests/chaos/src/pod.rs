//! Pods as places: where their network namespaces are.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use orlop_conformance::{Cluster, eventually};
use orlop_netns::NetNs;

/// What tests of endpoints that come and go start: four pods that serve, and on node 1 one that calls.
pub const PODS: &str = "
apiVersion: v1
kind: ReplicationController
metadata: {name: server}
spec:
  replicas: 4
  selector: {app: server}
  template:
    metadata: {labels: {app: server}}
    spec:
      containers: [{name: web, image: 'localhost/orlop/web:v1'}]
---
apiVersion: v1
kind: Pod
metadata: {name: caller, labels: {app: caller}}
spec:
  nodeName: node1
  containers: [{name: web, image: 'localhost/orlop/web:v1'}]
";

/// A pod of a cluster.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// The number of its node.
    pub node: u32,
    /// Its address.
    pub ip: String,
    /// Its network namespace.
    pub netns: PathBuf,
}

/// Waits for `count` pods of an app of the test image, and finds their network namespaces.
pub fn pods(cluster: &Cluster, app: &str, count: usize) -> Result<Vec<Pod>> {
    let mut found = Vec::new();
    for pod in cluster.ready_pods(app, count)?.0 {
        let node = pod.node.strip_prefix("node").and_then(|n| n.parse().ok()).context("a node is called nodeN")?;
        let doing = format!("the network namespace of {}", pod.name);
        let netns = eventually(&doing, Duration::from_secs(5), || namespace_with(cluster, &pod.ip))?;
        found.push(Pod { name: pod.name, node, ip: pod.ip, netns });
    }
    found.sort_by(|a, b| (a.node, &a.name).cmp(&(b.node, &b.name)));
    Ok(found)
}

/// The network namespace of a container of the cluster in which the address is a local one.
fn namespace_with(cluster: &Cluster, ip: &str) -> Result<Option<PathBuf>> {
    let group = format!("/orlop-{}/node", cluster.name());
    for process in std::fs::read_dir("/proc")?.flatten() {
        let path = process.path();
        let read = |file| std::fs::read_to_string(path.join(file)).unwrap_or_default();
        if read("comm").trim() != "orlop-web" || !read("cgroup").contains(&group) {
            continue;
        }
        let netns = path.join("ns/net");
        // Nobody binds an address that is not there.
        if NetNs::open(&netns).is_ok_and(|space| space.run(|| UdpSocket::bind((ip, 0)).is_ok()).unwrap_or(false)) {
            return Ok(Some(netns));
        }
    }
    Ok(None)
}
