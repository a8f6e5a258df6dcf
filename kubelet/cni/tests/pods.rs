//! The plugin against the kernel: anonymous namespaces stand for a node and its pods, and TCP must flow between them.

use orlop_cni::{Output, run};
use orlop_netns::NetNs;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

struct Node {
    ns: NetNs,
    data: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let ns = NetNs::anonymous().unwrap();
        ns.sysctl(&[("net/ipv4/ip_forward", "1")]).unwrap();
        Self { ns, data: tempfile::tempdir().unwrap() }
    }

    fn call(&self, command: &str, id: &str, pod: Option<&NetNs>, plugin: &str) -> Output {
        self.call_with(command, id, pod, plugin, "1.0.0", json!([]))
    }

    fn call_with(
        &self,
        command: &str,
        id: &str,
        pod: Option<&NetNs>,
        plugin: &str,
        version: &str,
        valid: Value,
    ) -> Output {
        self.call_config(command, id, pod, plugin, config(self.data.path(), version, valid))
    }

    /// The runtime tells a pod's ports at ADD and at DEL.
    fn call_with_ports(&self, command: &str, id: &str, pod: Option<&NetNs>, ports: &Value) -> Output {
        let mut config = config(self.data.path(), "1.0.0", json!([]));
        config["runtimeConfig"] = json!({"portMappings": ports});
        self.call_config(command, id, pod, "orlop-cni", config)
    }

    fn call_config(&self, command: &str, id: &str, pod: Option<&NetNs>, plugin: &str, config: Value) -> Output {
        let config = config.to_string();
        let netns = pod.map(|pod| format!("/proc/{}/fd/{}", std::process::id(), pod.as_fd().as_raw_fd()));
        let env = |name: &str| match name {
            "CNI_COMMAND" => Some(command.to_string()),
            "CNI_CONTAINERID" => Some(id.to_string()),
            "CNI_IFNAME" => Some(if plugin == "loopback" { "lo" } else { "eth0" }.to_string()),
            "CNI_NETNS" => netns.clone(),
            _ => None,
        };
        self.ns.run(|| run(plugin, env, config.as_bytes())).unwrap()
    }

    fn add(&self, id: &str, pod: &NetNs) -> Value {
        let output = self.call("ADD", id, Some(pod), "/opt/cni/bin/orlop-cni");
        assert_eq!(output.code, 0, "{}", output.stdout);
        serde_json::from_str(&output.stdout).unwrap()
    }

    fn devices(&self) -> Vec<String> {
        self.ns
            .run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap())
            .unwrap()
            .lines()
            .skip(2)
            .filter_map(|line| line.split(':').next().map(|name| name.trim().to_string()))
            .collect()
    }
}

/// What a listener on `pod`'s port 8080 says to a connection from `from` to `to`, or why there was none.
fn ask(from: &NetNs, to: (&str, u16)) -> Result<String, std::io::ErrorKind> {
    let to = SocketAddr::new(to.0.parse().unwrap(), to.1);
    from.run(|| {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).map_err(|e| e.kind())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(|e| e.kind())?;
        Ok(text)
    })
    .unwrap()
}

/// Answers every connection to the pod's port 8080 with `name` and the caller's address, until the test ends.
fn serve(pod: &NetNs, name: &'static str) {
    let listener = pod.run(|| TcpListener::bind(("0.0.0.0", 8080))).unwrap().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(format!("{name} {}", peer.ip()).as_bytes());
        }
    });
}

fn config(data: &Path, version: &str, valid: Value) -> Value {
    json!({
        "cniVersion": version, "name": "orlop", "type": "orlop-cni", "mtu": 1450,
        "ipam": {"subnet": "10.244.7.0/24", "dataDir": data},
        "cni.dev/valid-attachments": valid,
    })
}

fn address(result: &Value) -> Ipv4Addr {
    result["ips"][0]["address"].as_str().unwrap().strip_suffix("/32").unwrap().parse().unwrap()
}

fn talk(from: &NetNs, to: &NetNs, address: Ipv4Addr) -> String {
    let listener = to.run(|| TcpListener::bind((address, 8080))).unwrap().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, peer) = listener.accept().unwrap();
            stream.write_all(peer.ip().to_string().as_bytes()).unwrap();
        });
        from.run(|| {
            let mut stream =
                TcpStream::connect_timeout(&SocketAddr::from((address, 8080)), Duration::from_secs(5)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
        .unwrap()
    })
}

#[test]
fn two_pods_and_their_node_reach_each_other_and_see_true_addresses() {
    let node = Node::new();
    let (web, client) = (NetNs::anonymous().unwrap(), NetNs::anonymous().unwrap());
    let web_address = address(&node.add("web", &web));
    let client_address = address(&node.add("client", &client));
    assert_eq!(web_address, Ipv4Addr::new(10, 244, 7, 2));
    assert_eq!(talk(&client, &web, web_address), client_address.to_string());
    // A node always has an uplink; its address is what pods see of it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let net = node.ns.connect().await.unwrap();
        net.up("lo").await.unwrap();
        net.add_address("lo", "172.30.0.11/32".parse().unwrap()).await.unwrap();
    });
    assert_eq!(talk(&node.ns, &web, web_address), "172.30.0.11");
}

#[test]
fn add_and_del_may_be_repeated_and_del_leaves_nothing() {
    let node = Node::new();
    let pod = NetNs::anonymous().unwrap();
    let first = node.add("a", &pod);
    let second = node.add("a", &pod);
    assert_eq!(first["ips"], second["ips"]);
    assert_eq!(node.devices().len(), 2, "lo and one veth: {:?}", node.devices());
    assert_eq!(node.call("CHECK", "a", Some(&pod), "orlop-cni"), Output { code: 0, stdout: String::new() });
    for _ in 0..2 {
        assert_eq!(node.call("DEL", "a", None, "orlop-cni"), Output { code: 0, stdout: String::new() });
    }
    assert_eq!(node.devices(), ["lo"]);
    assert_eq!(node.call("CHECK", "a", Some(&pod), "orlop-cni").code, 1);
}

#[test]
fn a_failed_add_gives_its_address_back() {
    let node = Node::new();
    let output = node.call("ADD", "a", None, "orlop-cni");
    let error: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((output.code, error["code"].as_u64()), (1, Some(4)));
    let no_netns = NetNs::open(Path::new("/proc/self/ns/uts")).unwrap();
    assert_eq!(node.call("ADD", "a", Some(&no_netns), "orlop-cni").code, 1);
    let leases = std::fs::read_dir(node.data.path().join("orlop")).unwrap();
    let leases: Vec<_> = leases.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!leases.iter().any(|name| name.starts_with("10.")), "{leases:?}");
}

#[test]
fn gc_removes_what_is_not_attached_any_more() {
    let node = Node::new();
    let (a, b) = (NetNs::anonymous().unwrap(), NetNs::anonymous().unwrap());
    node.add("a", &a);
    node.add("b", &b);
    let valid = json!([{"containerID": "a", "ifname": "eth0"}]);
    assert_eq!(node.call_with("GC", "", None, "orlop-cni", "1.1.0", valid).code, 0);
    assert_eq!(node.call("CHECK", "a", Some(&a), "orlop-cni").code, 0);
    assert_eq!(node.call("CHECK", "b", Some(&b), "orlop-cni").code, 1);
}

#[test]
fn loopback_comes_up_and_old_versions_get_their_own_shape() {
    let node = Node::new();
    let pod = NetNs::anonymous().unwrap();
    let output = node.call_with("ADD", "a", Some(&pod), "loopback", "0.3.1", json!([]));
    let result: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(result["ips"][0]["version"], "4");
    assert_eq!(result["cniVersion"], "0.3.1");
    assert_eq!(talk(&pod, &pod, Ipv4Addr::LOCALHOST), "127.0.0.1");
}

#[test]
fn an_unknown_version_is_refused_with_code_1() {
    let node = Node::new();
    let output = node.call_with("ADD", "a", None, "orlop-cni", "9.0.0", json!([]));
    let error: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((output.code, error["code"].as_u64()), (1, Some(1)));
}

#[test]
fn a_port_of_the_node_leads_to_the_pod_that_asked_for_it() {
    let node = Node::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let net = node.ns.connect().await.unwrap();
        net.up("lo").await.unwrap();
        net.add_address("lo", "172.30.0.11/32".parse().unwrap()).await.unwrap();
        net.add_address("lo", "172.30.0.12/32".parse().unwrap()).await.unwrap();
    });
    let (one, two, client) = (NetNs::anonymous().unwrap(), NetNs::anonymous().unwrap(), NetNs::anonymous().unwrap());
    serve(&one, "one");
    serve(&two, "two");
    let port = |host_ip: &str| json!([{"hostPort": 5432, "containerPort": 8080, "protocol": "tcp", "hostIP": host_ip}]);
    let as_containerd_writes =
        |host_ip: &str| json!([{"HostPort": 5432, "ContainerPort": 8080, "Protocol": "TCP", "HostIP": host_ip}]);
    let add = |id: &str, pod: &NetNs, ports: &Value| {
        let output = node.call_with_ports("ADD", id, Some(pod), ports);
        assert_eq!(output.code, 0, "{}", output.stdout);
        address(&serde_json::from_str(&output.stdout).unwrap())
    };
    let (everywhere, bound) = (port(""), as_containerd_writes("172.30.0.12"));
    add("one", &one, &everywhere);
    add("two", &two, &bound);
    let seen = address(&node.add("client", &client));
    // Other pods and the node itself; an address that a pod is bound to is that pod's.
    assert_eq!(ask(&client, ("172.30.0.11", 5432)), Ok(format!("one {seen}")));
    assert_eq!(ask(&client, ("172.30.0.12", 5432)), Ok(format!("two {seen}")));
    assert_eq!(ask(&node.ns, ("172.30.0.11", 5432)), Ok("one 172.30.0.11".into()));
    // A pod reaches itself, and sees the node for it.
    assert!(ask(&one, ("172.30.0.11", 5432)).unwrap().starts_with("one 172.30.0."));
    assert!(ask(&client, ("172.30.0.11", 5433)).is_err(), "nobody asked for this port");
    // The next pod has the port at once, though the old one has yet to go.
    let three = NetNs::anonymous().unwrap();
    serve(&three, "three");
    add("three", &three, &everywhere);
    assert_eq!(node.call_with_ports("DEL", "one", None, &everywhere).code, 0);
    assert_eq!(ask(&client, ("172.30.0.11", 5432)), Ok(format!("three {seen}")));
    for (id, ports) in [("two", &bound), ("three", &everywhere), ("three", &everywhere)] {
        assert_eq!(node.call_with_ports("DEL", id, None, ports), Output { code: 0, stdout: String::new() });
    }
    for address in ["172.30.0.11", "172.30.0.12"] {
        assert!(ask(&client, (address, 5432)).is_err(), "nothing is left at {address}");
    }
}
