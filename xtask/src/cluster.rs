//! `up`, `down` and `outside`: sets up and builds, then the product's own commands do the work.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{build, image, run, setup};

/// Flags and words for the product's own command.
#[derive(Args)]
pub struct Passed {
    /// Build and run the release profile (slower to build, several times faster to run).
    #[arg(long)]
    release: bool,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Sets up, builds, makes images, then `orlop up`.
pub fn up(passed: &Passed) -> Result<()> {
    setup::run()?;
    let binary = build::run(passed.release)?;
    image::run()?;
    let mut up = Command::new(binary);
    up.arg("up").arg("--tools-dir").arg(run::tools()).arg("--images-dir").arg(run::images());
    up.args(["--called-as", "cargo xtask"]);
    if !run::succeeds(Command::new("kubectl").args(["version", "--client"])) {
        run::step(&format!("kubectl is not installed here: export PATH=$PATH:{}/bin has one", run::tools().display()));
    }
    become_it(up.args(&passed.rest).env("PATH", run::path()?))
}

/// `orlop down` and `orlop outside`, with whatever binary is there; the newest of both profiles.
pub fn pass(command: &str, passed: &Passed) -> Result<()> {
    let built = [false, true].map(|release| build::folder(release).join("orlop"));
    let newest = built
        .into_iter()
        .filter(|path| path.exists())
        .max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok());
    let binary = match newest {
        Some(binary) => binary,
        None => build::run(passed.release)?,
    };
    become_it(Command::new(binary).arg(command).args(&passed.rest).env("PATH", run::path()?))
}

/// Replaces this process, so that signals and exit codes are the command's own.
fn become_it(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    Err(command.exec()).with_context(|| format!("running {}", program.display()))
}
