//! What is measured on a [`Ground`]: either of our backends, or kube-proxy's rules.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use orlop_bpf::EbpfBackend;
use orlop_nft::NftBackend;
use orlop_plan::{Backend, Plan, diff};

use crate::ground::Ground;
use crate::kube_proxy::{iptables, nftables};
use crate::services::{self, Service};

/// Who proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Ebpf,
    Nftables,
    /// kube-proxy's rules.
    KubeProxyNftables,
    KubeProxyIptables,
}

impl Proxy {
    /// Ours.
    pub const OURS: [Self; 2] = [Self::Ebpf, Self::Nftables];

    /// How tables call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Nftables => "nftables",
            Self::KubeProxyNftables => "kube-proxy's nftables rules",
            Self::KubeProxyIptables => "kube-proxy's iptables rules",
        }
    }

    /// Makes the kernel of this ground hold the Services.
    pub fn load(self, ground: &Ground, services: &[Service]) -> Result<Loaded> {
        let ours = |mut backend: Box<dyn Backend>| -> Result<Kind> {
            let plan = services::plan(services);
            backend.resync(&plan).map_err(|error| anyhow!(error))?;
            Ok(Kind::Ours { backend, plan: Box::new(plan) })
        };
        // Opening, and writing the peer's rules down, are not what is measured.
        let (kind, seconds) = match self {
            Self::Ebpf => timed(EbpfBackend::open(options(ground))?, |backend| ours(Box::new(backend)))?,
            Self::Nftables => timed(NftBackend::open()?, |backend| ours(Box::new(backend)))?,
            Self::KubeProxyNftables => timed(nftables::ruleset(services), |rules| {
                nft(&rules)?;
                Ok(Kind::Nftables)
            })?,
            Self::KubeProxyIptables => timed(iptables::ruleset(services), |rules| {
                iptables_restore(&rules)?;
                Ok(Kind::Iptables(services.to_vec()))
            })?,
        };
        Ok(Loaded { kind, seconds })
    }
}

fn timed<I, T>(input: I, work: impl FnOnce(I) -> Result<T>) -> Result<(T, f64)> {
    let begun = Instant::now();
    let done = work(input)?;
    Ok((done, begun.elapsed().as_secs_f64()))
}

/// The options of an eBPF backend there.
pub fn options(ground: &Ground) -> orlop_bpf::Options {
    orlop_bpf::Options {
        bpf_root: ground.bpf.join("node"),
        cgroup_root: ground.cgroup.clone(),
        node_port_range: (30_000, 32_767),
        tcx: true,
        selection: orlop_bpf::Selection::default(),
        forwarding: orlop_bpf::Forwarding::default(),
        xdp: orlop_bpf::Xdp::default(),
    }
}

/// What has been loaded, for as long as it is held.
pub struct Loaded {
    kind: Kind,
    /// How long that took.
    pub seconds: f64,
}

enum Kind {
    Ours { backend: Box<dyn Backend>, plan: Box<Plan> },
    Nftables,
    Iptables(Vec<Service>),
}

impl Loaded {
    /// Changes one Service and gives the seconds that took. Comparing plans is part of what a change costs us.
    pub fn change(&mut self, before: &Service, after: &Service) -> Result<f64> {
        match &mut self.kind {
            Kind::Ours { backend, plan } => {
                let mut next = plan.as_ref().clone();
                after.put(&mut next);
                let ((), seconds) = timed((), |()| {
                    backend.sync(&next, &diff(plan, &next)).map_err(|error| anyhow!(error))?;
                    Ok(())
                })?;
                **plan = next;
                Ok(seconds)
            }
            Kind::Nftables => Ok(timed(nftables::change(before, after), |rules| nft(&rules))?.1),
            Kind::Iptables(services) => {
                Ok(timed(iptables::change(services, after), |rules| iptables_restore(&rules))?.1)
            }
        }
    }
}

fn nft(rules: &str) -> Result<()> {
    feed(Command::new("nft").args(["-f", "-"]), rules)
}

fn iptables_restore(rules: &str) -> Result<()> {
    feed(Command::new("iptables-legacy-restore").args(["--noflush", "--wait", "5"]), rules)
}

fn feed(command: &mut Command, text: &str) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut file = tempfile::tempfile()?;
    file.write_all(text.as_bytes())?;
    std::io::Seek::rewind(&mut file)?;
    let output = command.stdin(Stdio::from(file)).output().with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// KiB of a process (`self`, or a pid) in memory.
pub fn resident(process: &str) -> Result<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("an empty VmRSS")?.parse()?)
}
