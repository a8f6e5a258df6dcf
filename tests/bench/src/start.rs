//! How long `orlop server` takes from its start to /readyz, with an empty store and with a used one.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::report::{Baseline, Report, quantile};

const ROUNDS: usize = 5;

/// Measures.
pub fn run(report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let start = || Server::start(directory.path(), Ipv4Addr::LOCALHOST).map(|(_, seconds)| seconds);
    let first = start()?;
    let again: Vec<f64> = (0..ROUNDS).map(|_| start()).collect::<Result<_>>()?;
    // Of kube-apiserver 1.36 with etcd, on a machine of this kind.
    let peer = || Baseline::recorded(2.35, "kube-apiserver + etcd");
    report.row("orlop server: start to /readyz, new cluster", first, "s", peer(), Some(0.3));
    report.row("orlop server: start to /readyz, p50", quantile(&again, 0.5), "s", peer(), Some(0.3));
    Ok(())
}

/// A running `orlop server`, ended with the value.
pub struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The binary that is measured.
pub fn binary() -> Result<PathBuf> {
    std::env::var_os("ORLOP_BINARY").map(PathBuf::from).context("ORLOP_BINARY is not set: use `cargo xtask bench`")
}

impl Server {
    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Starts one and waits for /readyz; also gives the seconds that took.
    pub fn start(data: &Path, address: Ipv4Addr) -> Result<(Self, f64)> {
        // A port that was free a moment ago.
        let port = TcpListener::bind((address, 0))?.local_addr()?.port();
        let log = data.join("server.log");
        let address = address.to_string();
        let mut command = Command::new(binary()?);
        command.arg("server").arg("--data-dir").arg(data).args(["--bind-address", &address]);
        command.args(["--advertise-address", &address, "--secure-port", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?);
        let begun = Instant::now();
        let mut server = Self { process: command.spawn().context("starting orlop server")?, port };
        let url = format!("https://{address}:{port}/readyz");
        loop {
            // The certificate is not what is measured.
            let answer = orlop_conformance::output(Command::new("curl").args(["-sk", "-m", "1", &url]))?;
            if answer.stdout == b"ok" {
                return Ok((server, begun.elapsed().as_secs_f64()));
            }
            let ended = server.process.try_wait()?;
            ensure!(ended.is_none(), "orlop server ended: {}", std::fs::read_to_string(&log)?);
            ensure!(begun.elapsed() < Duration::from_secs(60), "not ready: {}", std::fs::read_to_string(&log)?);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
