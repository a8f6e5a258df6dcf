//! A real kube-apiserver with its etcd, on loopback, both ended with the value.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use orlop_auth::pki::{ClusterPki, Issued, Subject, Usage};

use crate::answer::Raw;
use crate::case::Case;

/// A pair that runs.
pub struct Theirs {
    port: u16,
    pki: ClusterPki,
    directory: tempfile::TempDir,
    // It ends before its etcd.
    _server: Process,
    _etcd: Process,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Theirs {
    /// Starts the binaries that `ORLOP_BENCH_KUBE_APISERVER` and `ORLOP_BENCH_ETCD` name.
    pub fn start(ranges: &str) -> Result<Self> {
        let binary =
            |name: &str| std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set"));
        let (server, etcd) = (binary("ORLOP_BENCH_KUBE_APISERVER")?, binary("ORLOP_BENCH_ETCD")?);
        let directory = tempfile::tempdir()?;
        let data = directory.path();
        let pki = ClusterPki::open(&data.join("pki"))?;
        write(data, "apiserver", &pki.apiserver(&["localhost"], &[Ipv4Addr::LOCALHOST.into()])?)?;
        let (client, peer, port) = (free_port()?, free_port()?, free_port()?);
        let url = |port| format!("http://127.0.0.1:{port}");
        let mut command = Command::new(etcd);
        command.arg("--data-dir").arg(data.join("etcd")).args(["--log-level", "error", "--unsafe-no-fsync"]);
        command.args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)]);
        command.args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)]);
        command.args(["--initial-cluster", &format!("default={}", url(peer))]);
        let etcd = spawn(&mut command, &data.join("etcd.log"))?;
        let mut command = Command::new(server);
        command.args([
            "--etcd-servers",
            &url(client),
            "--bind-address",
            "127.0.0.1",
            "--secure-port",
            &port.to_string(),
        ]);
        command.args(["--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none"]);
        command.args(["--service-cluster-ip-range", ranges, "--authorization-mode", "Node,RBAC"]);
        // As kubeadm starts it, and as ours is.
        command.arg("--allow-privileged=true");
        command.args(["--service-account-issuer", "https://kubernetes.default.svc.cluster.local"]);
        for (flag, file) in [
            ("--client-ca-file", "pki/ca.crt"),
            ("--tls-cert-file", "apiserver.crt"),
            ("--tls-private-key-file", "apiserver.key"),
            ("--service-account-key-file", "pki/sa.pub"),
            ("--service-account-signing-key-file", "pki/sa.key"),
        ] {
            command.arg(flag).arg(data.join(file));
        }
        let log = data.join("kube-apiserver.log");
        let mut process = spawn(&mut command, &log)?;
        let begun = Instant::now();
        loop {
            let address = format!("https://127.0.0.1:{port}/readyz");
            let answer = Command::new("curl").args(["-sk", "-m", "1", &address]).output().context("starting curl")?;
            if answer.stdout == b"ok" {
                break;
            }
            let ended = process.0.try_wait()?;
            ensure!(ended.is_none(), "kube-apiserver ended: {}", std::fs::read_to_string(&log)?);
            ensure!(begun.elapsed() < Duration::from_secs(120), "not ready: {}", std::fs::read_to_string(&log)?);
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Self { port, pki, directory, _server: process, _etcd: etcd })
    }

    /// Asks it.
    pub fn ask(&self, case: &Case) -> Result<Raw> {
        let data = self.directory.path();
        let (head, body, sent) = (data.join("head"), data.join("body"), data.join("sent"));
        std::fs::write(&sent, case.bytes()?)?;
        std::fs::write(&body, "")?;
        let mut command = Command::new("curl");
        command.args(["-sk", "--http1.1", "--path-as-is", "-m", "60"]);
        command.arg("-D").arg(&head).arg("-o").arg(&body);
        match case.method.as_str() {
            "HEAD" => command.arg("-I"),
            method => command.args(["-X", method]),
        };
        if sent.metadata()?.len() > 0 {
            command.args(["-H", "Content-Type:", "-H", "Expect:", "--data-binary"]).arg(format!("@{}", sent.display()));
        }
        for (name, value) in case.headers() {
            command.args(["-H", &format!("{name}: {value}")]);
        }
        if let Some((user, group)) = case.user() {
            let name = format!("client-{user}-{group}").replace([':', '/'], "_");
            if !data.join(format!("{name}.crt")).exists() {
                let groups: Vec<&str> = Some(group).filter(|group| !group.is_empty()).into_iter().collect();
                write(data, &name, &self.pki.ca().issue(&Subject::new(user, &groups), &Usage::Client)?)?;
            }
            command.arg("--cert").arg(data.join(format!("{name}.crt")));
            command.arg("--key").arg(data.join(format!("{name}.key")));
        }
        let output = command.arg(format!("https://127.0.0.1:{}{}", self.port, case.path)).output()?;
        ensure!(output.status.success(), "curl: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
        let head = std::fs::read_to_string(&head)?;
        let mut lines = head.lines();
        let code = lines.next().and_then(|line| line.split(' ').nth(1)).context("a status line")?.parse()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let body = if case.method == "HEAD" { Vec::new() } else { std::fs::read(&body)? };
        Ok(Raw { code, headers, body })
    }
}

fn write(directory: &Path, name: &str, issued: &Issued) -> Result<()> {
    std::fs::write(directory.join(format!("{name}.crt")), &issued.certificate)?;
    std::fs::write(directory.join(format!("{name}.key")), &issued.key)?;
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn spawn(command: &mut Command, log: &Path) -> Result<Process> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(log)?);
    Ok(Process(command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?))
}
