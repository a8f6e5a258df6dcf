//! Orlop: Kubernetes on the lowest deck. Parses the command and calls a room; nothing else lives here.

mod client;
mod cni;
mod explain;
mod flags;
mod machines;
mod manifest;
mod node;
mod proxy;
mod server;
mod top;

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

/// An API server allocates all the time and frees on other threads than it allocated on, which glibc's malloc is slow at.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "orlop", version, about = "Kubernetes on the lowest deck")]
struct Orlop {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The control plane: store, API server, controllers and scheduler in one process.
    Server(server::Flags),
    /// A node: kubelet, pod network and service proxy in one process.
    Node(node::Flags),
    /// Only the service proxy, with kube-proxy's flags and configuration.
    Proxy(proxy::Flags),
    /// Only the kubelet.
    Kubelet(node::Flags),
    /// Only the pod network.
    Overlay(node::Flags),
    /// Ask the proxy here what happens to a packet: the decision rule by rule, beside what the kernel holds.
    Explain(explain::Flags),
    /// Watch the traffic of Services.
    Top(top::Flags),
    /// Print what to apply to run a room on another cluster.
    Manifest(manifest::Flags),
    /// Start a cluster of machines in network namespaces here.
    Up(machines::Up),
    /// End it and leave nothing.
    Down(machines::Down),
    /// Run a command beside the machines, or on one.
    Outside(machines::Outside),
    /// Forward ports of the person's loopback to a node (started by `up --publish`).
    #[command(hide = true)]
    Publish(machines::Publish),
}

fn main() -> ExitCode {
    let argv0 = std::env::args().next().unwrap_or_default();
    if let Some(name @ ("orlop-cni" | "loopback")) = Path::new(&argv0).file_name().and_then(|name| name.to_str()) {
        return cni::run(name);
    }
    tracing_subscriber::fmt()
        .with_env_filter(
            // What kube's client says of a lost connection, each of our watches says too, with its kind and name.
            tracing_subscriber::EnvFilter::try_from_env("ORLOP_LOG").unwrap_or_else(|_| "info,kube_client=off".into()),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let result = match Orlop::parse().command {
        Command::Server(flags) => serve(|stop| server::run(flags, stop)),
        Command::Node(flags) => serve(|stop| node::run(flags, node::Rooms::ALL, stop)),
        Command::Proxy(flags) => serve(|stop| proxy::run(flags, stop)),
        Command::Kubelet(flags) => serve(|stop| node::run(flags, node::Rooms::KUBELET, stop)),
        Command::Overlay(flags) => serve(|stop| node::run(flags, node::Rooms::OVERLAY, stop)),
        Command::Explain(flags) => runtime().and_then(|runtime| runtime.block_on(explain::run(flags))),
        Command::Top(flags) => runtime().and_then(|runtime| runtime.block_on(top::run(flags))),
        Command::Manifest(flags) => manifest::run(flags),
        Command::Up(flags) => runtime().and_then(|runtime| runtime.block_on(machines::up(flags))),
        Command::Down(flags) => machines::down(flags),
        Command::Outside(flags) => machines::outside(flags),
        Command::Publish(flags) => runtime().and_then(|runtime| runtime.block_on(machines::publish(flags))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orlop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")
}

/// Runs a long-lived command until SIGTERM or SIGINT.
fn serve<F: Future<Output = Result<()>>>(run: impl FnOnce(CancellationToken) -> F) -> Result<()> {
    // Both the API's clients and its server use ring; whoever comes first sets it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        let signals = stop.clone();
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            tracing::info!("stopping");
            signals.cancel();
        });
        run(stop).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    result
}
