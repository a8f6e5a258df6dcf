//! Opening the backend that the configuration asks for, or the one that works.

use std::path::{Path, PathBuf};

use orlop_bpf::{EbpfBackend, Options};
use orlop_nft::NftBackend;
use orlop_plan::{
    Backend, BackendError, Changes, Counters, Endpoint, FlowFilter, Flows, Frontend, Held, NodeFacts, Plan, Protocol,
    Reconciled,
};

use crate::{Config, Mode, leftovers};

/// A backend that has taken its first plan.
pub(crate) struct Opened {
    pub backend: Box<dyn Backend>,
    pub mode: &'static str,
}

/// Opens a backend and gives it its first plan, so that what does not work here shows now.
pub(crate) fn open(config: &Config, plan: &Plan) -> Result<Opened, BackendError> {
    let options = Options {
        bpf_root: config.bpf_root.clone(),
        cgroup_root: config.cgroup_root.clone(),
        node_port_range: config.node_port_range,
        tcx: true,
        selection: config.selection,
        forwarding: config.forwarding,
        xdp: config.xdp,
    };
    open_with(config.mode, options, plan)
}

fn open_with(mode: Mode, options: Options, plan: &Plan) -> Result<Opened, BackendError> {
    let bpf_root = options.bpf_root.clone();
    if mode == Mode::Ebpf {
        match open_ebpf(options, plan) {
            Ok(backend) => return Ok(Opened { mode: backend.mode(), backend: Box::new(backend) }),
            Err(reason) => tracing::warn!(%reason, "eBPF does not work here; falling back to nftables"),
        }
    }
    let mut backend = NftAfterEbpf { nft: NftBackend::open()?, bpf_root, draining: true };
    backend.resync(plan)?;
    Ok(Opened { mode: backend.mode(), backend: Box::new(backend) })
}

fn open_ebpf(options: Options, plan: &Plan) -> Result<EbpfWithSctp, BackendError> {
    let mut ebpf = EbpfBackend::open(options)?;
    ebpf.resync(plan)?;
    let nft = NftBackend::open().map(NftBackend::keeping_flows);
    let nft = nft.map_err(|error| tracing::warn!(%error, "SCTP Services are not proxied")).ok();
    let mut both = EbpfWithSctp { ebpf, nft, lingers: false };
    both.begin(plan)?;
    Ok(both)
}

/// Removes everything that an agent of any mode, or kube-proxy, left in the network namespace of this thread and under
/// [`Config::bpf_root`]. Nothing is forwarded afterwards.
pub fn cleanup(bpf_root: &Path) -> Result<(), BackendError> {
    orlop_bpf::remove(bpf_root)?;
    NftBackend::open()?.cleanup()?;
    let (_, errors) = leftovers::remove();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ").into()) }
}

/// nftables, and what an agent in eBPF mode left: that takes no new connections and goes when its last one has ended.
struct NftAfterEbpf {
    nft: NftBackend,
    bpf_root: PathBuf,
    /// Whether there may be something left.
    draining: bool,
}

impl NftAfterEbpf {
    fn drain(&mut self, plan: &Plan) {
        if !self.draining {
            return;
        }
        match orlop_bpf::retire(&self.bpf_root, plan) {
            Ok(true) => {}
            Ok(false) => self.draining = false,
            Err(error) => tracing::warn!(%error, "cannot retire what the eBPF mode left"),
        }
    }
}

impl Backend for NftAfterEbpf {
    fn mode(&self) -> &'static str {
        self.nft.mode()
    }

    fn sync(&mut self, plan: &Plan, changes: &Changes) -> Result<(), BackendError> {
        self.nft.sync(plan, changes)?;
        if changes.frontends.iter().any(|change| change.frontend.protocol == Protocol::Udp) {
            self.drain(plan);
        }
        Ok(())
    }

    fn resync(&mut self, plan: &Plan) -> Result<(), BackendError> {
        self.nft.resync(plan)?;
        // Only now: until nftables has taken over, what eBPF forwards must go on.
        self.drain(plan);
        Ok(())
    }

    fn cleanup(&mut self) -> Result<(), BackendError> {
        orlop_bpf::remove(&self.bpf_root)?;
        self.nft.cleanup()
    }

    fn limits(&self) -> Vec<String> {
        self.nft.limits()
    }

    fn held(&mut self, frontend: &Frontend) -> Result<Option<Held>, BackendError> {
        self.nft.held(frontend)
    }

    fn reconciled(&mut self) -> Vec<Reconciled> {
        self.nft.reconciled()
    }

    fn flows(&mut self, wanted: &FlowFilter) -> Result<Flows, BackendError> {
        let mut flows = self.nft.flows(wanted)?;
        if self.draining {
            flows.append(orlop_bpf::retired_flows(&self.bpf_root, wanted)?, wanted);
        }
        Ok(flows)
    }

    fn counters(&mut self) -> Result<Counters, BackendError> {
        self.nft.counters()
    }
}

/// eBPF for TCP and UDP; SCTP needs a checksum over the packet and stays with nftables. The nftables part also keeps
/// translating flows that an agent in nftables mode began: its base chains stay, its maps are emptied.
struct EbpfWithSctp {
    ebpf: EbpfBackend,
    nft: Option<NftBackend>,
    /// Whether nftables goes on serving everything, as an agent in nftables mode did until just now: a socket that was
    /// connected to a Service's address before the programs were there sends its first packet after it. Ends with the first
    /// [`Backend::resync`], when the agent has had nothing to do for a while.
    lingers: bool,
}

/// How many of the plan's Services are looked for, to find out whether nftables served any.
const SAMPLE: usize = 16;

/// The part of a plan that nftables serves.
fn sctp_of(plan: &Plan) -> Plan {
    let ours = plan.frontends.iter().filter(|(frontend, _)| frontend.protocol == Protocol::Sctp);
    Plan { frontends: ours.map(|(frontend, target)| (*frontend, target.clone())).collect(), node: plan.node.clone() }
}

impl EbpfWithSctp {
    /// Takes over what nftables holds.
    fn begin(&mut self, plan: &Plan) -> Result<(), BackendError> {
        let Some(nft) = &mut self.nft else { return Ok(()) };
        for frontend in plan.frontends.keys().filter(|frontend| frontend.protocol != Protocol::Sctp).take(SAMPLE) {
            self.lingers |= nft.held(frontend)?.is_some();
        }
        if self.lingers { nft.resync(plan) } else { self.resync_sctp(plan) }
    }

    fn resync_sctp(&mut self, plan: &Plan) -> Result<(), BackendError> {
        self.nft.as_mut().map_or(Ok(()), |nft| nft.resync(&sctp_of(plan)))
    }
}

impl Backend for EbpfWithSctp {
    fn mode(&self) -> &'static str {
        self.ebpf.mode()
    }

    fn sync(&mut self, plan: &Plan, changes: &Changes) -> Result<(), BackendError> {
        self.ebpf.sync(plan, changes)?;
        if let (true, Some(nft)) = (self.lingers, &mut self.nft) {
            return nft.sync(plan, changes);
        }
        let sctp = changes.frontends.iter().any(|change| change.frontend.protocol == Protocol::Sctp);
        // SCTP changes are rare; comparing its few frontends whole needs no second bookkeeping.
        if sctp || changes.node.is_some() { self.resync_sctp(plan) } else { Ok(()) }
    }

    fn resync(&mut self, plan: &Plan) -> Result<(), BackendError> {
        self.ebpf.resync(plan)?;
        self.lingers = false;
        self.resync_sctp(plan)
    }

    fn cleanup(&mut self) -> Result<(), BackendError> {
        self.ebpf.cleanup()?;
        self.nft.as_mut().map_or(Ok(()), NftBackend::cleanup)
    }

    fn limits(&self) -> Vec<String> {
        let mut limits = self.ebpf.limits();
        if self.nft.is_none() {
            limits.push("SCTP Services are not proxied: they need nftables, which does not open".into());
        }
        limits
    }

    fn keeps_source(&self, node: &NodeFacts, protocol: Protocol, endpoint: &Endpoint) -> bool {
        self.ebpf.keeps_source(node, protocol, endpoint)
    }

    fn held(&mut self, frontend: &Frontend) -> Result<Option<Held>, BackendError> {
        match (frontend.protocol, &mut self.nft) {
            (Protocol::Sctp, Some(nft)) => nft.held(frontend),
            (Protocol::Sctp, None) => Ok(None),
            _ => self.ebpf.held(frontend),
        }
    }

    fn flows(&mut self, wanted: &FlowFilter) -> Result<Flows, BackendError> {
        let mut flows = Flows::default();
        if wanted.protocol != Protocol::Sctp {
            flows = self.ebpf.flows(wanted)?;
        }
        if let Some(nft) = &mut self.nft {
            flows.append(nft.flows(wanted)?, wanted);
        }
        Ok(flows)
    }

    fn counters(&mut self) -> Result<Counters, BackendError> {
        let mut all = self.ebpf.counters()?;
        if let Some(nft) = &mut self.nft {
            let sctp = |frontend: &Frontend| frontend.protocol == Protocol::Sctp;
            let counted = nft.counters()?;
            all.frontends.extend(counted.frontends.into_iter().filter(|(frontend, _)| sctp(frontend)));
            all.endpoints.extend(counted.endpoints.into_iter().filter(|tally| sctp(&tally.frontend)));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn where_ebpf_lacks_something_nftables_takes_its_place() {
        let opened = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (root is needed)");
            // No bpffs.
            let root = PathBuf::from("/proc/nowhere");
            let options = Options {
                bpf_root: root.clone(),
                cgroup_root: root,
                node_port_range: (1, 2),
                tcx: true,
                selection: orlop_bpf::Selection::Random,
                forwarding: orlop_bpf::Forwarding::Snat,
                xdp: orlop_bpf::Xdp::Disabled,
            };
            let refused = open_ebpf(options.clone(), &Plan::default()).map(drop).map_err(|error| error.to_string());
            let mut opened = open_with(Mode::Ebpf, options, &Plan::default()).expect("a backend");
            opened.backend.resync(&Plan::default()).expect("it works");
            cleanup(Path::new("/proc/nowhere")).expect("it goes");
            (refused, opened.mode)
        });
        let (refused, mode) = opened.join().expect("the test");
        let refused = refused.expect_err("no bpffs");
        assert!(refused.contains("a bpffs at bpf_root /proc/nowhere"), "{refused}");
        assert_eq!(mode, "nftables");
    }
}
