//! A build takes the place of another one with another map ABI.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, Map, MapData};
use orlop_ebpf::old::FlowBeforeOpened;
use orlop_ebpf::{Flow, FlowKey, Plain, fold};
use orlop_plan::{Backend as _, FlowFilter, Protocol, diff};

use crate::net::{Kind, LOCAL, NODE_PORT, Net, REMOTE, V4};
use crate::world::{ask, echo, talk};

/// What the other build's hash is.
const OTHER: &str = "0123456789abcdef";
const KEY: usize = size_of::<FlowKey>();
const OLD: usize = size_of::<FlowBeforeOpened>();
const NEW: usize = size_of::<Flow>();

type Flows<const N: usize> = HashMap<MapData, [u8; KEY], [u8; N]>;

/// What is held while builds change.
struct Held {
    through_device: TcpStream,
    datagrams: UdpSocket,
    of_node: TcpStream,
    /// Who answered the datagrams.
    owner: String,
}

fn hold(net: &Net) -> Held {
    let (through_device, datagrams, owner) = net.outside.run(|| {
        let (mut connection, _) = talk(NODE_PORT).expect("connect to the NodePort");
        echo(&mut connection, b"before").expect("echo");
        let socket = UdpSocket::bind("172.30.0.200:0").expect("a socket");
        let (_, line) = ask(&socket, NODE_PORT).expect("an answer");
        (connection, socket, line)
    });
    net.node.join_cgroup();
    let of_node = net.node.namespace.run(|| talk(V4.cluster_ip).expect("connect to the ClusterIP").0);
    net.node.leave_cgroup();
    Held { through_device, datagrams, of_node, owner }
}

impl Held {
    /// Every connection goes on, and no flow has changed its endpoint.
    fn goes_on(&mut self) {
        echo(&mut self.through_device, b"after").expect("the connection lives");
        assert_eq!(ask(&self.datagrams, NODE_PORT).expect("an answer").1, self.owner);
        self.socket_goes_on();
    }

    fn socket_goes_on(&mut self) {
        echo(&mut self.of_node, b"after").expect("the node's own connection lives");
    }
}

/// The pins become another build's.
fn pretend_another_build(net: &Net) -> PathBuf {
    let root = net.node.options().bpf_root;
    net.node.namespace.run(move || {
        let ours = fs::read_dir(&root).expect("the root").flatten().next().expect("a directory").path();
        let other = root.join(OTHER);
        fs::rename(ours, &other).expect("rename the directory");
        other
    })
}

fn notes(directory: &Path, name: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(directory).expect("the directory").flatten().map(|entry| entry.path());
    let prefix = format!("{name}-");
    all.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))).collect()
}

fn packets(net: &Net, client: SocketAddr) -> Option<u64> {
    let service = NODE_PORT.parse().expect("an address");
    let wanted = FlowFilter { protocol: Protocol::Tcp, service, client: Some(client), most: 10 };
    net.node.with_backend(move |agent| agent.flows(&wanted).expect("list flows").all.first()?.there.map(|v| v.packets))
}

#[test]
fn what_has_the_same_layout_goes_on_in_the_same_maps() {
    let net = Net::serving(Kind::Ebpf, &[LOCAL, REMOTE]);
    let mut held = hold(&net);
    let client = held.through_device.local_addr().expect("its own address");
    let before = packets(&net, client).expect("the flow is known");
    pretend_another_build(&net);
    // A Service's endpoints change meanwhile, and the flows' numbers of their sets still say who is one.
    net.serve(&[LOCAL, REMOTE]);
    held.goes_on();
    assert!(packets(&net, client).is_some_and(|now| now > before), "the same entry counts on");
    let root = net.node.options().bpf_root;
    let left = net.node.namespace.run(move || fs::read_dir(root).expect("the root").count());
    assert_eq!(left, 1, "nothing of the other build is left");
    let peer = held.of_node.local_addr().expect("its own address");
    let wanted = FlowFilter {
        protocol: Protocol::Tcp,
        service: V4.cluster_ip.parse().expect("an address"),
        client: Some(peer),
        most: 10,
    };
    let told = net.node.with_backend(move |agent| agent.flows(&wanted).expect("list flows").total);
    assert_eq!(told, 1, "the socket is still known to have called the Service");
    let (both, other) =
        (net.plan(&[LOCAL, REMOTE]), net.plan(&[if held.owner.starts_with("local") { REMOTE } else { LOCAL }]));
    net.node.with_backend(move |agent| {
        agent.resync(&both).expect("adopt the maps");
        agent.sync(&other, &diff(&both, &other)).expect("change them");
    });
    let (_, line) = ask(&held.datagrams, NODE_PORT).expect("an answer");
    assert_ne!(line, held.owner, "the flow leaves an endpoint that has gone");
}

#[test]
fn what_has_a_known_older_layout_is_copied() {
    let net = Net::serving(Kind::Ebpf, &[LOCAL]);
    let mut held = hold(&net);
    let client = held.through_device.local_addr().expect("its own address");
    let before = packets(&net, client).expect("the flow is known");
    let other = pretend_another_build(&net);
    net.node.namespace.run(move || age(&other));
    net.serve(&[LOCAL]);
    held.goes_on();
    assert!(packets(&net, client).is_some_and(|now| now > before), "the entry was copied");
}

#[test]
fn what_has_an_unknown_layout_is_lost_and_nothing_else() {
    let net = Net::serving(Kind::Ebpf, &[LOCAL]);
    let mut held = hold(&net);
    let client = held.through_device.local_addr().expect("its own address");
    let other = pretend_another_build(&net);
    net.node.namespace.run(move || {
        for note in notes(&other, "FLOWS") {
            fs::rename(&note, other.join("FLOWS-0000000000000000")).expect("rename the note");
        }
    });
    net.serve(&[LOCAL]);
    assert_eq!(packets(&net, client), None);
    held.socket_goes_on();
    net.outside.run(|| talk(NODE_PORT).map(drop).expect("a new connection is served"));
}

/// Puts a table of the layout before [`Flow::opened`] in the place of `FLOWS`.
fn age(directory: &Path) {
    let path = directory.join("FLOWS");
    let flows: Flows<NEW> = open(&path);
    let entries: Vec<_> = flows.iter().flatten().collect();
    assert!(!entries.is_empty());
    notes(directory, "FLOWS").into_iter().chain([path.clone()]).for_each(|pin| fs::remove_file(pin).expect("unpin"));
    let layout = fold(FlowKey::LAYOUT, FlowBeforeOpened::LAYOUT);
    create(&[path.clone(), directory.join(format!("FLOWS-{layout:016x}"))]);
    let mut old: Flows<OLD> = open(&path);
    let at = std::mem::offset_of!(Flow, opened);
    for (key, new) in entries {
        let (head, tail) = (&new[..at], &new[at + 8..]);
        let value: [u8; OLD] = [head, tail].concat().try_into().expect("as long as the old one");
        old.insert(key, value, 0).expect("an old entry");
    }
}

fn open<const N: usize>(path: &Path) -> Flows<N> {
    let map = MapData::from_pin(path).expect("the map");
    Map::LruHashMap(map).try_into().expect("its types")
}

/// `bpf(2)`: makes a least-recently-used table of old flows, and pins it.
fn create(pins: &[PathBuf]) {
    const MAP_CREATE: i32 = 0;
    const PIN: i32 = 6;
    let call = |command: i32, words: [u32; 8]| {
        // SAFETY: the words are the head of `union bpf_attr`, which the kernel only reads; the path lives as long as the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, words.as_ptr(), 32) };
        assert!(result >= 0, "bpf {command}: {}", std::io::Error::last_os_error());
        result as u32
    };
    let map = call(MAP_CREATE, [9, KEY as u32, OLD as u32, 1_024, 0, 0, 0, 0]);
    for pin in pins {
        let path = CString::new(pin.as_os_str().as_bytes()).expect("a path");
        let address = path.as_ptr() as u64;
        call(PIN, [address as u32, (address >> 32) as u32, map, 0, 0, 0, 0, 0]);
    }
}
