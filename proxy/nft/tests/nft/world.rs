//! A node, its pods and an outside host: anonymous network namespaces, each held by a thread.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace and the thread that lives in it.
pub struct Namespace {
    thread: i32,
    jobs: mpsc::Sender<Job>,
}

impl Namespace {
    pub fn new() -> Self {
        let (jobs, work) = mpsc::channel::<Job>();
        let (ready, made) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("creating a network namespace: run as root");
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            work.into_iter().for_each(|job| job());
        });
        let namespace = Self { thread: made.recv().unwrap(), jobs };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs something inside and gives its result.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = mpsc::channel();
        self.jobs.send(Box::new(move || drop(sender.send(job())))).unwrap();
        result.recv().expect("the job in the namespace panicked")
    }

    /// Starts a thread inside that serves until the test ends.
    pub fn serve(&self, job: impl FnOnce() + Send + 'static) {
        self.run(move || drop(std::thread::spawn(job)));
    }

    pub fn ip(&self, arguments: &str) {
        let arguments: Vec<String> = arguments.split(' ').map(String::from).collect();
        self.run(move || {
            let output = Command::new("ip").args(&arguments).output().expect("running ip: install iproute2");
            assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        });
    }

    pub fn sysctl(&self, name: &'static str, value: &'static str) {
        self.run(move || {
            std::fs::write(format!("/proc/thread-self/../../sys/net/{name}"), value)
                .or_else(|_| std::fs::write(format!("/proc/sys/net/{name}"), value))
                .unwrap_or_else(|e| panic!("setting net/{name}: {e}"));
        });
    }
}

/// A node with pods behind routed veths and an outside host.
pub struct World {
    pub node: Namespace,
    pub outside: Namespace,
    pub pods: Vec<Namespace>,
}

/// The node's address towards the outside.
pub const NODE: &str = "172.30.0.11";
/// The outside host's.
pub const OUTSIDE: &str = "172.30.0.200";

/// Its address of IPv6.
pub const NODE6: &str = "fd00:172::11";
/// The outside host's.
pub const OUTSIDE6: &str = "fd00:172::200";

/// A pod's address of IPv6.
pub fn pod_ip6(index: usize) -> IpAddr {
    [0xfd00, 0x244, 0, 0, 0, 0, 0, 2 + index as u16].into()
}

/// The address of a pod.
pub fn pod_ip(index: usize) -> IpAddr {
    [10, 244, 0, 2 + index as u8].into()
}

impl World {
    /// Pods listen on TCP and UDP 8080 and answer `pod-N <client address>`.
    pub fn new(pods: usize) -> Self {
        let world = Self {
            node: Namespace::new(),
            outside: Namespace::new(),
            pods: (0..pods).map(|_| Namespace::new()).collect(),
        };
        world.node.sysctl("ipv4/ip_forward", "1");
        world.node.sysctl("ipv6/conf/all/forwarding", "1");
        world.node.ip("link add eth0 type veth peer name up0");
        world.node.ip(&format!("link set up0 netns {}", world.outside.thread));
        world.outside.ip("link set up0 name eth0");
        world.node.ip(&format!("addr add {NODE}/24 dev eth0"));
        world.node.ip("link set eth0 up");
        world.node.ip("route add default via 172.30.0.1 dev eth0 onlink");
        world.outside.ip(&format!("addr add {OUTSIDE}/24 dev eth0"));
        world.outside.ip("link set eth0 up");
        world.node.ip(&format!("addr add {NODE6}/64 dev eth0 nodad"));
        world.outside.ip(&format!("addr add {OUTSIDE6}/64 dev eth0 nodad"));
        for (index, pod) in world.pods.iter().enumerate() {
            world.node.ip(&format!("link add pod{index} type veth peer name host{index}"));
            world.node.ip(&format!("link set host{index} netns {}", pod.thread));
            world.node.ip(&format!("addr add 10.244.0.1/32 dev pod{index}"));
            world.node.ip(&format!("link set pod{index} up"));
            world.node.ip(&format!("route add {} dev pod{index}", pod_ip(index)));
            pod.ip(&format!("link set host{index} name eth0"));
            pod.ip(&format!("addr add {}/32 dev eth0", pod_ip(index)));
            pod.ip("link set eth0 up");
            pod.ip("route add 10.244.0.1 dev eth0");
            pod.ip("route add default via 10.244.0.1 dev eth0");
            world.node.ip(&format!("addr add fd00:244::1/128 dev pod{index} nodad"));
            world.node.ip(&format!("route add {} dev pod{index}", pod_ip6(index)));
            pod.ip(&format!("addr add {}/128 dev eth0 nodad", pod_ip6(index)));
            pod.ip("-6 route add fd00:244::1 dev eth0");
            pod.ip("-6 route add default via fd00:244::1 dev eth0");
            let listener = pod.run(|| TcpListener::bind("[::]:8080").unwrap());
            pod.serve(move || serve_tcp(&listener, index));
            let socket = pod.run(|| UdpSocket::bind("[::]:8080").unwrap());
            pod.serve(move || serve_udp(&socket, index));
        }
        world
    }
}

fn serve_tcp(listener: &TcpListener, index: usize) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        std::thread::spawn(move || {
            let peer = stream.peer_addr().unwrap();
            let mut byte = [0];
            // One answer for every byte, so that a test can hold a connection and prove it alive.
            while stream.read_exact(&mut byte).is_ok() {
                let answer = format!("pod-{index} {}\n", peer.ip().to_canonical());
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
}

fn serve_udp(socket: &UdpSocket, index: usize) {
    let mut buffer = [0; 64];
    while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(format!("pod-{index} {}\n", peer.ip().to_canonical()).as_bytes(), peer);
    }
}

/// Which pod answered, and the client address it saw.
pub type Answer = (usize, IpAddr);

fn parse(answer: &str) -> Answer {
    let (pod, client) = answer.trim().split_once(' ').unwrap();
    (pod.strip_prefix("pod-").unwrap().parse().unwrap(), client.parse().unwrap())
}

/// Asks over an open connection.
pub fn ask(stream: &mut TcpStream) -> std::io::Result<Answer> {
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(b"?")?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    Ok(parse(&String::from_utf8_lossy(&answer)))
}

/// Opens a connection.
pub fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&to, Duration::from_secs(2))
}

/// One TCP exchange from a namespace.
pub fn tcp(from: &Namespace, to: &str) -> std::io::Result<Answer> {
    let to: SocketAddr = to.parse().unwrap();
    from.run(move || ask(&mut connect(to)?))
}

/// One UDP exchange from a fresh socket.
pub fn udp(from: &Namespace, to: &str) -> std::io::Result<Answer> {
    let to: SocketAddr = to.parse().unwrap();
    let own = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    from.run(move || udp_ask(&UdpSocket::bind(own)?, to))
}

/// One UDP exchange from a given socket.
pub fn udp_ask(socket: &UdpSocket, to: SocketAddr) -> std::io::Result<Answer> {
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send_to(b"?", to)?;
    let mut buffer = [0; 64];
    let (read, from) = socket.recv_from(&mut buffer)?;
    assert_eq!(from, to, "the answer comes from the Service's address");
    Ok(parse(&String::from_utf8_lossy(&buffer[..read])))
}
