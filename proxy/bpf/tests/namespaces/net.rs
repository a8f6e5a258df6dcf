//! A node, a pod on it, a pod behind another node, a host outside; and what serves them.

use orlop_bpf::{EbpfBackend, Options};
use orlop_nft::NftBackend;
use orlop_plan::{Backend, Plan, Protocol};

use crate::plans::{cluster_ip, node_port, plan};
use crate::world::{Namespace, Node};

/// Which backend serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ebpf,
    Nftables,
}

impl Kind {
    fn open(self, options: Options) -> Box<dyn Backend> {
        match self {
            Self::Ebpf => Box::new(EbpfBackend::open(options).expect("open the backend")),
            Self::Nftables => Box::new(NftBackend::open().expect("open the backend")),
        }
    }
}

pub const LOCAL: &str = "10.244.1.5:8080";
pub const REMOTE: &str = "10.244.2.5:8080";
pub const HOST: &str = "172.31.0.11:6443";
pub const NODE_PORT: &str = "172.30.0.11:30001";

/// The outside host is 172.30.0.200, the node 172.30.0.11 with pod 10.244.1.5, the other node's pod 10.244.2.5 is
/// behind 172.31.0.12. The outside host and the other pod know no way to each other but through the node.
pub struct Net {
    pub node: Node,
    pub pod: Namespace,
    pub outside: Namespace,
    pub other: Namespace,
    kind: Kind,
}

impl Net {
    pub fn new(kind: Kind) -> Self {
        let (node, pod, other, outside) = (Node::new(), Namespace::new(), Namespace::new(), Namespace::new());
        node.namespace.cable("eth0", &outside, "eth0");
        node.namespace.ip("addr add 172.30.0.11/24 dev eth0");
        outside.ip("addr add 172.30.0.200/24 dev eth0");
        outside.ip("route add 10.96.0.0/12 via 172.30.0.11");

        node.namespace.cable("pod", &pod, "eth0");
        node.namespace.ip("route add 10.244.1.5 dev pod");
        pod.ip("addr add 10.244.1.5/32 dev eth0");
        node.namespace.ip("addr add 169.254.1.1/32 dev pod scope link");
        pod.ip("route add 169.254.1.1 dev eth0");
        pod.ip("route add default via 169.254.1.1");

        node.namespace.cable("eth1", &other, "eth0");
        node.namespace.ip("addr add 172.31.0.11/24 dev eth1");
        other.ip("addr add 172.31.0.12/24 dev eth0");
        other.ip("addr add 10.244.2.5/32 dev lo");
        other.ip("route add 10.244.1.0/24 via 172.31.0.11");
        node.namespace.ip("route add 10.244.2.0/24 via 172.31.0.12");

        // The outside host lives in this process too: its sockets must not look like the node's.
        node.leave_cgroup();
        pod.serve("local", LOCAL);
        other.serve("remote", REMOTE);
        Self { node, pod, outside, other, kind }
    }

    /// With a NodePort and a ClusterIP for both protocols, and no agent running any more.
    pub fn serving(kind: Kind, endpoints: &[&str]) -> Self {
        let net = Self::new(kind);
        net.serve(endpoints);
        net
    }

    pub fn serve(&self, endpoints: &[&str]) {
        let plan = self.plan(endpoints);
        let options = self.node.options();
        let kind = self.kind;
        self.node.namespace.run(move || kind.open(options).resync(&plan).expect("program the kernel"));
    }

    pub fn plan(&self, endpoints: &[&str]) -> Plan {
        let mut plan = plan(&["172.30.0.11", "172.31.0.11"]);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            node_port(&mut plan, protocol, 30_001, endpoints);
            cluster_ip(&mut plan, protocol, "10.96.0.10", 80, endpoints);
        }
        plan
    }
}
