//! A node, a pod on it, a pod behind another node, a host outside; and what serves them.

use orlop_bpf::{EbpfBackend, Options, Xdp};
use orlop_nft::NftBackend;
use orlop_plan::{Backend, Plan, Protocol};

use crate::cables;
use crate::plans::{cluster_ip, node_port, node_port_v6, plan};
use crate::world::{Namespace, Node};

/// Which backend serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ebpf,
    /// With programs in the drivers of devices (XDP).
    Drivers,
    Nftables,
}

impl Kind {
    fn open(self, options: Options) -> Box<dyn Backend> {
        match self {
            Self::Ebpf => Box::new(EbpfBackend::open(options).expect("open the backend")),
            Self::Drivers => Self::Ebpf.open(Options { xdp: Xdp::Native, ..options }),
            Self::Nftables => Box::new(NftBackend::open().expect("open the backend")),
        }
    }
}

pub const LOCAL: &str = V4.local;
pub const REMOTE: &str = V4.remote;
pub const NODE_PORT: &str = V4.node_port;

/// What everything is called in one family.
pub struct Addresses {
    /// Endpoints: a pod of the node, a pod of the other node, the node itself; and closed ports of each.
    pub local: &'static str,
    pub remote: &'static str,
    pub host: &'static str,
    pub closed: [&'static str; 3],
    /// Services.
    pub node_port: &'static str,
    pub cluster_ip: &'static str,
    /// A port that the cluster IP does not have.
    pub unused: &'static str,
    /// The beginnings of what servers answer to clients with these addresses: the node's to the outside and to the other
    /// node, the outside host's, the pod's.
    pub node: &'static str,
    pub second: &'static str,
    pub client: &'static str,
    pub pod: &'static str,
    /// What a socket of this family is bound to.
    pub any: &'static str,
}

pub const V4: Addresses = Addresses {
    local: "10.244.1.5:8080",
    remote: "10.244.2.5:8080",
    host: "172.31.0.11:6443",
    closed: ["10.244.1.5:9", "10.244.2.5:9", "172.31.0.11:9"],
    node_port: "172.30.0.11:30001",
    cluster_ip: "10.96.0.10:80",
    unused: "10.96.0.10:81",
    node: "172.30.0.11:",
    second: "172.31.0.11:",
    client: "172.30.0.200:",
    pod: "10.244.1.5:",
    any: "0.0.0.0:0",
};

pub const V6: Addresses = Addresses {
    local: "[fd00:244:1::5]:8080",
    remote: "[fd00:244:2::5]:8080",
    host: "[fd00:31::11]:6443",
    closed: ["[fd00:244:1::5]:9", "[fd00:244:2::5]:9", "[fd00:31::11]:9"],
    node_port: "[fd00:30::11]:30001",
    cluster_ip: "[fd00:96::10]:80",
    unused: "[fd00:96::10]:81",
    node: "[fd00:30::11]:",
    second: "[fd00:31::11]:",
    client: "[fd00:30::200]:",
    pod: "[fd00:244:1::5]:",
    any: "[::]:0",
};

/// The outside host is 172.30.0.200, the node 172.30.0.11 with pod 10.244.1.5, the other node's pod 10.244.2.5 is
/// behind 172.31.0.12; and the same in IPv6. The outside host and the other pod know no way to each other but through
/// the node.
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
        node.namespace.ip("addr add fd00:30::11/64 dev eth0");
        outside.ip("addr add 172.30.0.200/24 dev eth0");
        outside.ip("addr add fd00:30::200/64 dev eth0");
        outside.ip("route add 10.96.0.0/12 via 172.30.0.11");
        outside.ip("route add fd00:96::/64 via fd00:30::11");

        cables::pod(&node.namespace, &pod, 1);

        node.namespace.cable("eth1", &other, "eth0");
        node.namespace.ip("addr add 172.31.0.11/24 dev eth1");
        other.ip("addr add 172.31.0.12/24 dev eth0");
        other.ip("addr add 10.244.2.5/32 dev lo");
        other.ip("route add 10.244.1.0/24 via 172.31.0.11");
        node.namespace.ip("route add 10.244.2.0/24 via 172.31.0.12");
        node.namespace.ip("addr add fd00:31::11/64 dev eth1");
        other.ip("addr add fd00:31::12/64 dev eth0");
        other.ip("addr add fd00:244:2::5/128 dev lo");
        other.ip("route add fd00:244:1::/64 via fd00:31::11");
        node.namespace.ip("route add fd00:244:2::/64 via fd00:31::12");

        if kind == Kind::Drivers {
            for host in [&outside, &other] {
                cables::finish_checksums(host, "eth0");
                cables::take_frames(host, "eth0");
            }
        }
        // The outside host lives in this process too: its sockets must not look like the node's.
        node.leave_cgroup();
        for at in [&V4, &V6] {
            pod.serve("local", at.local);
            other.serve("remote", at.remote);
        }
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

    /// Each family has the endpoints of its own.
    pub fn plan(&self, endpoints: &[&str]) -> Plan {
        let (v6, v4): (Vec<&str>, Vec<&str>) =
            endpoints.iter().copied().partition(|endpoint| endpoint.starts_with('['));
        let mut plan = plan(&["172.30.0.11", "172.31.0.11", "fd00:30::11", "fd00:31::11"]);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            node_port(&mut plan, protocol, 30_001, &v4);
            node_port_v6(&mut plan, protocol, 30_001, &v6);
            cluster_ip(&mut plan, protocol, "10.96.0.10", 80, &v4);
            cluster_ip(&mut plan, protocol, "fd00:96::10", 80, &v6);
        }
        plan
    }
}
