//! What packets meet on their way: how long a connection takes to be made as Services grow, how much goes through a Service's address
//! against directly to its endpoint.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::backends::Proxy;
use crate::ground::{self, Host, ip};
use crate::report::{Baseline, Report, quantile};
use crate::services::{NODE, PORT, Service, many};

/// How many Services there are beside the one that is called.
const COUNTS: [u32; 4] = [100, 1_000, 10_000, 30_000];
/// kube-proxy's nftables rules take minutes to load beyond this many.
const MOST_OF_PEER: u32 = 10_000;
/// Connections that are timed.
const CONNECTIONS: u32 = 2_000;
/// Exchanges that are timed in each of them.
const EXCHANGES: u32 = 500;
/// How long each transfer goes on, and how many there are each way; the median counts.
const TRANSFER: Duration = Duration::from_millis(150);
const TRANSFERS: usize = 41;

const POD: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 128, 0, 2), 8_080);
const CLUSTER_IP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 255, 1), PORT);
const NODE_PORT: SocketAddrV4 = SocketAddrV4::new(NODE, 30_001);

/// Measures.
pub fn run(report: &mut Report) -> Result<()> {
    for services in COUNTS {
        let mut peers = Vec::new();
        for proxy in [Proxy::KubeProxyNftables, Proxy::KubeProxyIptables] {
            if services <= MOST_OF_PEER {
                peers.push((proxy.name(), first_packets(proxy, services)?));
            }
        }
        for proxy in Proxy::OURS {
            let ours = first_packets(proxy, services)?;
            for (name, peer) in &peers {
                latencies(report, proxy, services, &ours, Some((name, peer)));
            }
            if peers.is_empty() {
                latencies(report, proxy, services, &ours, None);
            }
        }
    }
    Ok(())
}

/// Measures what goes through connections that stand.
pub fn throughput(report: &mut Report) -> Result<()> {
    Proxy::OURS.into_iter().try_for_each(|proxy| established(report, proxy))
}

/// Milliseconds to make a connection: from the node to the cluster IP, and from another host to the NodePort.
struct FirstPackets {
    cluster_ip: Vec<f64>,
    node_port: Vec<f64>,
}

fn latencies(
    report: &mut Report,
    proxy: Proxy,
    services: u32,
    ours: &FirstPackets,
    peer: Option<(&str, &FirstPackets)>,
) {
    type Way = fn(&FirstPackets) -> &[f64];
    let ways: [(&str, Way); 2] =
        [("cluster IP from the node", |f| &f.cluster_ip), ("NodePort from outside", |f| &f.node_port)];
    for (what, of) in ways {
        for (quantile_name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let metric = format!("{}: connect, {what}, {services} Services, {quantile_name}", proxy.name());
            let baseline = peer.and_then(|(name, peer)| Baseline::measured(quantile(of(peer), share), name));
            report.row(metric, quantile(of(ours), share), "ms", baseline, None);
        }
    }
}

fn first_packets(proxy: Proxy, services: u32) -> Result<FirstPackets> {
    ground::on(|ground| {
        let bed = Bed::make()?;
        let mut services = many(services, 5);
        // Where the last rule of a list would be.
        services.push(called());
        let _loaded = proxy.load(ground, &services)?;
        let cluster_ip = ground.inside(|| connections(CLUSTER_IP))?;
        let node_port = bed.outside.run(|| connections(NODE_PORT))?;
        Ok(FirstPackets { cluster_ip, node_port })
    })
}

/// The Service that is called.
fn called() -> Service {
    Service { name: "called".into(), ip: *CLUSTER_IP.ip(), node_port: Some(NODE_PORT.port()), endpoints: vec![POD] }
}

fn connections(to: SocketAddrV4) -> Result<Vec<f64>> {
    let one = |_| {
        let begun = Instant::now();
        let connection = TcpStream::connect_timeout(&to.into(), Duration::from_secs(5));
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        connection.map(|_| took).with_context(|| format!("connecting to {to}"))
    };
    (0..CONNECTIONS).map(one).collect()
}

/// Transfers and exchanges on connections that stand, against the endpoint's own address.
fn established(report: &mut Report, proxy: Proxy) -> Result<()> {
    let name = proxy.name();
    let (node, outside) = ground::on(|ground| {
        let bed = Bed::make()?;
        let mut services = many(1_000, 5);
        services.push(called());
        let _loaded = proxy.load(ground, &services)?;
        let node = ground.inside(|| Pair::measure(|to| Ok((transfer(to)?, exchanges(to)?)), CLUSTER_IP))?;
        let outside = bed.outside.run(|| Pair::measure(|to| Ok((transfer(to)?, exchanges(to)?)), NODE_PORT))?;
        Ok((node, outside))
    })?;
    for (what, pair, share) in [("cluster IP from the node", node, 0.98), ("NodePort from outside", outside, 0.9)] {
        let than = |figure| Baseline::measured(figure, "direct");
        let limit = (proxy == Proxy::Ebpf).then_some(pair.direct.0 / share);
        report.row(format!("{name}: a GiB to the {what}"), pair.service.0, "s", than(pair.direct.0), limit);
        report.row(
            format!("{name}: an exchange with the {what}, p50"),
            pair.service.1,
            "us",
            than(pair.direct.1),
            None,
        );
    }
    Ok(())
}

/// Seconds for a GiB and microseconds for an exchange.
struct Pair {
    direct: (f64, f64),
    service: (f64, f64),
}

impl Pair {
    /// By turns, so that what else the machine does meets both.
    fn measure(one: fn(SocketAddrV4) -> Result<(f64, f64)>, service: SocketAddrV4) -> Result<Self> {
        stay_on(Cpu::Caller)?;
        let mut figures: [Vec<(f64, f64)>; 2] = Default::default();
        for turn in 0..TRANSFERS {
            // Neither is always first.
            for which in [turn % 2, 1 - turn % 2] {
                figures[which].push(one([POD, service][which])?);
            }
        }
        let median = |figures: &[(f64, f64)]| {
            let column = |of: fn(&(f64, f64)) -> f64| quantile(&figures.iter().map(of).collect::<Vec<_>>(), 0.5);
            (column(|f| f.0), column(|f| f.1))
        };
        let [direct, service] = figures;
        Ok(Self { direct: median(&direct), service: median(&service) })
    }
}

/// Seconds for a GiB.
fn transfer(to: SocketAddrV4) -> Result<f64> {
    let mut connection = connect(to, b'>')?;
    let chunk = vec![0_u8; 1 << 17];
    let (begun, mut sent) = (Instant::now(), 0_usize);
    while begun.elapsed() < TRANSFER {
        connection.write_all(&chunk)?;
        sent += chunk.len();
    }
    // The last byte comes back when the others are there.
    connection.shutdown(std::net::Shutdown::Write)?;
    connection.read_exact(&mut [0])?;
    #[allow(clippy::cast_precision_loss)]
    Ok(begun.elapsed().as_secs_f64() * (1_u64 << 30) as f64 / sent as f64)
}

/// Microseconds for a byte there and back.
fn exchanges(to: SocketAddrV4) -> Result<f64> {
    let mut connection = connect(to, b'=')?;
    let mut times = Vec::new();
    for _ in 0..EXCHANGES {
        let begun = Instant::now();
        connection.write_all(&[1])?;
        connection.read_exact(&mut [0])?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(quantile(&times, 0.5))
}

fn connect(to: SocketAddrV4, kind: u8) -> Result<TcpStream> {
    let mut connection = TcpStream::connect_timeout(&to.into(), Duration::from_secs(5))
        .with_context(|| format!("connecting to {to}"))?;
    connection.set_nodelay(true)?;
    connection.write_all(&[kind])?;
    Ok(connection)
}

/// A node (this thread's namespace), a pod on it that serves, and a host outside.
struct Bed {
    outside: Host,
    _pod: Host,
}

impl Bed {
    fn make() -> Result<Self> {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("forwarding")?;
        ip("link set lo up")?;
        let (outside, pod) = (Host::new()?, Host::new()?);
        outside.cable("eth0", "eth0", "172.30.0.200/24", "172.30.0.11")?;
        ip(&format!("addr add {NODE}/24 dev eth0"))?;
        // The way that an address of a Service seems to have before it is translated.
        ip("route add default via 172.30.0.200 dev eth0")?;
        pod.cable("pod0", "eth0", "10.128.0.2/32", "10.128.0.1")?;
        ip("addr add 10.128.0.1/32 dev pod0")?;
        ip("route add 10.128.0.2/32 dev pod0")?;
        pod.run(|| {
            let listener = TcpListener::bind(POD)?;
            thread::spawn(move || {
                listener.incoming().flatten().for_each(|connection| drop(thread::spawn(|| serve(connection))))
            });
            Ok(())
        })?;
        Ok(Self { outside, _pod: pod })
    }
}

#[derive(Clone, Copy)]
enum Cpu {
    Caller = 0,
    Server = 1,
}

/// Keeps this thread where it is: whether both ends share a CPU makes more difference than anything that lies between them.
fn stay_on(cpu: Cpu) -> std::io::Result<()> {
    let mut cpus = nix::sched::CpuSet::new();
    if thread::available_parallelism()?.get() > 1 {
        cpus.set(cpu as usize)?;
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus)?;
    }
    Ok(())
}

/// What the first byte asks for: take everything (`>`), or give each byte back (`=`).
fn serve(mut connection: TcpStream) -> std::io::Result<()> {
    let mut kind = [0];
    connection.read_exact(&mut kind)?;
    stay_on(Cpu::Server)?;
    connection.set_nodelay(true)?;
    let mut buffer = vec![0; 1 << 17];
    loop {
        let count = connection.read(&mut buffer)?;
        match (count, kind) {
            (0, _) => return connection.write_all(&[0]),
            (_, [b'=']) => connection.write_all(&buffer[..count])?,
            _ => {}
        }
    }
}
