//! `cargo xtask test`: sets up, builds, and runs every test; what CI runs.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{build, image, run, setup};

/// Which tests.
#[derive(Args)]
pub struct Test {
    /// Only tests whose name contains this.
    filter: Option<String>,
}

impl Test {
    /// Runs them; a missing privilege or tool is a failure, never a skip.
    pub fn run(&self) -> Result<()> {
        setup::run()?;
        setup::vm::fetch()?;
        let binary = build::run(false)?;
        image::run()?;
        let tested = image::tested(&binary)?;
        run::step("formatting");
        run::run(run::cargo().args(["fmt", "--all", "--check"]))?;
        let environment = [
            ("PATH", run::path()?),
            ("ORLOP_TOOLS", run::tools().into()),
            ("ORLOP_IMAGES", run::images().into()),
            ("ORLOP_BINARY", binary.into()),
            ("ORLOP_IMAGE", tested.into()),
        ];
        run::step("unit, property and namespace tests");
        let mut tests = run::cargo();
        tests.args(["test", "--workspace", "--no-fail-fast"]);
        tests.args(&self.filter).envs(environment).stdout(Stdio::piped());
        let mut running = tests.spawn().context("starting cargo test")?;
        let output = running.stdout.take().context("cargo test has an output")?;
        let (mut passed, mut failed) = (0, 0);
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            passed += count(&line, " passed");
            failed += count(&line, " failed");
        }
        let status = running.wait()?;
        println!("{passed} passed, {failed} failed");
        if !status.success() {
            bail!("cargo test ended with {status}");
        }
        Ok(())
    }
}

/// The number before `word` in a summary line of the test harness; 0 in any other line.
fn count(line: &str, word: &str) -> u64 {
    let Some(summary) = line.strip_prefix("test result: ") else { return 0 };
    let before = summary.split(word).next().filter(|before| before.len() < summary.len());
    before.and_then(|before| before.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn the_harness_summary_is_counted_and_nothing_else() {
        let line = "test result: ok. 12 passed; 3 failed; 0 ignored; 0 measured";
        assert_eq!((count(line, " passed"), count(line, " failed")), (12, 3));
        assert_eq!(count("test 7 passed", " passed"), 0);
    }
}
