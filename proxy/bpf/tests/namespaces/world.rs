//! Namespaces, cgroups and mounts for one test at a time; nothing outlives the process but an empty cgroup, which the
//! next run removes.

use std::any::Any;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use orlop_bpf::{EbpfBackend, Forwarding, Options, Selection, Xdp};

/// The whole process moves between cgroups, so that tests take turns.
static TURN: Mutex<()> = Mutex::new(());

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, lived in by one thread.
pub struct Namespace {
    jobs: Sender<Job>,
    path: PathBuf,
}

impl Namespace {
    /// A namespace with loopback up; `prepare` runs first in its thread.
    fn start(prepare: impl FnOnce() + Send + 'static) -> Self {
        let (jobs, queue): (Sender<Job>, Receiver<Job>) = channel();
        thread::spawn(move || queue.into_iter().for_each(|job| job()));
        let mut namespace = Self { jobs, path: PathBuf::new() };
        namespace.path = namespace.run(move || {
            prepare();
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (root is needed)");
            ip("link set lo up");
            // Addresses serve at once.
            for when in ["accept_dad", "dad_transmits"] {
                fs::write(format!("/proc/sys/net/ipv6/conf/default/{when}"), "0")
                    .expect("no duplicate address detection");
            }
            PathBuf::from(format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid()))
        });
        namespace
    }

    /// An empty namespace.
    pub fn new() -> Self {
        Self::start(|| {})
    }

    /// Runs something inside and gives its result; a panic inside is one here.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (result, wait) = channel::<Result<T, Box<dyn Any + Send>>>();
        let job = move || drop(result.send(catch_unwind(AssertUnwindSafe(job))));
        self.jobs.send(Box::new(job)).expect("the namespace's thread lives");
        match wait.recv().expect("the namespace's thread lives") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Runs `ip` inside.
    pub fn ip(&self, arguments: &str) {
        let arguments = arguments.to_owned();
        self.run(move || ip(&arguments));
    }

    /// Lays a cable: device `here` in this namespace, device `there` in the other, both up.
    pub fn cable(&self, here: &str, other: &Namespace, there: &str) {
        let target = other.path.display();
        self.ip(&format!("link add {here} type veth peer name {there} netns {target}"));
        self.ip(&format!("link set {here} up"));
        other.ip(&format!("link set {there} up"));
    }

    /// A process that lives inside until it is dropped.
    pub fn process(&self) -> Process {
        Process(self.run(|| Command::new("sleep").arg("60").spawn().expect("run sleep")))
    }

    /// Starts a server that answers every TCP connection and UDP datagram with `name`, a space and the client's
    /// address; TCP connections then echo, and so do datagrams of more than 1,000 bytes.
    pub fn serve(&self, name: &str, address: &str) {
        let address: SocketAddr = address.parse().expect("an address");
        let (name, udp_name) = (name.to_owned(), name.to_owned());
        self.run(move || {
            // An address of IPv6 serves a moment after it was added.
            eventually(|| UdpSocket::bind(address).is_ok());
            let tcp = TcpListener::bind(address).expect("bind a TCP server");
            thread::spawn(move || {
                for connection in tcp.incoming().flatten() {
                    let name = name.clone();
                    thread::spawn(move || answer(connection, &name));
                }
            });
            let udp = UdpSocket::bind(address).expect("bind a UDP server");
            thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while let Ok((count, client)) = udp.recv_from(&mut buffer) {
                    if count > 1_000 {
                        let _ = udp.send_to(&buffer[..count], client);
                        continue;
                    }
                    let _ = udp.send_to(format!("{udp_name} {client}\n").as_bytes(), client);
                }
            });
        });
    }
}

fn answer(mut connection: TcpStream, name: &str) {
    let Ok(client) = connection.peer_addr() else { return };
    let _ = connection.write_all(format!("{name} {client}\n").as_bytes());
    let mut buffer = [0; 65_536];
    while let Ok(count @ 1..) = connection.read(&mut buffer) {
        if connection.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

/// A child that does nothing.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The node of a test, alone on the machine while it lives.
pub struct Node {
    /// Its namespace.
    pub namespace: Namespace,
    directory: tempfile::TempDir,
    cgroup: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Node {
    /// A node with a bpffs and a cgroup of its own, which this process has joined.
    pub fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().expect("a directory");
        let bpf = directory.path().join("bpf");
        fs::create_dir(&bpf).expect("a mount point");
        let namespace = forwarding(bpf);
        let cgroup = join_cgroup();
        Self { namespace, directory, cgroup, _turn: turn }
    }

    /// A second node beside this one, and the options of its backend. No process is in its cgroup.
    pub fn second(&self) -> (Namespace, Options) {
        let (bpf, cgroup) = (self.directory.path().join("second"), self.cgroup.join("second"));
        fs::create_dir(&bpf).expect("a mount point");
        fs::create_dir_all(&cgroup).expect("a cgroup (root is needed)");
        let options = options(bpf.join("node"), cgroup);
        (forwarding(bpf), options)
    }

    /// The backend's options here.
    pub fn options(&self) -> Options {
        options(self.directory.path().join("bpf/node"), self.cgroup.clone())
    }

    /// Starts a backend in the node's namespace, which works until it is dropped.
    pub fn start_backend(&self, prepare: impl FnOnce(&mut EbpfBackend) + Send + 'static) -> EbpfBackend {
        let options = self.options();
        self.namespace.run(move || {
            let mut backend = EbpfBackend::open(options).expect("open the backend");
            prepare(&mut backend);
            backend
        })
    }

    /// Makes the sockets of this process look like the node's, as they do from the start.
    pub fn join_cgroup(&self) {
        fs::write(self.cgroup.join("cgroup.procs"), std::process::id().to_string()).expect("join the cgroup");
    }

    /// Makes them nobody's.
    pub fn leave_cgroup(&self) {
        fs::write(hierarchy().join("cgroup.procs"), std::process::id().to_string()).expect("leave the cgroup");
    }

    /// Runs something in the node's namespace with a backend.
    pub fn with_backend<T: Send + 'static>(&self, job: impl FnOnce(&mut EbpfBackend) -> T + Send + 'static) -> T {
        let options = self.options();
        self.namespace.run(move || job(&mut EbpfBackend::open(options).expect("open the backend")))
    }
}

/// A namespace that forwards, with a bpffs of its own mounted here.
fn forwarding(bpf: PathBuf) -> Namespace {
    let namespace = Namespace::start(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (root is needed)");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
        mount(Some("bpf"), &bpf, Some("bpf"), MsFlags::empty(), none).expect("mount bpffs");
    });
    namespace.run(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forward");
        fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("forward");
    });
    namespace
}

/// The options of a backend.
pub fn options(bpf_root: PathBuf, cgroup_root: PathBuf) -> Options {
    let (selection, forwarding, xdp) = (Selection::Random, Forwarding::Snat, Xdp::Disabled);
    Options { bpf_root, cgroup_root, node_port_range: (30_000, 32_767), tcx: true, selection, forwarding, xdp }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::write(hierarchy().join("cgroup.procs"), std::process::id().to_string());
        let _ = fs::remove_dir(self.cgroup.join("second"));
        let _ = fs::remove_dir(&self.cgroup);
    }
}

/// The cgroup2 hierarchy, pure or beside v1.
fn hierarchy() -> PathBuf {
    let unified = Path::new("/sys/fs/cgroup/unified");
    if unified.join("cgroup.procs").exists() { unified.into() } else { "/sys/fs/cgroup".into() }
}

fn join_cgroup() -> PathBuf {
    const PREFIX: &str = "orlop-bpf-test-";
    for entry in fs::read_dir(hierarchy()).expect("a cgroup2 hierarchy").flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().strip_prefix(PREFIX).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path().join("second"));
            let _ = fs::remove_dir(entry.path());
        }
    }
    let cgroup = hierarchy().join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir_all(&cgroup).expect("a cgroup (root is needed)");
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).expect("join the cgroup");
    cgroup
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("run ip (iproute2)");
    assert!(status.success(), "ip {arguments}: {status}");
}

/// Waits for what the kernel does a moment later.
pub fn eventually(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(2), "not within two seconds");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Connects and gives the connection and the server's first line.
pub fn talk(address: &str) -> std::io::Result<(TcpStream, String)> {
    let address: SocketAddr = address.parse().expect("an address");
    let mut connection = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let line = read_line(&mut connection)?;
    Ok((connection, line))
}

/// Sends and expects the same back.
pub fn echo(connection: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
    let mut reader = connection.try_clone()?;
    let expected = text.to_vec();
    let reading = thread::spawn(move || {
        let mut back = vec![0; expected.len()];
        reader.read_exact(&mut back).map(|()| assert_eq!(back, expected))
    });
    connection.write_all(text)?;
    reading.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Sends a datagram from a socket and gives who answered and what.
pub fn ask(socket: &UdpSocket, address: &str) -> std::io::Result<(SocketAddr, String)> {
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send_to(b"?", address)?;
    let mut buffer = [0; 2048];
    let (count, from) = socket.recv_from(&mut buffer)?;
    Ok((from, String::from_utf8_lossy(&buffer[..count]).trim().to_owned()))
}

fn read_line(connection: &mut TcpStream) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while connection.read(&mut byte)? == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
