//! Two nodes, their pods and an outside host as bare network namespaces with addresses of both families, and `orlop proxy` alone on
//! each node: for what the network of `up` has not. Everything is called after the bed and cleared at its start, too, so that one
//! that was killed leaves nothing to the next.
//!
//! ```text
//! outside .200 ── switch .1 (the API server) ── node1 .11 ── caller .2, here .3
//!                                            └─ node2 .12 ── there .2
//! ```
//! Cables are in 172.31.0.0/24 and fd00:31::/64, node N's pods in 10.245.N.0/24 and fd00:245:N::/64 behind a gateway `.1` that is
//! every pod's.

mod api;
mod place;
mod space;

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use orlop_conformance::{eventually, stdout};
use serde_json::json;

pub use api::Api;

use crate::{Ground, Pod};
use place::Directory;
use space::Space;

const NODES: [u32; 2] = [1, 2];
/// Pods: the node and the last part of the address.
const PODS: [(&str, u32, u8); 3] = [("caller", 1, 2), ("here", 1, 3), ("there", 2, 2)];
const CLUSTER_CIDRS: &str = "10.245.0.0/16,fd00:245::/32";

/// A pod with an address of each family.
#[derive(Debug, Clone)]
pub struct BedPod {
    /// As traffic knows it, by its IPv4 address.
    pub pod: Pod,
    /// Its addresses, IPv4 first.
    pub addresses: [IpAddr; 2],
}

/// The bed, which is cleared when the value goes.
pub struct Bed {
    directory: Directory,
    mode: &'static str,
    binary: PathBuf,
    spaces: BTreeMap<String, Space>,
    proxies: Vec<Child>,
    /// What the proxies watch.
    pub api: Api,
    /// `caller` and `here` on node 1, `there` on node 2.
    pub pods: Vec<BedPod>,
}

impl Bed {
    /// Clears what an earlier one left under this name, lays the cables, and starts a proxy on each node: there are no Services yet.
    pub fn new(name: &str, mode: &'static str) -> Result<Self> {
        let binary = std::env::var_os("ORLOP_BINARY").context("ORLOP_BINARY is not set: use `cargo xtask test`")?;
        let directory = Directory::new(name)?;
        let mut spaces = BTreeMap::new();
        let parts = ["switch", "outside", "node1", "node2"].into_iter().chain(PODS.map(|(pod, ..)| pod));
        for part in parts {
            spaces.insert(part.to_owned(), Space::create(&directory.netns(part))?);
        }
        cables(&spaces)?;
        let listener = spaces["switch"].run(|| TcpListener::bind((switch()[0], 0)))??;
        let api = Api::serve(listener)?;
        let pods = PODS.map(|(name, node, last)| {
            let addresses = pod(node, last);
            let netns = directory.netns(name);
            BedPod { pod: Pod { name: name.into(), node, ip: addresses[0].to_string(), netns }, addresses }
        });
        let (pods, proxies) = (pods.to_vec(), Vec::new());
        let mut bed = Self { directory, mode, binary: binary.into(), spaces, proxies, api, pods };
        for node in NODES {
            bed.set_node(node, &Self::node(node))?;
            bed.start_proxy(node)?;
        }
        Ok(bed)
    }

    /// The addresses of a node's cable, IPv4 first.
    pub fn node(node: u32) -> [IpAddr; 2] {
        cable(10 + node)
    }

    /// Every address that processes of a node may have towards others: its cable's and its pods' gateway.
    pub fn node_addresses(node: u32) -> Vec<IpAddr> {
        [Self::node(node), pod(node, 1)].concat()
    }

    /// The outside host's addresses.
    pub fn outside() -> [IpAddr; 2] {
        cable(200)
    }

    /// A pod by its name.
    pub fn pod(&self, name: &str) -> Option<&BedPod> {
        self.pods.iter().find(|pod| pod.pod.name == name)
    }

    /// Writes the Node with these InternalIPs.
    pub fn set_node(&self, node: u32, addresses: &[IpAddr]) -> Result<()> {
        let addresses: Vec<_> = addresses.iter().map(|ip| json!({"type": "InternalIP", "address": ip})).collect();
        let cidrs = [format!("10.245.{node}.0/24"), format!("fd00:245:{node}::/64")];
        self.api.apply(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node{node}")},
            "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}, "status": {"addresses": addresses},
        }))
    }

    /// Runs `ip` in a namespace: `node1`, `outside`, a pod's name.
    pub fn ip(&self, part: &str, words: &str) -> Result<()> {
        self.spaces.get(part).with_context(|| format!("there is no {part}"))?.ip(&[words.to_owned()])
    }

    /// What a page of a node's proxy says: `/explain?...`
    pub fn ask(&self, node: u32, page: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:10249{page}");
        stdout(&mut self.command(Some(node), &["curl", "-s", "-m", "5", &url]))
    }

    /// The proxies' last words, for a failure's message.
    pub fn logs(&self) -> String {
        let log = |node: u32| {
            let text = fs::read_to_string(self.log(node)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- the proxy of node{node}\n{}\n", lines[lines.len().saturating_sub(30)..].join("\n"))
        };
        NODES.map(log).concat()
    }

    fn log(&self, node: u32) -> PathBuf {
        self.directory.path().join(format!("node{node}.log"))
    }

    fn start_proxy(&mut self, node: u32) -> Result<()> {
        let name = format!("node{node}");
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let (binary, bpf_root) = (path(self.binary.clone()), path(self.directory.bpf().join(&name)));
        let (cgroup_root, master) = (path(self.directory.group(&name)), format!("http://{}", self.api.address()));
        let words = [
            &binary,
            "proxy",
            "--master",
            &master,
            "--hostname-override",
            &name,
            "--proxy-mode",
            self.mode,
            "--bpf-root",
            &bpf_root,
            "--cgroup-root",
            &cgroup_root,
            "--cluster-cidr",
            CLUSTER_CIDRS,
        ];
        let log = fs::File::create(self.log(node))?;
        let mut command = self.command(Some(node), &words);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.proxies.push(command.spawn().context("starting a proxy")?);
        let told = eventually("the proxy's mode", Duration::from_secs(20), || {
            Ok(Some(self.ask(node, "/proxyMode")?.trim().to_owned()).filter(|told| !told.is_empty()))
        });
        let told = told.with_context(|| self.logs())?;
        ensure!(told == self.mode, "{name} fell back to {told}\n{}", self.logs());
        Ok(())
    }
}

impl Ground for Bed {
    fn command(&self, node: Option<u32>, words: &[&str]) -> Command {
        let part = node.map_or("outside".into(), |node| format!("node{node}"));
        let mut command = Command::new("sh");
        // The group first: who is in a node's group is one of its processes from its first socket on.
        command.args(["-c", r#"echo $$ > "$0" && netns="$1" && shift && exec nsenter --net="$netns" -- "$@""#]);
        command.arg(self.directory.group(&part).join("cgroup.procs")).arg(self.directory.netns(&part)).args(words);
        command
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        if let Err(error) = self.directory.clear() {
            eprintln!("clearing the bed: {error:#}");
        }
        for proxy in &mut self.proxies {
            let _ = proxy.wait();
        }
    }
}

fn switch() -> [IpAddr; 2] {
    cable(1)
}

fn cable(last: u32) -> [IpAddr; 2] {
    let last = u16::try_from(last).unwrap_or_default();
    [Ipv4Addr::new(172, 31, 0, last as u8).into(), Ipv6Addr::new(0xfd00, 0x31, 0, 0, 0, 0, 0, last).into()]
}

fn pod(node: u32, last: u8) -> [IpAddr; 2] {
    let node = u16::try_from(node).unwrap_or_default();
    let v6 = Ipv6Addr::new(0xfd00, 0x245, node, 0, 0, 0, 0, last.into());
    [Ipv4Addr::new(10, 245, node as u8, last).into(), v6.into()]
}

/// Lays every cable, with addresses and routes.
fn cables(spaces: &BTreeMap<String, Space>) -> Result<()> {
    const NETS: [u8; 2] = [24, 64];
    const HOSTS: [u8; 2] = [32, 128];
    let address = |ips: [IpAddr; 2], lengths: [u8; 2], device: &str| -> Vec<String> {
        let [v4, v6] = [(ips[0], lengths[0]), (ips[1], lengths[1])];
        let v6_words = format!("addr add {}/{} dev {device} nodad", v6.0, v6.1);
        vec![format!("addr add {}/{} dev {device}", v4.0, v4.1), v6_words]
    };
    let switch = &spaces["switch"];
    switch.ip(&["link add br0 type bridge".into(), "link set br0 up".into()])?;
    switch.ip(&address(self::switch(), NETS, "br0"))?;
    for (part, last) in [("node1", 11), ("node2", 12), ("outside", 200)] {
        switch.cable(&format!("to-{part}"), &spaces[part], "eth0")?;
        switch.ip(&[format!("link set to-{part} master br0")])?;
        spaces[part].ip(&address(cable(last), NETS, "eth0"))?;
    }
    for node in NODES {
        let space = &spaces[&format!("node{node}")];
        space.forward()?;
        let other = 3 - node;
        let (way, outside) = (cable(10 + other), Bed::outside());
        space.ip(&[
            format!("route add 10.245.{other}.0/24 via {}", way[0]),
            format!("route add fd00:245:{other}::/64 via {}", way[1]),
            format!("route add default via {}", outside[0]),
            format!("route add ::/0 via {}", outside[1]),
        ])?;
        for (name, _, last) in PODS.into_iter().filter(|(_, at, _)| *at == node) {
            let device = format!("pod-{name}");
            space.cable(&device, &spaces[name], "eth0")?;
            let (gateway, own) = (pod(node, 1), pod(node, last));
            space.ip(&address(gateway, HOSTS, &device))?;
            space.ip(&[format!("route add {} dev {device}", own[0]), format!("route add {} dev {device}", own[1])])?;
            spaces[name].ip(&address(own, HOSTS, "eth0"))?;
            spaces[name].ip(&[
                format!("route add {} dev eth0", gateway[0]),
                format!("route add {} dev eth0", gateway[1]),
                format!("route add default via {}", gateway[0]),
                format!("route add ::/0 via {}", gateway[1]),
            ])?;
        }
    }
    Ok(())
}

/// Where a bed of this name has its files.
pub(crate) fn home(name: &str) -> PathBuf {
    Path::new("/run/orlop-chaos").join(name)
}
