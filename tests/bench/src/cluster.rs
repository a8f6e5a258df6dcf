//! A whole cluster of one node: memory of each process, idle and with 50 pods, and how long a pod takes to be Ready.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use orlop_conformance::{Cluster, Wanted};
use serde_json::json;

use crate::report::{Baseline, Report, quantile};

const NAME: &str = "bench";
/// Pods started one after the other.
const SINGLE: usize = 30;
/// Pods with which memory is looked at.
const PODS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures.
pub fn run(report: &mut Report) -> Result<()> {
    let wanted = Wanted { name: NAME, nodes: 1, proxy_mode: "ebpf", overlay: "vxlan", publish: None };
    let cluster = Cluster::up(wanted)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Memory settles after a start.
    std::thread::sleep(Duration::from_secs(10));
    memory(report, "idle")?;
    let ready = runtime.block_on(pods(&cluster))?;
    let recorded = || Baseline::recorded(0.54, "Kubernetes, p50");
    report.row("pod: created to Ready, image present, p50", quantile(&ready, 0.5), "s", recorded(), Some(0.4));
    report.row("pod: created to Ready, image present, p99", quantile(&ready, 0.99), "s", recorded(), Some(1.5));
    let manifest = json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "many"},
        "spec": {"replicas": PODS, "selector": {"app": "many"}, "template": {
            "metadata": {"labels": {"app": "many"}},
            "spec": {"containers": [{"name": "web", "image": "localhost/orlop/web:v1"}]},
        }},
    });
    let begun = Instant::now();
    cluster.kubectl_with(&["create"], &manifest.to_string())?;
    cluster.ready_pods("many", PODS)?;
    report.row(format!("{PODS} pods at once: created to all Ready"), begun.elapsed().as_secs_f64(), "s", None, None);
    memory(report, &format!("{PODS} pods"))
}

/// Pods one after the other, each watched from its creation to Ready.
async fn pods(cluster: &Cluster) -> Result<Vec<f64>> {
    let client = cluster.client().await?;
    let api: Api<Pod> = Api::default_namespaced(client);
    let mut times = Vec::new();
    for n in 0..SINGLE {
        let name = format!("single-{n}");
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "web", "image": "localhost/orlop/web:v1"}], "terminationGracePeriodSeconds": 0},
        }))?;
        let begun = Instant::now();
        let created = api.create(&PostParams::default(), &pod).await?;
        let version = created.metadata.resource_version.context("a created pod has a version")?;
        let fields = format!("metadata.name={name}");
        let watching = WatchParams::default().fields(&fields);
        let events = api.watch(&watching, &version).await?;
        let mut ready = events.try_filter(|event| std::future::ready(is_ready(event))).boxed();
        match tokio::time::timeout(PATIENCE, ready.next()).await {
            Ok(Some(Ok(_))) => times.push(begun.elapsed().as_secs_f64()),
            Ok(Some(Err(error))) => bail!("watching {name}: {error}"),
            Ok(None) => bail!("watching {name}: the watch ended"),
            Err(_) => bail!("{name} is not Ready after {PATIENCE:?}\n{}", cluster.logs()),
        }
        api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    }
    Ok(times)
}

fn is_ready(event: &WatchEvent<Pod>) -> bool {
    let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { return false };
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Resident memory of the node's daemons, by cgroup. A process's figure counts what it shares (the binary's own pages) in full; their
/// sum counts such pages once, as proportional set sizes do.
fn memory(report: &mut Report, when: &str) -> Result<()> {
    let group = format!("/run/orlop/{NAME}/cgroup/orlop-{NAME}/node1");
    let mut of: BTreeMap<String, f64> = BTreeMap::new();
    let mut ours = 0.0;
    for daemon in ["server", "node", "containerd"] {
        let file = Path::new(&group).join(daemon).join("cgroup.procs");
        let pids = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        for pid in pids.lines() {
            // A process that has just ended counts nothing.
            let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            let name = field(&status, "Name:").unwrap_or_default();
            let resident = field(&status, "VmRSS:").and_then(|kb| kb.parse::<f64>().ok()).unwrap_or_default() / 1024.0;
            if daemon != "containerd" {
                let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
                ours +=
                    field(&rollup, "Pss:").and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(resident * 1024.0) / 1024.0;
            }
            let key = match daemon {
                "containerd" if name != "containerd" => "shims and containers".into(),
                _ => daemon.to_owned(),
            };
            *of.entry(key).or_default() += resident;
        }
    }
    let recorded = |value, peer| Baseline::recorded(value, peer);
    for (process, resident) in &of {
        let (baseline, budget) = match process.as_str() {
            "server" => (recorded(500.0, "apiserver, etcd, controller-manager, scheduler; idle"), None),
            "node" => (recorded(138.0, "kubelet, kube-proxy; idle"), None),
            "containerd" => (recorded(53.0, "containerd itself, idle"), None),
            _ => (None, None),
        };
        report.row(format!("memory, {when}: {process}"), *resident, "MiB", baseline, budget);
    }
    let budget = (when == "idle").then_some(64.0);
    let peer = recorded(638.0, "Kubernetes' own processes, idle");
    report.row(format!("memory, {when}: server + node"), ours, "MiB", peer, budget);
    Ok(())
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}
