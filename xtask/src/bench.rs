//! `cargo xtask bench [NAME]`: sets up, builds the release profile, and measures.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::{build, image, run, setup};

/// Which benchmark.
#[derive(Args)]
pub struct Bench {
    /// Only this one (start, api, cluster, proxy, packets, throughput, programs, agent).
    name: Option<String>,
}

impl Bench {
    /// Prints tables and writes target/bench/NAME.json.
    pub fn run(&self) -> Result<()> {
        setup::run()?;
        let binary = build::run(true)?;
        image::run()?;
        let mut bench = Command::new(binary.with_file_name("orlop-bench"));
        bench.args(&self.name).arg("--out").arg(run::target().join("bench"));
        bench.env("PATH", run::path()?).env("ORLOP_TOOLS", run::tools());
        bench.env("ORLOP_IMAGES", run::images()).env("ORLOP_BINARY", binary);
        run::run(&mut bench)
    }
}
