//! Where everything of one cluster is (ARCHITECTURE.md, "Files of a cluster").

use crate::options::Roots;
use std::path::PathBuf;

/// The paths of the cluster NAME.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub name: String,
    roots: Roots,
}

/// The paths of one of its machines.
#[derive(Debug, Clone)]
pub(crate) struct NodeLayout {
    pub cluster: Layout,
    pub n: u32,
}

impl Layout {
    pub(crate) fn new(name: &str, roots: &Roots) -> Self {
        Self { name: name.to_string(), roots: roots.clone() }
    }

    pub(crate) fn lib(&self) -> PathBuf {
        self.roots.lib.join(&self.name)
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.roots.run.join(&self.name)
    }

    /// Held while `up` or `down` works: outside of `run`, which is a mount that comes and goes.
    pub(crate) fn lock(&self) -> PathBuf {
        self.roots.run.join(format!("{}.lock", self.name))
    }

    pub(crate) fn cluster_json(&self) -> PathBuf {
        self.run().join("cluster.json")
    }

    pub(crate) fn admin_kubeconfig(&self) -> PathBuf {
        self.lib().join("admin.kubeconfig")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.lib().join("pki")
    }

    pub(crate) fn bpf(&self) -> PathBuf {
        self.run().join("bpf")
    }

    pub(crate) fn cgroup(&self) -> PathBuf {
        self.run().join("cgroup")
    }

    pub(crate) fn cni_bin(&self) -> PathBuf {
        self.run().join("cni-bin")
    }

    pub(crate) fn netns_dir(&self) -> PathBuf {
        self.roots.netns.clone()
    }

    pub(crate) fn netns(&self, what: &str) -> PathBuf {
        self.roots.netns.join(format!("{}-{what}", self.name))
    }

    /// The cluster's cgroup2 group below the hierarchy's root. Prefixed: a cluster may be called `docker` or `kubepods`, and what is
    /// in a group of that name is somebody else's.
    pub(crate) fn group(&self) -> String {
        format!("orlop-{}", self.name)
    }

    pub(crate) fn node(&self, n: u32) -> NodeLayout {
        NodeLayout { cluster: self.clone(), n }
    }

    /// What `file_name` names of this cluster: `switch`, `outside` or `nodeN`. Another cluster's is nothing, even one whose name begins alike.
    pub(crate) fn part<'a>(&self, file_name: &'a str) -> Option<&'a str> {
        let part = file_name.strip_prefix(&self.name)?.strip_prefix('-')?;
        let node = part.strip_prefix("node").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        (part == "switch" || part == "outside" || node).then_some(part)
    }
}

impl NodeLayout {
    /// `nodeN`: the machine's host name and its part of every path.
    pub(crate) fn name(&self) -> String {
        format!("node{}", self.n)
    }

    pub(crate) fn lib(&self) -> PathBuf {
        self.cluster.lib().join(self.name())
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.cluster.run().join(self.name())
    }

    pub(crate) fn netns(&self) -> PathBuf {
        self.cluster.netns(&self.name())
    }

    /// A pin of the mount, UTS or cgroup namespace: `mnt`, `uts`, `cgroup`.
    pub(crate) fn pin(&self, namespace: &str) -> PathBuf {
        self.run().join(namespace)
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.run().join("containerd.sock")
    }

    pub(crate) fn cni_conf(&self) -> PathBuf {
        self.run().join("cni.d")
    }

    /// The machine's cgroup2 group below the hierarchy's root.
    pub(crate) fn group(&self) -> String {
        format!("{}/{}", self.cluster.group(), self.name())
    }

    /// The machine's root in each v1 controller.
    pub(crate) fn v1_group(&self) -> String {
        format!("{}-{}", self.cluster.name, self.name())
    }

    /// The machine's cgroup2 group as a directory.
    pub(crate) fn cgroup(&self) -> PathBuf {
        self.cluster.cgroup().join(self.group())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_cluster_with_a_longer_name_are_not_ours() {
        let layout = Layout::new("a", &Roots::default());
        assert_eq!(layout.part("a-node12"), Some("node12"));
        assert_eq!(layout.part("a-switch"), Some("switch"));
        for other in ["a-node1-switch", "ab-switch", "a-node", "a-nodex", "a"] {
            assert_eq!(layout.part(other), None, "{other}");
        }
    }
}
