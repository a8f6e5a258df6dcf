//! What the eBPF program at a device costs a packet, without the stack around it (`BPF_PROG_TEST_RUN`).

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};

use crate::backends::{self, Proxy};
use crate::ground::{self, Host, ip};
use crate::report::{Baseline, Report};
use crate::services::{NODE, PORT, Service, many};

/// Services beside the one that the packet is for.
const COUNTS: [u32; 3] = [100, 10_000, 60_000];
const REPEAT: u32 = 200_000;
const ROUNDS: usize = 7;

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
    Ok(())
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
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
    bytes.extend(Ipv4Addr::new(172, 30, 0, 200).octets());
    bytes.extend(to.octets());
    let header = checksum(&bytes[14..]);
    bytes[24..26].copy_from_slice(&header.to_be_bytes());
    bytes.extend(5_000_u16.to_be_bytes());
    bytes.extend(PORT.to_be_bytes());
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
