//! A process of `orlop-traffic` in one place of a cluster, from the outside.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use orlop_conformance::{Cluster, eventually};

use crate::{Exchange, Kind, Pod};

/// Where a process runs.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// On the host that is no node.
    Outside,
    /// On a node.
    Node(u32),
    /// In a pod's network namespace.
    Pod(&'a Pod),
}

/// What has nodes and an outside host: a cluster, or a [`crate::Bed`].
pub trait Ground {
    /// A command on a node or beside all of them, not yet started.
    fn command(&self, node: Option<u32>, words: &[&str]) -> Command;
}

impl Ground for Cluster {
    fn command(&self, node: Option<u32>, words: &[&str]) -> Command {
        Cluster::command(self, node, words)
    }
}

/// A process that ends with the value.
pub struct Traffic {
    child: Child,
    orders: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Traffic {
    /// Starts callers.
    pub fn call(ground: &impl Ground, program: &str, place: Place<'_>) -> Result<Self> {
        Self::start(ground, program, place, &["call"])
    }

    /// Starts servers on these ports of a pod, and waits until they serve. Their names are `NAME:PORT`.
    pub fn serve(ground: &impl Ground, program: &str, place: Place<'_>, name: &str, ports: &[u16]) -> Result<Self> {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let mut arguments = vec!["serve", name];
        arguments.extend(ports.iter().map(String::as_str));
        let servers = Self::start(ground, program, place, &arguments)?;
        eventually(&format!("the servers {name}"), Duration::from_secs(5), || {
            Ok(servers.lines.lock().unwrap_or_else(PoisonError::into_inner).first().map(drop))
        })?;
        Ok(servers)
    }

    fn start(ground: &impl Ground, program: &str, place: Place<'_>, arguments: &[&str]) -> Result<Self> {
        let (node, netns) = match place {
            Place::Outside => (None, None),
            Place::Node(node) => (Some(node), None),
            Place::Pod(pod) => (Some(pod.node), Some(pod.netns.to_string_lossy())),
        };
        let mut words = vec![program];
        words.extend(netns.as_deref().into_iter().flat_map(|path| ["--netns", path]));
        words.extend(arguments);
        let mut command = ground.command(node, &words);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting orlop-traffic")?;
        let orders = child.stdin.take();
        let output = child.stdout.take().context("it has an output")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Self { child, orders, lines, reader: Some(reader) })
    }

    fn order(&mut self, order: &str) -> Result<()> {
        let orders = self.orders.as_mut().context("it has an input")?;
        writeln!(orders, "{order}").with_context(|| format!("ordering {order:?}: orlop-traffic has ended"))
    }

    /// Begins a flow of so many exchanges a second.
    pub fn flow(&mut self, name: &str, kind: Kind, to: SocketAddr, rate: u32) -> Result<()> {
        self.order(&format!("start {name} {} {to} {rate}", kind.name()))
    }

    /// Makes `count` exchanges, one after the other, and waits for them.
    pub fn once(&mut self, kind: Kind, to: SocketAddr, count: usize) -> Result<Vec<Exchange>> {
        self.ask([("once", kind, to, count)])
    }

    /// Makes exchanges, all the named ones at the same time and of each name so many one after the other, and waits for them.
    pub fn ask<'a>(
        &mut self,
        asked: impl IntoIterator<Item = (&'a str, Kind, SocketAddr, usize)>,
    ) -> Result<Vec<Exchange>> {
        self.take()?;
        let (mut sum, mut longest) = (0, 0);
        for (name, kind, to, count) in asked {
            self.order(&format!("once {name} {} {to} {count}", kind.name()))?;
            (sum, longest) = (sum + count, longest.max(count));
        }
        // Each may wait for nothing.
        let patience = Duration::from_secs(5) + Duration::from_secs(3) * u32::try_from(longest)?;
        eventually(&format!("{sum} exchanges"), patience, || Ok((self.count() >= sum).then_some(())))?;
        self.take()
    }

    /// What was told and not yet taken.
    pub fn take(&mut self) -> Result<Vec<Exchange>> {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        lines.iter().map(|line| line.parse()).collect()
    }

    fn count(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Ends every flow, lets what is under way end, and says what was told; the process must have lived until now.
    pub fn end(mut self) -> Result<Vec<Exchange>> {
        let status = self.child.try_wait()?;
        ensure!(status.is_none(), "orlop-traffic ended by itself: {status:?}");
        self.order("stop")?;
        std::thread::sleep(Duration::from_millis(500));
        self.stop();
        self.take()
    }

    fn stop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop();
    }
}
