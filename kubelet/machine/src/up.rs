//! `orlop up`: brings the cluster to what was asked for, whatever state it is in.

use crate::cgroup::{self, V1};
use crate::daemon::Sockets;
use crate::down::{lock, teardown};
use crate::layout::Layout;
use crate::options::Options;
use crate::progress::Progress;
use crate::{argv, keys, mounts, network, node, preflight, ready, spaces};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use tokio::task::{JoinSet, spawn_blocking};

/// `cluster.json`: what the machines were built for. It says nothing about what runs: that is asked of the kernel.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Record {
    nodes: u32,
    /// Written last: a building that was interrupted is torn down.
    complete: bool,
}

/// Brings the cluster up and waits until every Node is Ready. Run again, it repairs what is missing and restarts what has changed.
pub async fn up(options: Options) -> Result<()> {
    preflight::check(&options)?;
    let layout = Layout::new(&options.name, &options.roots);
    let _lock = lock(&layout)?;
    let v1 = cgroup::v1_hierarchies()?;
    let progress = Progress::new();

    if !intact(&layout, options.nodes) {
        progress.step("clearing what is left of an earlier run");
        teardown(&layout)?;
        progress.step("making namespaces, cgroups and cables");
        build(&layout, &options).await?;
    }
    let drivers = options.ebpf_xdp == "native";
    match network::as_wires(&layout, options.nodes, drivers) {
        Err(error) if drivers => return Err(error),
        Err(error) => tracing::warn!(%error, "the cables' offloads stay as they are"),
        Ok(()) => {}
    }
    link_cni(&layout, &options)?;
    keys::write_all(&layout, &options)?;
    progress.step(&format!("starting containerd on {} and importing images", machines(options.nodes)));
    bring_up_nodes(&layout, &options, &v1).await?;
    record(&layout, &Record { nodes: options.nodes, complete: true })?;
    if options.machines_only {
        progress.finish();
        return Ok(());
    }

    progress.step("starting the API server");
    let first = layout.node(1);
    let server = argv::server(&layout, &options);
    server.ensure(&first, &v1, Some(loopback(vec![options.api_port])))?;
    let client = ready::client(&layout).await?;
    ready::api(&client, &server, &first).await?;

    progress.step("starting the nodes");
    for n in 1..=options.nodes {
        let node = layout.node(n);
        argv::node(&node, &options).ensure(&node, &v1, None)?;
    }
    let publish = argv::publish(&options);
    if options.publish.is_empty() {
        cgroup::kill_all(&first.cgroup().join(publish.name))?;
    } else {
        publish.ensure(&first, &v1, Some(loopback(options.publish.clone())))?;
    }
    ready::nodes(&client, &layout, options.nodes).await?;
    let proxying = if options.proxy_mode == "none" { 0 } else { options.nodes };
    for (node, mode) in ready::proxies(&layout, proxying).await? {
        if mode != options.proxy_mode {
            let log = layout.run().join(&node).join("node.log");
            progress.note(&format!(
                "{node} proxies Services with {mode}, not {}: {} says why",
                options.proxy_mode,
                log.display()
            ));
        }
    }
    let seconds = progress.finish();
    print!("{}", what_to_try(&layout, &options, seconds));
    Ok(())
}

/// Whether the machines are there as they were built, with all their namespaces.
fn intact(layout: &Layout, nodes: u32) -> bool {
    let wanted = Record { nodes, complete: true };
    let record = fs::read(layout.cluster_json()).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    record.is_some_and(|record| record == wanted)
        && ["switch", "outside"].iter().all(|part| spaces::is_pinned(&layout.netns(part)))
        && (1..=nodes).all(|n| spaces::intact(&layout.node(n)))
}

async fn build(layout: &Layout, options: &Options) -> Result<()> {
    mounts::mount_cluster(layout)?;
    record(layout, &Record { nodes: options.nodes, complete: false })?;
    // The hierarchy's root, then the cluster's group, hand their controllers down to the machines' groups.
    cgroup::delegate(&layout.cgroup())?;
    let group = layout.cgroup().join(layout.group());
    cgroup::make(&group)?;
    cgroup::delegate(&group)?;
    network::build(layout, options.nodes).await
}

fn record(layout: &Layout, record: &Record) -> Result<()> {
    let path = layout.cluster_json();
    let text = serde_json::to_vec(record).context("encoding cluster.json")?;
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// The plugin folder that containerd looks into: the binary under the names of its plugins.
fn link_cni(layout: &Layout, options: &Options) -> Result<()> {
    let dir = layout.cni_bin();
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    for name in ["orlop-cni", "loopback"] {
        let link = dir.join(name);
        let _ = fs::remove_file(&link);
        symlink(&options.binary, &link).with_context(|| format!("linking {}", link.display()))?;
    }
    Ok(())
}

async fn bring_up_nodes(layout: &Layout, options: &Options, v1: &[V1]) -> Result<()> {
    let mut tasks = JoinSet::new();
    for n in 1..=options.nodes {
        let (node, options, v1) = (layout.node(n), options.clone(), v1.to_vec());
        tasks.spawn(async move { spawn_blocking(move || node::bring_up(&node, &options, &v1)).await });
    }
    // Every one is waited for, whatever became of the others: nobody may still be building when the lock is given up.
    let mut result = Ok(());
    while let Some(done) = tasks.join_next().await {
        let done = done.context("a machine's task ended").and_then(|done| done.context("a machine's task ended")?);
        if result.is_ok() {
            result = done;
        }
    }
    result
}

/// Listening sockets on the person's loopback: a socket belongs to the namespace in which it was opened, whoever uses it.
fn loopback(ports: Vec<u16>) -> Sockets {
    let open = |port: u16| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
            format!("listening on 127.0.0.1:{port}: choose another --api-port or --publish if something else serves it")
        })?;
        Ok((argv::LISTEN_FD.into(), OwnedFd::from(listener)))
    };
    Sockets { ports, open }
}

fn machines(nodes: u32) -> String {
    if nodes == 1 { "1 machine".into() } else { format!("{nodes} machines") }
}

fn what_to_try(layout: &Layout, options: &Options, seconds: f64) -> String {
    let name = if layout.name == "orlop" { String::new() } else { format!(" --name {}", layout.name) };
    let (node, last) = (crate::address::node(1), crate::address::node(options.nodes));
    let orlop = &options.called_as;
    let mut text = format!("Cluster {} is up: {} Ready in {seconds:.1} s.\n\n", layout.name, machines(options.nodes));
    text += &format!("  export KUBECONFIG={}\n", layout.admin_kubeconfig().display());
    text += "  kubectl create -f examples/mytomcat.rc.yaml -f examples/mytomcat.svc.yaml\n";
    text += "  kubectl get nodes,rc,pods,svc,endpoints -o wide\n";
    text += &format!("  {orlop} outside{name} -- curl -s http://{last}:30001/        # from a host that is no node\n");
    text += &format!("  {orlop} outside{name} --node 1 -- curl -s http://{node}:30001/   # from node 1\n");
    for port in &options.publish {
        text += &format!("  curl -s http://127.0.0.1:{port}/        # from here\n");
    }
    text += &format!("  {orlop} down{name}\n");
    text
}
