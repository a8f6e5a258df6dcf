//! The Services of the table: one for each state of endpoints under each pair of policies, and one for each special row.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};

use crate::table::{Row, rows};

const POLICIES: [&str; 2] = ["Cluster", "Local"];
const SPECIAL: [&str; 3] = ["admitted", "denied", "proxy-mode"];
pub const PORT: u16 = 7000;
const FIRST_NODE_PORT: u16 = 30100;
/// Networks of load balancers' and external addresses, each of which the n-th Service has one of each family in.
const LOAD_BALANCERS: ([u8; 3], u16) = ([203, 0, 113], 0x113);
const EXTERNAL_IPS: ([u8; 3], u16) = ([198, 51, 100], 0x51);

/// The networks that callers need a way to, IPv4's first.
pub fn networks() -> [[String; 2]; 2] {
    [LOAD_BALANCERS, EXTERNAL_IPS].map(|([a, b, c], v6)| [format!("{a}.{b}.{c}.0/24"), format!("2001:db8:{v6:x}::/64")])
}

/// How many cells the table has for each family and protocol.
pub const fn cells() -> usize {
    let [inside, outside, loopback] = [16 * 2 * 2, 16 * 3 * (2 + 1 + 1), 1];
    inside + outside + SPECIAL.len() + loopback
}

/// A Service.
pub struct Case {
    pub name: String,
    /// The only frontend that it is for.
    special: Option<&'static str>,
    internal: &'static str,
    external: &'static str,
    pub endpoints: &'static str,
    n: u8,
    /// Where it is reached, by family.
    pub places: Vec<Places>,
}

/// Where a Service is reached in one family.
pub struct Places {
    pub cluster_ip: SocketAddr,
    node_port: SocketAddr,
    loopback: SocketAddr,
    load_balancer: SocketAddr,
    external_ip: SocketAddr,
}

/// Every Service, without places yet.
pub fn cases() -> Vec<Case> {
    let rows = rows();
    let states: BTreeSet<&str> = rows.iter().map(|row| row.endpoints).collect();
    let pairs = POLICIES.into_iter().flat_map(|internal| POLICIES.map(|external| (internal, external)));
    let ordinary =
        pairs.flat_map(|(internal, external)| states.iter().map(move |state| (None, internal, external, *state)));
    let special = SPECIAL.map(|special| (Some(special), "Cluster", "Cluster", "both"));
    let named = (10..).zip(ordinary.chain(special));
    named
        .map(|(n, (special, internal, external, endpoints))| {
            let name = match special {
                Some(special) => special.to_owned(),
                None => format!("{}-{}-{endpoints}", internal.to_lowercase(), external.to_lowercase()),
            };
            Case { name, special, internal, external, endpoints, n, places: Vec::new() }
        })
        .collect()
}

impl Case {
    /// What a row says something of, by name, in the `family`-th family; `loopback`: whether NodePorts answer there.
    pub fn addresses(&self, row: &Row, family: usize, loopback: bool) -> Vec<(&'static str, SocketAddr)> {
        let policy = if row.frontend == "cluster-ip" { self.internal } else { self.external };
        if row.policy != policy || row.endpoints != self.endpoints {
            return Vec::new();
        }
        let places = &self.places[family];
        let node_port = ("node-port", places.node_port);
        let load_balancer = ("load-balancer", places.load_balancer);
        let loopback = if loopback { "loopback" } else { "no-loopback" };
        match (row.frontend, self.special) {
            ("cluster-ip", None) => vec![("cluster-ip", places.cluster_ip)],
            ("external", None) if self.internal == "Local" => vec![node_port],
            ("external", None) => vec![node_port, load_balancer, ("external-ip", places.external_ip)],
            (frontend, None) if frontend == loopback && self.internal == "Cluster" => vec![(loopback, places.loopback)],
            (frontend, Some(special)) if frontend == special => vec![load_balancer],
            _ => Vec::new(),
        }
    }

    /// Its NodePort.
    fn node_port(&self) -> u16 {
        FIRST_NODE_PORT + u16::from(self.n) - 10
    }

    /// Its place in a network of [`networks`].
    fn at(&self, ([a, b, c], v6): ([u8; 3], u16), family: usize) -> IpAddr {
        match family {
            0 => IpAddr::from([a, b, c, self.n]),
            _ => Ipv6Addr::new(0x2001, 0xdb8, v6, 0, 0, 0, 0, self.n.into()).into(),
        }
    }

    /// An address that whoever allocates them may give it.
    pub fn cluster_ip(&self, family: usize) -> IpAddr {
        match family {
            0 => IpAddr::from([10, 96, 7, self.n]),
            _ => Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, self.n.into()).into(),
        }
    }

    /// Says where it is reached: these cluster IPs and addresses of the node.
    pub fn settle(&mut self, cluster_ips: &[IpAddr], node: &[IpAddr]) {
        let loopback = [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()];
        let places = |(family, (cluster_ip, node)): (usize, (&IpAddr, &IpAddr))| Places {
            cluster_ip: SocketAddr::new(*cluster_ip, PORT),
            node_port: SocketAddr::new(*node, self.node_port()),
            loopback: SocketAddr::new(loopback[family], self.node_port()),
            load_balancer: SocketAddr::new(self.at(LOAD_BALANCERS, family), PORT),
            external_ip: SocketAddr::new(self.at(EXTERNAL_IPS, family), PORT),
        };
        self.places = cluster_ips.iter().zip(node).enumerate().map(places).collect();
    }

    /// The Service, of the first so many families; `outside` are those of the host that is admitted.
    pub fn service(&self, families: usize, protocols: &[&str], outside: &[IpAddr]) -> Value {
        let ports = protocols.iter().map(
            |name| json!({"name": name.to_lowercase(), "protocol": name, "port": PORT, "nodePort": self.node_port()}),
        );
        let external_ips: Vec<IpAddr> = (0..families).map(|family| self.at(EXTERNAL_IPS, family)).collect();
        let mut spec = json!({
            "type": "LoadBalancer", "internalTrafficPolicy": self.internal, "externalTrafficPolicy": self.external,
            "externalIPs": external_ips, "ports": ports.collect::<Vec<_>>(),
        });
        match self.special {
            Some("admitted") => {
                let alone = |ip: &IpAddr| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
                spec["loadBalancerSourceRanges"] = outside.iter().map(alone).collect();
            }
            Some("denied") => spec["loadBalancerSourceRanges"] = json!(["192.0.2.0/24", "2001:db8:2::/64"][..families]),
            _ => {}
        }
        if self.external == "Local" {
            spec["healthCheckNodePort"] = json!(self.node_port() + 1000);
        }
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": self.name}, "spec": spec})
    }

    /// `status.loadBalancer.ingress` of a family.
    pub fn ingress(&self, family: usize) -> Value {
        let ip_mode = if self.special == Some("proxy-mode") { "Proxy" } else { "VIP" };
        json!({"ip": self.at(LOAD_BALANCERS, family), "ipMode": ip_mode})
    }
}

/// The endpoints of a state: `(ready, serving, terminating)` of the servers here and there, each an address and a node's number.
pub fn state(name: &str, servers: [(IpAddr, u32); 2]) -> Vec<Value> {
    type Conditions = (bool, bool, bool);
    const READY: Conditions = (true, true, false);
    const LEAVING: Conditions = (false, true, true);
    let [here, there] = match name {
        "both" => [Some(READY), Some(READY)],
        "only-here" => [Some(READY), None],
        "only-there" => [None, Some(READY)],
        "leaving" => [Some(LEAVING), Some(LEAVING)],
        "leaving-here" => [Some(LEAVING), Some(READY)],
        "leaving-there" => [None, Some(LEAVING)],
        "none-ready" => [Some((false, false, false)), Some((false, false, true))],
        "empty" => [None, None],
        other => panic!("nobody knows the state {other:?}"),
    };
    let endpoint = |((address, node), conditions): ((IpAddr, u32), Option<Conditions>)| {
        let (ready, serving, terminating) = conditions?;
        Some(json!({
            "addresses": [address], "nodeName": format!("node{node}"),
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        }))
    };
    servers.into_iter().zip([here, there]).filter_map(endpoint).collect()
}
