//! The API servers that are measured: `orlop server`, and beside it kube-apiserver with etcd where both are given, on the same
//! certificates.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::backends::resident;
use crate::start::Server;

/// Where the real kube-apiserver and its etcd are.
const PEER: [&str; 2] = ["ORLOP_BENCH_KUBE_APISERVER", "ORLOP_BENCH_ETCD"];

/// Whose figures these are.
#[derive(Clone)]
pub enum Target {
    /// `orlop server`.
    Orlop,
    /// kube-apiserver and etcd.
    Kubernetes {
        /// The binary of the one.
        server: PathBuf,
        /// And of the other.
        etcd: PathBuf,
    },
}

/// A server that runs, ended with the value.
pub struct Running {
    /// Its port on loopback.
    pub port: u16,
    /// Seconds from its start to /readyz.
    pub start: f64,
    processes: Processes,
}

enum Processes {
    Orlop(Server),
    Kubernetes(Vec<Process>),
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Target {
    /// The peer, if it is to be had.
    pub fn peer() -> Option<Self> {
        let [server, etcd] = PEER.map(|name| std::env::var_os(name).map(PathBuf::from));
        Some(Self::Kubernetes { server: server?, etcd: etcd? })
    }

    /// Starts it on the data in a directory, whose certificates `orlop server` made.
    pub fn start(&self, data: &Path) -> Result<Running> {
        match self {
            Self::Orlop => {
                let (server, start) = Server::start(data, Ipv4Addr::LOCALHOST)?;
                Ok(Running { port: server.port(), start, processes: Processes::Orlop(server) })
            }
            Self::Kubernetes { server, etcd } => kubernetes(server, etcd, data),
        }
    }
}

impl Running {
    /// MiB of memory that its processes have.
    pub fn memory(&self) -> Result<f64> {
        let pids = match &self.processes {
            Processes::Orlop(server) => vec![server.id()],
            Processes::Kubernetes(list) => list.iter().map(|process| process.0.id()).collect(),
        };
        pids.into_iter().map(|pid| Ok(f64::from(resident(&pid.to_string())?) / 1024.0)).sum()
    }

    /// Seconds of the processor that they have used.
    pub fn processor(&self) -> Result<f64> {
        let pids = match &self.processes {
            Processes::Orlop(server) => vec![server.id()],
            Processes::Kubernetes(list) => list.iter().map(|process| process.0.id()).collect(),
        };
        pids.into_iter().map(crate::agent::processor_time).sum()
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn spawn(command: &mut Command, log: &Path) -> Result<Process> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(log)?);
    Ok(Process(command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?))
}

fn kubernetes(server: &Path, etcd: &Path, data: &Path) -> Result<Running> {
    let (client, peer, port) = (free_port()?, free_port()?, free_port()?);
    let begun = Instant::now();
    let url = |port| format!("http://127.0.0.1:{port}");
    let mut command = Command::new(etcd);
    command.arg("--data-dir").arg(data.join("etcd")).args(["--log-level", "error"]);
    command.args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)]);
    command.args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)]);
    command.args(["--initial-cluster", &format!("default={}", url(peer)), "--quota-backend-bytes", "4294967296"]);
    let etcd = spawn(&mut command, &data.join("etcd.log"))?;
    let pki = |name: &str| data.join("pki").join(name);
    let mut command = Command::new(server);
    command.args(["--etcd-servers", &url(client), "--bind-address", "127.0.0.1", "--secure-port", &port.to_string()]);
    command.args(["--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none"]);
    command.args(["--service-cluster-ip-range", "10.96.0.0/12", "--authorization-mode", "Node,RBAC"]);
    command.args(["--service-account-issuer", "https://kubernetes.default.svc.cluster.local"]);
    for (flag, file) in [
        ("--client-ca-file", "ca.crt"),
        ("--tls-cert-file", "apiserver.crt"),
        ("--tls-private-key-file", "apiserver.key"),
        ("--service-account-key-file", "sa.pub"),
        ("--service-account-signing-key-file", "sa.key"),
    ] {
        command.arg(flag).arg(pki(file));
    }
    // Without a controller-manager no service account is made.
    command.args(["--disable-admission-plugins", "ServiceAccount"]);
    let log = data.join("kube-apiserver.log");
    let mut process = spawn(&mut command, &log)?;
    let ready = format!("https://127.0.0.1:{port}/readyz");
    loop {
        let answer = orlop_conformance::output(Command::new("curl").args(["-sk", "-m", "1", &ready]))?;
        if answer.stdout == b"ok" {
            break;
        }
        let ended = process.0.try_wait()?;
        ensure!(ended.is_none(), "kube-apiserver ended: {}", std::fs::read_to_string(&log)?);
        ensure!(begun.elapsed() < Duration::from_secs(120), "not ready: {}", std::fs::read_to_string(&log)?);
        std::thread::sleep(Duration::from_millis(5));
    }
    let start = begun.elapsed().as_secs_f64();
    // It ends before its etcd.
    Ok(Running { port, start, processes: Processes::Kubernetes(vec![process, etcd]) })
}
