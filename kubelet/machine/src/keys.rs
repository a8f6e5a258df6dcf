//! Keys and kubeconfigs: the person's, and one for each agent of each machine under its own user.

use crate::address;
use crate::layout::Layout;
use crate::options::Options;
use anyhow::{Context, Result};
use orlop_auth::pki::{ClusterPki, Subject, Usage, kubeconfig};
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes every kubeconfig of the cluster and each kubelet's serving certificate, and makes the CA where there is none.
pub(crate) fn write_all(layout: &Layout, options: &Options) -> Result<()> {
    let pki = ClusterPki::open(&layout.pki()).context("opening the cluster's keys")?;
    let loopback = format!("https://127.0.0.1:{}", options.api_port);
    let admin = Subject::new("kubernetes-admin", &["system:masters"]);
    config(&pki, &layout.name, &loopback, &admin, &layout.admin_kubeconfig())?;

    let on_switch = format!("https://{}:{}", address::node(1), address::API_PORT);
    for n in 1..=options.nodes {
        let node = layout.node(n);
        let dir = node.lib();
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let users = [
            ("kubelet", Subject::new(format!("system:node:{}", node.name()), &["system:nodes"])),
            ("proxy", Subject::new("system:kube-proxy", &[])),
            ("overlay", Subject::new("system:orlop-overlay", &[])),
        ];
        for (file, user) in users {
            config(&pki, &layout.name, &on_switch, &user, &dir.join(format!("{file}.kubeconfig")))?;
        }
        kubelet_serving(&pki, &node.name(), address::node(n).into(), &dir)?;
    }
    Ok(())
}

/// `kubelet.crt` and `kubelet.key`, with which the kubelet serves, and `ca.crt`, by which it knows its callers.
fn kubelet_serving(pki: &ClusterPki, node: &str, address: IpAddr, dir: &Path) -> Result<()> {
    let subject = Subject::new(format!("system:node:{node}"), &["system:nodes"]);
    let usage = Usage::Server { names: vec![node.to_owned()], addresses: vec![address] };
    let issued =
        pki.ca().issue(&subject, &usage).with_context(|| format!("signing the serving certificate of {node}"))?;
    write(dir, "kubelet.crt", &issued.certificate, 0o644)?;
    write(dir, "kubelet.key", &issued.key, 0o600)?;
    write(dir, "ca.crt", pki.ca().certificate(), 0o644)
}

/// Replaces a file whole or not at all; a reader sees the old one or the new one.
fn write(dir: &Path, name: &str, text: &str, mode: u32) -> Result<()> {
    let (path, new) = (dir.join(name), dir.join(format!("{name}.new")));
    let doing = || format!("writing {}", path.display());
    // One that a killed run left has the mode it was made with.
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&new).with_context(doing)?;
    file.write_all(text.as_bytes()).with_context(doing)?;
    fs::rename(&new, &path).with_context(doing)
}

fn config(pki: &ClusterPki, cluster: &str, server: &str, user: &Subject, path: &Path) -> Result<()> {
    kubeconfig(pki, cluster, server, user, path)
        .with_context(|| format!("writing kubeconfig {} for {}", path.display(), user.common_name))
}
