//! Benchmarks: `orlop-bench [NAME]` (called by `cargo xtask bench`) prints a table and writes NAME.json.
//!
//! A figure is judged against its budget and stands beside a baseline: measured in the same run where the peer is to be had, otherwise
//! recorded elsewhere and said to be so.

mod agent;
mod api;
mod backends;
mod cluster;
mod ground;
mod kube_proxy;
mod packets;
mod programs;
mod proxy;
mod report;
mod services;
mod start;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;

use report::Report;

#[derive(Parser)]
#[command(about = "Measures Orlop beside its peers")]
struct Arguments {
    /// Only this benchmark.
    name: Option<String>,
    /// Where NAME.json goes.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

type Benchmark = fn(&mut Report) -> Result<()>;

const BENCHMARKS: [(&str, Benchmark); 8] = [
    ("start", start::run),
    ("api", api::run),
    ("cluster", cluster::run),
    ("proxy", proxy::run),
    ("packets", packets::run),
    ("throughput", packets::throughput),
    ("programs", programs::run),
    ("agent", agent::run),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chosen = |name: &str| arguments.name.as_deref().is_none_or(|wanted| wanted == name);
    let mut known = false;
    for (name, benchmark) in BENCHMARKS.into_iter().filter(|(name, _)| chosen(name)) {
        known = true;
        let mut report = Report::new(name);
        benchmark(&mut report)?;
        report.write(&arguments.out)?;
    }
    if !known {
        bail!("no such benchmark; there are {}", BENCHMARKS.map(|(name, _)| name).join(", "));
    }
    Ok(())
}
