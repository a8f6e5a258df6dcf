//! What the eBPF programs at a device and in its driver cost a packet, without the stack around them (`BPF_PROG_TEST_RUN`).

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp};
use aya_obj::programs::XdpAttachType;
use orlop_bpf::EbpfBackend;
use orlop_netns::{NetNs, Offload};
use orlop_plan::Backend as _;

use crate::backends::{self, Proxy};
use crate::ground::{self, Host, ip};
use crate::report::{Baseline, Report, quantile};
use crate::services::{self, NODE, PORT, Service, many};

/// Services beside the one that the packet is for.
const COUNTS: [u32; 3] = [100, 10_000, 60_000];
const REPEAT: u32 = 200_000;
const ROUNDS: usize = 7;
/// Connections that are begun.
const CONNECTIONS: u16 = 4_000;
const NODE_PORT: u16 = 30_001;
const TC_REDIRECT: u32 = 7;
const XDP_REDIRECT: u32 = 4;

/// Measures.
pub fn run(report: &mut Report) -> Result<()> {
    let mut few = None;
    for services in COUNTS {
        let [known, nobodys] = measure(services)?;
        let miss = Baseline::measured(nobodys, "a packet that is nobody's");
        let metric = format!("tc program: packet of a known connection, {services} Services");
        report.row(metric, known, "ns", miss, Some(nobodys * 2.0));
        let metric = format!("tc program: known connection, {services} Services, flat");
        let first = *few.get_or_insert(known);
        report.row(metric, known, "ns", Baseline::measured(first, "100 Services"), Some(first * 2.0));
    }
    driver(report)
}

/// The driver's program beside the device's, with the same packets from outside for an endpoint on another node.
fn driver(report: &mut Report) -> Result<()> {
    ground::on(|ground| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("forwarding")?;
        ip("link set lo up")?;
        let outside = Host::new()?;
        outside.cable("eth0", "eth0", "172.30.0.200/24", "172.30.0.11")?;
        // Only then does a virtual cable take what drivers send.
        outside.run(|| Ok(NetNs::current()?.offload("eth0", Offload::Receive, true)?))?;
        ip(&format!("addr add {NODE}/24 dev eth0"))?;
        ip("neigh replace 172.30.0.200 lladdr 02:00:00:00:00:02 dev eth0 nud permanent")?;
        ip("route add 10.128.0.0/9 via 172.30.0.200")?;
        let mut all = many(10_000, 5);
        all[0].node_port = Some(NODE_PORT);
        let options = orlop_bpf::Options { xdp: orlop_bpf::Xdp::Native, ..backends::options(ground) };
        let mut backend = EbpfBackend::open(options.clone())?;
        backend.resync(&services::plan(&all)).map_err(|error| anyhow!(error))?;
        let layout = fs::read_dir(&options.bpf_root)?.next().context("no pins")??.path();
        let stack = SchedClassifier::from_pin(layout.join("programs/tc_ingress"))?;
        let driver = Xdp::from_pin(layout.join("programs/xdp_ingress"), XdpAttachType::Interface)?;
        let device = nix::net::if_::if_nametoindex("eth0")?.to_ne_bytes();
        let stack = |input: &[u8]| -> Result<Ran> {
            let mut context = [0_u8; 44];
            context[40..].copy_from_slice(&device);
            once(&stack, input, &context)
        };
        let driver = |input: &[u8]| -> Result<Ran> {
            // `data_end` and `ingress_ifindex` of `struct xdp_md`.
            let mut context = [0_u8; 24];
            context[4..8].copy_from_slice(&u32::try_from(input.len())?.to_ne_bytes());
            context[12..16].copy_from_slice(&device);
            once(&driver, input, &context)
        };
        let (mut begun, mut going, mut nobodys) = <([Vec<f64>; 2], [Vec<f64>; 2], [Vec<f64>; 2])>::default();
        for n in 0..CONNECTIONS {
            let client = |to, flags| segment((Ipv4Addr::new(172, 30, 0, 200), 5_000 + n), to, flags);
            let service = (NODE, NODE_PORT);
            // By turns one and the other begin a connection; the endpoint answers, and both are asked for what follows.
            let by_driver = usize::from(n % 2 == 1);
            let (time, action, sent) =
                if by_driver == 1 { driver(&client(service, SYN)) } else { stack(&client(service, SYN)) }?;
            ensure!(action == [TC_REDIRECT, XDP_REDIRECT][by_driver], "a first packet was not sent on: {action}");
            begun[by_driver].push(time);
            let (from, to) = ends(&sent);
            stack(&segment(to, from, SYN | ACK))?;
            stack(&client(service, ACK))?;
            going[0].push(stack(&client(service, ACK))?.0);
            let (time, action, _) = driver(&client(service, ACK))?;
            ensure!(action == XDP_REDIRECT, "a packet was not sent on: {action}");
            going[1].push(time);
            let other = client((Ipv4Addr::new(172, 30, 0, 12), 80), SYN);
            nobodys[0].push(stack(&other)?.0);
            nobodys[1].push(driver(&other)?.0);
        }
        let rows = [("begins a connection", begun), ("goes on with one", going), ("is nobody's", nobodys)];
        for (what, [stack, driver]) in rows.map(|(what, both)| (what, both.map(|times| quantile(&times, 0.5)))) {
            let metric = format!("xdp program: packet that {what}, 10,000 Services");
            // It finds the neighbour too, which the stack does after the other program.
            let peer = Baseline::measured(stack, "tc program, same packet");
            report.row(metric, driver, "ns", peer, Some(stack * 1.5));
        }
        Ok(())
    })
}

/// How long a program took, what it wants done, and the packet then.
type Ran = (f64, u32, Vec<u8>);

/// Runs a program on one packet.
fn once<P>(program: &P, input: &[u8], context: &[u8]) -> Result<Ran>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let mut output = vec![0; 256];
    let mut options = TestRunOptions::new();
    (options.data_in, options.ctx_in, options.data_out) = (Some(input), Some(context), Some(output.as_mut_slice()));
    let done = program.test_run(options).map_err(|error| anyhow!(error))?;
    let (time, action) = (done.duration.as_secs_f64() * 1e9, done.return_value);
    Ok((time, action, output))
}

/// From where to where a packet is.
fn ends(packet: &[u8]) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
    let end = |ip: usize, port: usize| {
        let at = |n: usize| packet[n];
        (Ipv4Addr::new(at(ip), at(ip + 1), at(ip + 2), at(ip + 3)), u16::from_be_bytes([at(port), at(port + 1)]))
    };
    (end(26, 34), end(30, 36))
}

fn measure(services: u32) -> Result<[f64; 2]> {
    ground::on(|ground| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("forwarding")?;
        ip("link set lo up")?;
        let outside = Host::new()?;
        outside.cable("eth0", "eth0", "172.30.0.200/24", "172.30.0.11")?;
        ip(&format!("addr add {NODE}/24 dev eth0"))?;
        let mut all = many(services, 5);
        // An endpoint under its own address: translating a translated packet again is the same work, and it goes up the stack.
        all.push(Service {
            name: "called".into(),
            ip: NODE,
            node_port: None,
            endpoints: vec![std::net::SocketAddrV4::new(NODE, PORT)],
        });
        let _loaded = Proxy::Ebpf.load(ground, &all)?;
        let root = backends::options(ground).bpf_root;
        let layout = fs::read_dir(&root)?.next().context("no pins")??.path();
        let program = SchedClassifier::from_pin(layout.join("programs/tc_ingress"))?;
        // `ifindex` of `struct __sk_buff`.
        let mut context = [0_u8; 44];
        context[40..].copy_from_slice(&nix::net::if_::if_nametoindex("eth0")?.to_ne_bytes());
        let time = |frame: &[u8], repeat| -> Result<Duration> {
            let mut options = TestRunOptions::new();
            (options.data_in, options.ctx_in, options.repeat) = (Some(frame), Some(context.as_slice()), repeat);
            let done = program.test_run(options).map_err(|error| anyhow!(error))?;
            ensure!(done.return_value.cast_signed() != 2, "the packet was dropped");
            Ok(done.duration)
        };
        time(&frame(NODE, SYN), 1)?;
        let quietest = |frame: Vec<u8>| -> Result<f64> {
            let rounds: Vec<Duration> = (0..ROUNDS).map(|_| time(&frame, REPEAT)).collect::<Result<_>>()?;
            rounds.iter().min().map(|time| time.as_secs_f64() * 1e9).context("no rounds")
        };
        Ok([quietest(frame(NODE, ACK))?, quietest(frame(Ipv4Addr::new(172, 30, 0, 12), SYN))?])
    })
}

const SYN: u8 = 2;
const ACK: u8 = 16;

/// A TCP packet from outside, in its Ethernet frame.
fn frame(to: Ipv4Addr, flags: u8) -> Vec<u8> {
    segment((Ipv4Addr::new(172, 30, 0, 200), 5_000), (to, PORT), flags)
}

fn segment(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), flags: u8) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
    bytes.extend(from.0.octets());
    bytes.extend(to.0.octets());
    let header = checksum(&bytes[14..]);
    bytes[24..26].copy_from_slice(&header.to_be_bytes());
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    bytes.extend([1, 2, 3, 4, 0, 0, 0, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    let mut pseudo = bytes[26..].to_vec();
    pseudo.extend([0, 6, 0, 20]);
    let sum = checksum(&pseudo);
    bytes[50..52].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    #[allow(clippy::cast_possible_truncation)]
    let folded = ((sum & 0xffff) + (sum >> 16)) as u16;
    !folded
}
