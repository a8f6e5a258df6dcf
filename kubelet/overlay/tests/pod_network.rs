//! Two nodes as network namespaces, pods made by the real plugin, TCP between them: in both modes, and after somebody broke it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ipnet::Ipv4Net;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth};
use orlop_netns::{Net, NetNs};
use orlop_overlay::{Mac, Mode, NodeNet, Overlay, Settings, Vtep};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use serde_json::{Value, from_value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::Duration;

const VXLAN: Mode = Mode::Vxlan { vni: 1, port: 8472 };

struct Node {
    n: u8,
    ns: NetNs,
    net: Net,
    overlay: Overlay,
    annotations: BTreeMap<String, String>,
    files: tempfile::TempDir,
}

impl Node {
    async fn new(n: u8, ns: NetNs, mode: Mode) -> Self {
        let files = tempfile::tempdir().unwrap();
        let overlay = Overlay::new(settings(n, mode, files.path().into()), ns.clone()).await.unwrap();
        let net = ns.connect().await.unwrap();
        net.up("lo").await.unwrap();
        net.up("eth0").await.unwrap();
        net.add_address("eth0", Ipv4Net::new(ip(n), 24).unwrap()).await.unwrap();
        Self { n, ns, net, overlay, annotations: BTreeMap::new(), files }
    }

    fn cidr(&self) -> Ipv4Net {
        format!("10.244.{}.0/24", self.n).parse().unwrap()
    }

    /// As the API server would show it.
    fn object(&self) -> NodeNet {
        let node = from_value(json!({
            "metadata": {"name": name(self.n), "annotations": self.annotations},
            "spec": {"podCIDR": self.cidr()},
        }));
        NodeNet::of(&node.unwrap()).unwrap()
    }

    async fn prepare(&mut self) {
        let mac = self
            .annotations
            .get("flannel.alpha.coreos.com/backend-data")
            .and_then(|text| serde_json::from_str::<Value>(text).unwrap()["VtepMAC"].as_str()?.parse::<Mac>().ok());
        self.annotations = self.overlay.prepare(self.cidr(), mac).await.unwrap();
    }

    async fn switch(&mut self, mode: Mode) {
        let settings = settings(self.n, mode, self.files.path().into());
        self.overlay = Overlay::new(settings, self.ns.clone()).await.unwrap();
    }

    /// A pod made by the plugin from the configuration that the overlay wrote.
    fn pod(&self, id: &str) -> (NetNs, Ipv4Addr) {
        let pod = NetNs::anonymous().unwrap();
        let list: Value =
            serde_json::from_slice(&std::fs::read(self.files.path().join("10-orlop.conflist")).unwrap()).unwrap();
        let mut config = list["plugins"][0].clone();
        config["cniVersion"] = list["cniVersion"].clone();
        config["name"] = list["name"].clone();
        let path = format!("/proc/{}/fd/{}", std::process::id(), pod.as_fd().as_raw_fd());
        let env = |key: &str| match key {
            "CNI_COMMAND" => Some("ADD".to_string()),
            "CNI_CONTAINERID" => Some(id.to_string()),
            "CNI_IFNAME" => Some("eth0".to_string()),
            "CNI_NETNS" => Some(path.clone()),
            _ => None,
        };
        let config = config.to_string();
        let output = self.ns.run(|| orlop_cni::run("orlop-cni", env, config.as_bytes())).unwrap();
        assert_eq!(output.code, 0, "{}", output.stdout);
        let result: Value = serde_json::from_str(&output.stdout).unwrap();
        let address = result["ips"][0]["address"].as_str().unwrap().strip_suffix("/32").unwrap().parse().unwrap();
        (pod, address)
    }
}

fn name(n: u8) -> String {
    format!("node{n}")
}

fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 31, 0, n)
}

fn settings(n: u8, mode: Mode, dir: PathBuf) -> Settings {
    let nft = std::env::var_os("ORLOP_TOOLS").map_or_else(|| "nft".into(), |dir| PathBuf::from(dir).join("bin/nft"));
    Settings {
        node_name: name(n),
        node_ip: ip(n),
        mode,
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        cni_conf_dir: dir.clone(),
        cni_data_dir: dir.join("leases"),
        run_dir: dir,
        nft,
    }
}

async fn two_nodes(mode: Mode) -> (Node, Node) {
    let (a, b) = (NetNs::anonymous().unwrap(), NetNs::anonymous().unwrap());
    let far = LinkMessageBuilder::<LinkUnspec>::new().name("eth0").setns_by_fd(b.as_fd().as_raw_fd()).build();
    let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name("eth0")
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
        .build();
    a.connect().await.unwrap().add_link("eth0", pair).await.unwrap();
    let (mut a, mut b) = (Node::new(1, a, mode).await, Node::new(2, b, mode).await);
    sync(&mut a, &mut b).await;
    (a, b)
}

async fn sync(a: &mut Node, b: &mut Node) -> usize {
    a.prepare().await;
    b.prepare().await;
    let nodes = [a.object(), b.object()];
    a.overlay.sync(&nodes).await.unwrap() + b.overlay.sync(&nodes).await.unwrap()
}

/// Who the server sees when `from` connects, or nothing where there is no way.
fn talk(from: &NetNs, to: &NetNs, address: Ipv4Addr) -> Option<String> {
    let listener = to.run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
    let target = SocketAddr::from((address, listener.local_addr().unwrap().port()));
    listener.set_nonblocking(true).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200 {
                if let Ok((mut stream, peer)) = listener.accept() {
                    stream.write_all(peer.ip().to_string().as_bytes()).unwrap();
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        from.run(|| {
            let mut stream = TcpStream::connect_timeout(&target, Duration::from_millis(1500)).ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text)
        })
        .unwrap()
    })
}

async fn pods_reach_each_other(mode: Mode) {
    let (mut a, mut b) = two_nodes(mode).await;
    let ((pod_a, ip_a), (pod_b, ip_b)) = (a.pod("a"), b.pod("b"));
    assert_eq!(talk(&pod_a, &pod_b, ip_b), Some(ip_a.to_string()), "a pod is seen by its own address");
    assert_eq!(talk(&pod_b, &pod_a, ip_a), Some(ip_b.to_string()));
    assert_eq!(talk(&pod_a, &b.ns, ip(2)), Some(ip(1).to_string()), "what leaves the cluster is masqueraded");
    assert!(talk(&a.ns, &pod_b, ip_b).is_some(), "a node reaches pods of another");
    assert_eq!(sync(&mut a, &mut b).await, 0, "nothing changes when nothing changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn vxlan_connects_pods_of_two_nodes() {
    pods_reach_each_other(VXLAN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_gw_connects_pods_of_two_nodes() {
    pods_reach_each_other(Mode::HostGw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_removed_comes_back_and_the_vxlan_end_keeps_its_address() {
    let (mut a, mut b) = two_nodes(VXLAN).await;
    let ((pod_a, ip_a), (pod_b, ip_b)) = (a.pod("a"), b.pod("b"));
    let announced = a.annotations.clone();
    a.net.delete_link("flannel.1").await.unwrap();
    assert_eq!(talk(&pod_a, &pod_b, ip_b), None);
    assert!(sync(&mut a, &mut b).await > 0);
    assert_eq!(a.annotations, announced);
    assert_eq!(talk(&pod_a, &pod_b, ip_b), Some(ip_a.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_left_is_forgotten() {
    let (mut a, mut b) = two_nodes(VXLAN).await;
    let gone = NodeNet {
        name: "node3".into(),
        pod_cidr: "10.244.3.0/24".parse().unwrap(),
        public_ip: ip(3),
        backend: Some("vxlan".into()),
        vtep: Some(Vtep { vni: 1, mac: Mac([2, 0, 0, 0, 0, 3]) }),
    };
    let all = [a.object(), b.object(), gone];
    assert_eq!(a.overlay.sync(&all).await.unwrap(), 3, "a route, a neighbour and a forwarding entry");
    assert_eq!(sync(&mut a, &mut b).await, 3);
    assert_eq!(sync(&mut a, &mut b).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mode_can_be_changed_under_running_pods() {
    let (mut a, mut b) = two_nodes(VXLAN).await;
    let ((pod_a, ip_a), (pod_b, ip_b)) = (a.pod("a"), b.pod("b"));
    for mode in [Mode::HostGw, VXLAN] {
        a.switch(mode).await;
        b.switch(mode).await;
        sync(&mut a, &mut b).await;
        assert_eq!(talk(&pod_a, &pod_b, ip_b), Some(ip_a.to_string()), "{mode:?}");
    }
    assert!(a.net.link("flannel.1").await.unwrap().is_some());
}
