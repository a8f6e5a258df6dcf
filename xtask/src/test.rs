//! `cargo xtask test`: sets up, builds, and runs every test; what CI runs.

use anyhow::Result;
use clap::Args;

use crate::{build, image, run, setup};

/// Which tests.
#[derive(Args)]
pub struct Test {
    /// Only unit, property and namespace tests: no cluster.
    #[arg(long)]
    no_conformance: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

impl Test {
    /// Runs them; a missing privilege or tool is a failure, never a skip.
    pub fn run(&self) -> Result<()> {
        setup::run()?;
        let binary = build::run(false)?;
        image::run()?;
        run::step("formatting and lints");
        run::run(run::cargo().args(["fmt", "--all", "--check"]))?;
        let environment = [
            ("PATH", run::path()?),
            ("ORLOP_TOOLS", run::tools().into()),
            ("ORLOP_IMAGES", run::images().into()),
            ("ORLOP_BINARY", binary.into()),
        ];
        run::step("unit, property and namespace tests");
        let mut tests = run::cargo();
        tests.args(["test", "--workspace", "--exclude", "orlop-conformance", "--no-fail-fast"]);
        tests.args(&self.filter).envs(environment.clone());
        run::run(&mut tests)?;
        if self.no_conformance {
            return Ok(());
        }
        run::step("conformance: a cluster seen from outside");
        let mut conformance = run::cargo();
        conformance.args(["test", "--package", "orlop-conformance", "--no-fail-fast"]).args(&self.filter);
        conformance.args(["--", "--test-threads=1", "--nocapture"]).envs(environment);
        run::run(&mut conformance)
    }
}
