//! Keys and kubeconfigs: the person's, and one for each agent of each machine under its own user.

use crate::address;
use crate::layout::Layout;
use crate::options::Options;
use anyhow::{Context, Result};
use orlop_auth::pki::{ClusterPki, Subject, kubeconfig};
use std::path::Path;

/// Writes every kubeconfig of the cluster, and makes the CA where there is none.
pub(crate) fn write(layout: &Layout, options: &Options) -> Result<()> {
    let pki = ClusterPki::open(&layout.pki()).context("opening the cluster's keys")?;
    let loopback = format!("https://127.0.0.1:{}", options.api_port);
    let admin = Subject::new("kubernetes-admin", &["system:masters"]);
    config(&pki, &layout.name, &loopback, &admin, &layout.admin_kubeconfig())?;

    let on_switch = format!("https://{}:{}", address::node(1), address::API_PORT);
    for n in 1..=options.nodes {
        let node = layout.node(n);
        let dir = node.lib();
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let users = [
            ("kubelet", Subject::new(format!("system:node:{}", node.name()), &["system:nodes"])),
            ("proxy", Subject::new("system:kube-proxy", &[])),
            ("overlay", Subject::new("system:orlop-overlay", &[])),
        ];
        for (file, user) in users {
            config(&pki, &layout.name, &on_switch, &user, &dir.join(format!("{file}.kubeconfig")))?;
        }
    }
    Ok(())
}

fn config(pki: &ClusterPki, cluster: &str, server: &str, user: &Subject, path: &Path) -> Result<()> {
    kubeconfig(pki, cluster, server, user, path)
        .with_context(|| format!("writing kubeconfig {} for {}", path.display(), user.common_name))
}
