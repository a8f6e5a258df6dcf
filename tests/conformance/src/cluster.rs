//! A cluster of a test: `orlop up` before, `orlop down` after, kubectl and commands in between.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::pods::Pods;
use crate::{eventually, stdout};

/// Two clusters at once would share two cores: tests of one file wait for each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What cluster a test wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name: no two tests use the same.
    pub name: &'static str,
    /// Machines.
    pub nodes: u32,
    /// `ebpf` or `nftables`.
    pub proxy_mode: &'static str,
    /// `vxlan` or `host-gw`.
    pub overlay: &'static str,
    /// A NodePort to serve on the loopback.
    pub publish: Option<u16>,
}

/// A cluster that ends with the value.
pub struct Cluster {
    wanted: Wanted,
    flags: &'static [&'static str],
    binary: PathBuf,
    api_port: u16,
    kubeconfig: PathBuf,
    /// What `up` printed.
    pub printed: String,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Clears what an interrupted run left under this name and starts anew.
    pub fn up(wanted: Wanted) -> Result<Self> {
        Self::up_with(wanted, &[])
    }

    /// [`Self::up`] with more flags of `orlop up`.
    pub fn up_with(wanted: Wanted, flags: &'static [&'static str]) -> Result<Self> {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let binary = std::env::var_os("ORLOP_BINARY").context("ORLOP_BINARY is not set: use `cargo xtask test`")?;
        let mut cluster = Self {
            wanted,
            flags,
            binary: binary.into(),
            api_port: free_port()?,
            kubeconfig: PathBuf::new(),
            printed: String::new(),
            _turn: turn,
        };
        cluster.down()?;
        cluster.again()?;
        Ok(cluster)
    }

    /// `orlop up` as it was called first.
    pub fn again(&mut self) -> Result<()> {
        let wanted = &self.wanted;
        let mut up = Command::new(&self.binary);
        up.args(["up", "--name", wanted.name, "--nodes", &wanted.nodes.to_string()]);
        up.args(["--proxy-mode", wanted.proxy_mode, "--overlay", wanted.overlay]);
        up.args(["--api-port", &self.api_port.to_string()]);
        up.args(self.flags);
        if let Some(port) = wanted.publish {
            up.args(["--publish", &port.to_string()]);
        }
        let printed = stdout(&mut up)?;
        let line = printed.lines().find_map(|line| line.trim().strip_prefix("export KUBECONFIG="));
        self.kubeconfig = line.with_context(|| format!("`up` printed no KUBECONFIG:\n{printed}"))?.into();
        self.printed = printed;
        Ok(())
    }

    /// `orlop down`.
    pub fn down(&self) -> Result<()> {
        stdout(Command::new(&self.binary).args(["down", "--name", self.wanted.name])).map(drop)
    }

    /// The name it runs under.
    pub fn name(&self) -> &str {
        self.wanted.name
    }

    /// The binary that runs it.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The real kubectl, which must succeed; its output.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        stdout(self.kubectl_command().args(args))
    }

    /// The real kubectl with a manifest on its standard input.
    pub fn kubectl_with(&self, args: &[&str], manifest: &str) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(args).args(["-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("kubectl has an input")?.write_all(manifest.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What kubectl is told with `--kubeconfig`.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client with the person's own kubeconfig.
    pub async fn client(&self) -> Result<kube::Client> {
        let file = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    fn kubectl_command(&self) -> Command {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// A command beside the cluster, which must succeed.
    pub fn outside(&self, args: &[&str]) -> Result<String> {
        stdout(&mut self.command(None, args))
    }

    /// A command on a node, which must succeed.
    pub fn on_node(&self, node: u32, args: &[&str]) -> Result<String> {
        stdout(&mut self.command(Some(node), args))
    }

    /// A command on a node or beside the cluster, not yet started.
    pub fn command(&self, node: Option<u32>, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(["outside", "--name", self.wanted.name]);
        if let Some(node) = node {
            command.args(["--node", &node.to_string()]);
        }
        command.arg("--").args(args);
        command
    }

    /// `orlop up` as it was called first, but with this proxy mode from now on.
    pub fn switch(&mut self, proxy_mode: &'static str) -> Result<()> {
        self.wanted.proxy_mode = proxy_mode;
        self.again()
    }

    /// `orlop up` as it was called first, but by another build from now on: every agent becomes one of its.
    pub fn upgrade(&mut self, binary: PathBuf) -> Result<()> {
        self.binary = binary;
        self.again()
    }

    /// `kill -9` to every process of a cgroup2 group at once (`/node1/node`, or empty for all), and waits until it is empty.
    pub fn kill(&self, group: &str) -> Result<()> {
        let directory = format!("/run/orlop/{0}/cgroup/orlop-{0}{group}", self.wanted.name);
        std::fs::write(format!("{directory}/cgroup.kill"), "1").with_context(|| format!("killing {directory}"))?;
        eventually("the group to be empty", Duration::from_secs(10), || {
            let events = std::fs::read_to_string(format!("{directory}/cgroup.events"))?;
            Ok(events.contains("populated 0").then_some(()))
        })
    }

    /// Where a network namespace of it is pinned: `outside`, `switch`, `node1`.
    pub fn netns(&self, part: &str) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}-{part}", self.wanted.name))
    }

    /// A node's InternalIP, as its Node object says.
    pub fn node_ip(&self, node: u32) -> Result<Ipv4Addr> {
        let path = r#"jsonpath={.status.addresses[?(@.type=="InternalIP")].address}"#;
        let text = self.kubectl(&["get", "node", &format!("node{node}"), "-o", path])?;
        text.parse().with_context(|| format!("node{node} has address {text:?}"))
    }

    /// A NodePort at a node.
    pub fn node_port(&self, node: u32, port: u16) -> Result<SocketAddr> {
        Ok((self.node_ip(node)?, port).into())
    }

    /// A Service's cluster IP.
    pub fn cluster_ip(&self, service: &str) -> Result<IpAddr> {
        let text = self.kubectl(&["get", "service", service, "-o", "jsonpath={.spec.clusterIP}"])?;
        text.parse().with_context(|| format!("Service {service} has cluster IP {text:?}"))
    }

    /// The pods with a label `app=...` now.
    pub fn pods(&self, app: &str) -> Result<Pods> {
        Pods::parse(&self.kubectl(&["get", "pods", "-l", &format!("app={app}"), "-o", "json"])?)
    }

    /// Waits until exactly `count` pods are Ready and none is terminating.
    pub fn ready_pods(&self, app: &str, count: usize) -> Result<Pods> {
        let what = format!("{count} Ready pods of {app}");
        let pods = eventually(&what, Duration::from_secs(60), || {
            let pods = self.pods(app)?;
            Ok(pods.all_ready(count).then_some(pods))
        });
        pods.with_context(|| self.kubectl(&["describe", "pods", "-l", &format!("app={app}")]).unwrap_or_default())
    }

    /// Waits until a Service's EndpointSlices hold exactly these pods, all ready, and the proxies had a moment to follow.
    pub fn endpoints(&self, service: &str, pods: &Pods) -> Result<()> {
        let wanted: BTreeSet<String> = pods.0.iter().map(|pod| pod.ip.clone()).collect();
        let selector = format!("kubernetes.io/service-name={service}");
        let path = "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[*]}";
        eventually(&format!("endpoints {wanted:?} of {service}"), Duration::from_secs(20), || {
            let text = self.kubectl(&["get", "endpointslices", "-l", &selector, "-o", path])?;
            let found: BTreeSet<String> = text.split_whitespace().map(str::to_owned).collect();
            Ok((found == wanted).then_some(()))
        })?;
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    /// A node's last log lines, for a failure's message.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for node in 1..=self.wanted.nodes {
            for log in ["server", "node"] {
                let path = format!("/run/orlop/{}/node{node}/{log}.log", self.wanted.name);
                let Ok(log) = std::fs::read_to_string(&path) else { continue };
                let lines: Vec<&str> = log.lines().collect();
                text += &format!("--- {path}\n{}\n", lines[lines.len().saturating_sub(30)..].join("\n"));
            }
        }
        text
    }
}

/// A port of the loopback that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        if let Err(error) = self.down() {
            eprintln!("ending cluster {}: {error:#}", self.wanted.name);
        }
    }
}
