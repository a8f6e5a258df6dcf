//! The control plane alone, on the loopback: for what needs no node.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::eventually;

/// An `orlop server` that ends with the value.
pub struct Server {
    child: Child,
    directory: PathBuf,
    kubectl: PathBuf,
}

impl Server {
    /// Starts one under this name, to be asked with one of the kubectls that setup fetched.
    pub fn start(name: &str, kubectl: &str) -> Result<Self> {
        let binary = std::env::var_os("ORLOP_BINARY").context("ORLOP_BINARY is not set: use `cargo xtask test`")?;
        let tools = std::env::var_os("ORLOP_TOOLS").context("ORLOP_TOOLS is not set: use `cargo xtask test`")?;
        let kubectl = PathBuf::from(tools).join("bin").join(kubectl);
        anyhow::ensure!(kubectl.exists(), "{} is not there: run `cargo xtask setup`", kubectl.display());
        let directory = std::env::temp_dir().join(format!("orlop-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = std::fs::File::create(directory.join("log"))?;
        let child = Command::new(binary)
            .args(["server", "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1"])
            .args(["--secure-port", &port.to_string(), "--data-dir"])
            .arg(directory.join("data"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut server = Self { child, directory, kubectl };
        eventually("the API server is ready", Duration::from_secs(60), || {
            if let Some(status) = server.child.try_wait()? {
                bail!("orlop server ended with {status}:\n{}", server.log());
            }
            Ok(server.kubectl("get --raw /readyz").ok().filter(|answer| answer == "ok"))
        })?;
        eventually("pods may be created", Duration::from_secs(30), || Ok(server.kubectl("get sa default").ok()))?;
        Ok(server)
    }

    /// What a file of this test is called.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// kubectl with words separated by spaces; its output, or as an error what it complained of.
    pub fn kubectl(&self, words: &str) -> Result<String> {
        self.run(&words.split_whitespace().collect::<Vec<_>>(), "")
    }

    /// kubectl with an input.
    pub fn run(&self, words: &[&str], input: &str) -> Result<String> {
        let mut child =
            self.command(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("kubectl has an input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        // `diff` ends with 1 where there are differences, and has printed them.
        let differs = words.first() == Some(&"diff") && output.status.code() == Some(1);
        if !output.status.success() && !differs {
            bail!("{text}{complaint}");
        }
        Ok(text)
    }

    /// kubectl, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        let cache = self.directory.join("cache");
        command.arg("--kubeconfig").arg(self.directory.join("data/admin.kubeconfig"));
        command.arg("--cache-dir").arg(cache).args(words).env("KUBECTL_KUBERC", "false").env("HOME", &self.directory);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
