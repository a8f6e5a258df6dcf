//! Builds the product: eBPF programs first, because the binary carries them.

use std::path::PathBuf;

use anyhow::Result;

use crate::{build_ebpf, run};

/// Builds everything that runs, with one set of features for the whole workspace, and returns the `orlop` binary's path.
/// `release`: as it is shipped.
pub fn run(release: bool) -> Result<PathBuf> {
    build_ebpf::run()?;
    run::step("building the eBPF programs");
    build_ebpf::run()?;
    run::step(if release { "building orlop (release)" } else { "building orlop" });
    let mut cargo = run::cargo();
    cargo.args(["build", "--workspace", "--bins"]);
    if release {
        cargo.arg("--release");
    }
    run::run(&mut cargo)?;
    Ok(run::target().join(if release { "release" } else { "debug" }).join("orlop"))
}
