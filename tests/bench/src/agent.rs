//! The proxy as a process beside an API server: how long from its start, and from a write to the API, until the kernel does it; what it
//! costs in memory and, in a storm of changes, in processor time. With `ORLOP_BENCH_KUBE_PROXY=PATH`
//! the real one, which finds nft and iptables in PATH, runs on the same ground.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::backends::resident;
use crate::ground::{self, Ground, Host, ip};
use crate::report::{Baseline, Report, quantile};
use crate::services::{self, NODE, PODS, PORT, many};
use crate::start::{self, Server};

/// Where the real kube-proxy is.
const PEER: &str = "ORLOP_BENCH_KUBE_PROXY";
const SERVICES: u32 = 10_000;
/// Changes that are timed, one after the other.
const CHANGES: usize = 50;
/// Slices of the storm.
const STORM: u32 = 2_000;
/// Requests under way at once.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(300);
/// The Service that is called, and what its endpoint says of itself: the port it was reached at.
const PROBE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 255, 1), PORT);
const ENDPOINT_PORTS: [u16; 2] = [9_001, 9_002];

/// Who runs.
struct Contender {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
}

struct Figures {
    start: f64,
    changes: Vec<f64>,
    memory: f64,
    storm_wall: f64,
    storm_processor: f64,
}

/// Measures.
pub fn run(report: &mut Report) -> Result<()> {
    let (ours, peers) = ground::on(|ground| {
        ip("link set lo up")?;
        let outside = Host::new()?;
        outside.cable("eth0", "eth0", "172.30.0.200/24", "172.30.0.11")?;
        ip(&format!("addr add {NODE}/24 dev eth0"))?;
        ip("route add default via 172.30.0.200 dev eth0")?;
        for port in ENDPOINT_PORTS {
            let listener = TcpListener::bind((NODE, port))?;
            thread::spawn(move || listener.incoming().flatten().for_each(|mut to| drop(say(&mut to, port))));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let directory = tempfile::tempdir()?;
        let (_server, _) = Server::start(directory.path(), NODE)?;
        let kubeconfig = directory.path().join("admin.kubeconfig");
        let api = runtime.block_on(Cluster::fill(&kubeconfig))?;
        let mut measure = |contender| -> Result<_> { Figures::of(ground, &runtime, &api, contender) };
        let ours = contenders(ground, &kubeconfig)?.into_iter().map(&mut measure).collect::<Result<Vec<_>>>()?;
        let peers = peers(&kubeconfig).into_iter().map(&mut measure).collect::<Result<Vec<_>>>()?;
        Ok((ours, peers))
    })?;
    for (name, figures) in &ours {
        if peers.is_empty() {
            rows(report, name, figures, None);
        }
        for peer in &peers {
            rows(report, name, figures, Some(peer));
        }
    }
    Ok(())
}

fn rows(report: &mut Report, name: &str, ours: &Figures, peer: Option<&(&'static str, Figures)>) {
    let than = |of: fn(&Figures) -> f64, recorded: Option<f64>| match peer {
        Some((peer, figures)) => Baseline::measured(of(figures), peer),
        None => recorded.and_then(|value| Baseline::recorded(value, "kube-proxy nftables")),
    };
    let of = format!("{SERVICES} Services x 5");
    let start = than(|f| f.start, Some(15.6));
    report.row(format!("{name}: start to all programmed, {of}"), ours.start, "s", start, None);
    for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
        let of_share = |f: &Figures| quantile(&f.changes, share);
        let baseline = match peer {
            Some((peer, figures)) => Baseline::measured(of_share(figures), peer),
            None => Baseline::recorded(3_900.0, "kube-proxy nftables"),
        };
        report.row(format!("{name}: write to the API to the kernel, {what}"), of_share(ours), "ms", baseline, None);
    }
    let memory = than(|f| f.memory, Some(375.0));
    report.row(format!("{name}: memory, {of}"), ours.memory, "MiB", memory, Some(40.0));
    let storm = format!("{STORM} slices changed");
    report.row(format!("{name}: {storm}, until done"), ours.storm_wall, "s", than(|f| f.storm_wall, None), None);
    let processor = than(|f| f.storm_processor, None);
    report.row(format!("{name}: {storm}, processor time"), ours.storm_processor, "s", processor, None);
}

fn contenders(ground: &Ground, kubeconfig: &Path) -> Result<Vec<Contender>> {
    let program = start::binary()?;
    let of = |(name, mode): (&'static str, &str)| Contender {
        name,
        program: program.clone(),
        arguments: ["proxy".into(), format!("--cgroup-root={}", ground.cgroup.display())]
            .into_iter()
            .chain([format!("--bpf-root={}", ground.bpf.join("agent").display())])
            .chain(flags(kubeconfig, mode))
            .collect(),
    };
    Ok([("ebpf", "ebpf"), ("nftables", "nftables")].map(of).into())
}

/// The real one, where it was given.
fn peers(kubeconfig: &Path) -> Vec<Contender> {
    let Some(program) = std::env::var_os(PEER) else { return Vec::new() };
    let of = |(name, mode)| Contender { name, program: program.clone().into(), arguments: flags(kubeconfig, mode) };
    [("kube-proxy nftables", "nftables"), ("kube-proxy iptables", "iptables")].map(of).into()
}

fn flags(kubeconfig: &Path, mode: &str) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--proxy-mode={mode}"),
        "--hostname-override=bench".into(),
        format!("--cluster-cidr={PODS}"),
        // Their defaults want to write what this namespace has not.
        "--conntrack-max-per-core=0".into(),
        "--conntrack-tcp-timeout-established=0s".into(),
        "--conntrack-tcp-timeout-close-wait=0s".into(),
    ]
}

/// A running proxy, ended with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(contender: &Contender, log: &Path) -> Result<Self> {
        let mut command = Command::new(&contender.program);
        command.args(&contender.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(log)?);
        Ok(Self(command.spawn().with_context(|| format!("starting {}", contender.program.display()))?))
    }

    /// MiB of memory of its own and seconds of processor time, the programs that it calls included.
    fn costs(&self) -> Result<(f64, f64)> {
        let resident = f64::from(resident(&self.0.id().to_string())?);
        Ok((resident / 1024.0, processor_time(self.0.id())?))
    }
}

/// Seconds of the processor that a process and its children have had.
pub fn processor_time(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // utime, stime, cutime, cstime: fields 14 to 17, behind the name in parentheses.
    let fields = stat.rsplit_once(") ").context("no name in stat")?.1.split(' ').skip(11).take(4);
    let ticks: u64 = fields.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    #[allow(clippy::cast_precision_loss)]
    Ok(ticks as f64 / 100.0)
}

impl Figures {
    fn of(
        ground: &Ground,
        runtime: &tokio::runtime::Runtime,
        cluster: &Cluster,
        contender: Contender,
    ) -> Result<(&'static str, Self)> {
        eprintln!("  ({} runs)", contender.name);
        let log = tempfile::NamedTempFile::new()?;
        let measured = ground.inside(|| {
            let mut at = 0;
            runtime.block_on(cluster.lead_probe_to(ENDPOINT_PORTS[at]))?;
            let begun = Instant::now();
            let running = Running::start(&contender, log.path())?;
            until_reached(ENDPOINT_PORTS[at])?;
            let start = begun.elapsed().as_secs_f64();
            let mut change = || -> Result<f64> {
                at = 1 - at;
                runtime.block_on(cluster.lead_probe_to(ENDPOINT_PORTS[at]))?;
                let written = Instant::now();
                until_reached(ENDPOINT_PORTS[at])?;
                Ok(written.elapsed().as_secs_f64() * 1000.0)
            };
            change()?;
            let changes = (0..CHANGES).map(|_| change()).collect::<Result<Vec<_>>>()?;
            let (memory, before) = running.costs()?;
            let begun = Instant::now();
            runtime.block_on(cluster.storm())?;
            // Changes are done in their order, or together.
            change()?;
            let storm_wall = begun.elapsed().as_secs_f64();
            let storm_processor = running.costs()?.1 - before;
            Ok(Self { start, changes, memory, storm_wall, storm_processor })
        });
        let log = || fs::read_to_string(log.path()).unwrap_or_default();
        let tail = || log().lines().rev().take(5).collect::<Vec<_>>().join("\n");
        clean(&contender)?;
        Ok((contender.name, measured.with_context(|| format!("{}: {}", contender.name, tail()))?))
    }
}

/// Takes what it left in the kernel, for whoever comes next.
fn clean(contender: &Contender) -> Result<()> {
    let mut arguments = contender.arguments.clone();
    arguments.push("--cleanup".into());
    orlop_conformance::output(Command::new(&contender.program).args(&arguments)).map(drop)
}

/// Calls the probe until an endpoint answers that listens on this port.
fn until_reached(port: u16) -> Result<()> {
    let begun = Instant::now();
    while hear().is_none_or(|heard| heard != port) {
        ensure!(begun.elapsed() < PATIENCE, "nothing from the endpoint at {port} after {PATIENCE:?}");
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

fn hear() -> Option<u16> {
    let mut connection = TcpStream::connect_timeout(&PROBE.into(), Duration::from_millis(20)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let mut port = [0; 2];
    std::io::Read::read_exact(&mut connection, &mut port).ok()?;
    Some(u16::from_be_bytes(port))
}

fn say(to: &mut TcpStream, port: u16) -> std::io::Result<()> {
    std::io::Write::write_all(to, &port.to_be_bytes())
}

/// The API and what is in it.
struct Cluster {
    slices: Api<EndpointSlice>,
}

impl Cluster {
    async fn fill(kubeconfig: &Path) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = kube::Client::try_from(config)?;
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "bench"},
            "status": {"addresses": [{"type": "InternalIP", "address": NODE}]},
        }))?;
        let nodes: Api<Node> = Api::all(client.clone());
        nodes.create(&PostParams::default(), &node).await?;
        let addresses = json!({"status": {"addresses": [{"type": "InternalIP", "address": NODE}]}});
        nodes.patch_status("bench", &PatchParams::default(), &Patch::Merge(addresses)).await?;
        let cluster = Self { slices: Api::default_namespaced(client.clone()) };
        let services: Api<Service> = Api::default_namespaced(client);
        let probe = services::Service {
            name: "probe".into(),
            ip: *PROBE.ip(),
            node_port: None,
            endpoints: vec![SocketAddrV4::new(NODE, ENDPOINT_PORTS[0])],
        };
        stream::iter(many(SERVICES, 5).into_iter().chain([probe]))
            .map(|service| {
                let (services, slices) = (&services, &cluster.slices);
                async move {
                    services.create(&PostParams::default(), &object(&service)?).await?;
                    slices.create(&PostParams::default(), &slice(&service)?).await?;
                    Ok::<_, anyhow::Error>(())
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(cluster)
    }

    async fn lead_probe_to(&self, port: u16) -> Result<()> {
        let change = json!({"ports": [{"name": "", "port": port, "protocol": "TCP"}]});
        self.slices.patch("probe", &PatchParams::default(), &Patch::Merge(change)).await?;
        Ok(())
    }

    /// Takes an endpoint of many Services away, or gives it back.
    async fn storm(&self) -> Result<()> {
        let fewer = self.slices.get("s1").await?.endpoints.is_some_and(|endpoints| endpoints.len() == 5);
        stream::iter(1..=STORM)
            .map(|number| async move {
                let change =
                    json!({"endpoints": slice(&services::Service::numbered(number, 5 - u32::from(fewer)))?.endpoints});
                let name = format!("s{number}");
                self.slices.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await?;
                Ok::<_, anyhow::Error>(())
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }
}

fn object(service: &services::Service) -> Result<Service> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": service.name},
        "spec": {"clusterIP": service.ip, "ports": [{"port": PORT, "protocol": "TCP"}]},
    }))?)
}

fn slice(service: &services::Service) -> Result<EndpointSlice> {
    let Some(port) = service.endpoints.first().map(SocketAddrV4::port) else {
        bail!("{} has no endpoints", service.name)
    };
    let endpoint = |at: &SocketAddrV4| json!({"addresses": [at.ip()], "conditions": {"ready": true}});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": service.name, "labels": {"kubernetes.io/service-name": service.name}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        "endpoints": service.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    }))?)
}
