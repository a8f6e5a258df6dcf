//! Where things are, and running commands with errors that say what to do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The workspace's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Where `setup` puts containerd and friends.
pub fn tools() -> PathBuf {
    target().join("tools")
}

/// Where `image` puts archives.
pub fn images() -> PathBuf {
    target().join("images")
}

/// PATH with our tools in front.
pub fn path() -> Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let paths = [tools().join("bin")].into_iter().chain(std::env::split_paths(&old).collect::<Vec<_>>());
    std::env::join_paths(paths).context("PATH has an entry with a colon")
}

/// Cargo, in the workspace, with what its builds call.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    if let Ok(path) = path() {
        cargo.env("PATH", path);
    }
    cargo
}

/// `cargo build`, in the workspace.
pub fn cargo_build() -> Command {
    let mut cargo = cargo();
    cargo.arg("build");
    cargo
}

/// Runs a command, its output shown; fails if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {}", name(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", name(command));
    }
    Ok(())
}

/// Runs a command and returns its output; shows it only if it fails.
pub fn quiet(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {}", name(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}\n{}{}",
            name(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command runs and succeeds.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Says what a long step does.
pub fn step(text: &str) {
    eprintln!("\u{2022} {text}");
}

fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
