//! Builds the product: eBPF programs first, because the binary carries them. A release is linked statically, so that the same build is
//! what the benchmarks measure, what the image holds and what can be copied to another machine.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{build_ebpf, run};

/// Builds everything that runs, with one set of features for the whole workspace, and returns the `orlop` binary's path.
/// `release`: as it is shipped.
pub fn run(release: bool) -> Result<PathBuf> {
    run::step("building the eBPF programs");
    build_ebpf::run()?;
    run::step(if release { "building orlop (release)" } else { "building orlop" });
    let mut cargo = if release { shipped() } else { run::cargo_build() };
    run::run(cargo.args(["--workspace", "--bins"]))?;
    Ok(folder(release).join("orlop"))
}

/// `cargo build` as things are shipped: the release profile, static.
pub fn shipped() -> Command {
    let mut cargo = run::cargo_build();
    cargo.args(["--release", "--target", &triple()]);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

/// Where the binaries of a profile are.
pub fn folder(release: bool) -> PathBuf {
    if release { run::target().join(triple()).join("release") } else { run::target().join("debug") }
}

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}
