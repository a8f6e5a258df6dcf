//! `cargo xtask build-ebpf`: compiles the kernel programs into target/bpf/orlop.o, where the proxy's build embeds them.
//!
//! They need a compiler that may use unstable features, its own sources (to build `core` for the bpf target) and
//! bpf-linker. Either rustup's nightly with `rust-src`, or Debian's compiler linked as `debian-web`; the first that is
//! complete is taken.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run;
use crate::setup::bpf::has_sources;

/// A compiler that can build the programs.
struct Toolchain {
    name: &'static str,
    /// A stable release that must be told to accept unstable features.
    bootstrap: bool,
}

const TOOLCHAINS: [Toolchain; 2] =
    [Toolchain { name: "nightly", bootstrap: false }, Toolchain { name: "debian-web", bootstrap: true }];

/// What cargo hands to its children and the other toolchain must not inherit.
const INHERITED: [&str; 7] =
    ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTUP_TOOLCHAIN"];

/// Builds the programs and returns the object's path.
pub fn run() -> Result<PathBuf> {
    run::step("building the eBPF programs");
    let toolchain = toolchain()?;
    let build = run::target().join("bpf/build");
    let triple = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let arch = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
    let flags = [arch.as_str(), "-Cdebuginfo=2", "-Clink-arg=--btf"].join("\x1f");

    let mut cargo = Command::new("rustup");
    cargo.args(["run", toolchain.name, "cargo", "build", "--quiet", "--release", "--package", "orlop-ebpf"]);
    cargo.args(["--bin", "orlop-programs", "--features", "programs", "--target", triple, "-Zbuild-std=core"]);
    for variable in INHERITED {
        cargo.env_remove(variable);
    }
    cargo.current_dir(run::root()).env("CARGO_TARGET_DIR", &build).env("CARGO_ENCODED_RUSTFLAGS", flags);
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    if toolchain.bootstrap {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    run::run(&mut cargo).with_context(|| format!("the eBPF programs, with toolchain {}", toolchain.name))?;

    let built = build.join(triple).join("release/orlop-programs");
    let object = run::target().join("bpf/orlop.o");
    let bytes = std::fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    // Unchanged programs must not make cargo build the proxy again.
    if std::fs::read(&object).ok().as_ref() != Some(&bytes) {
        std::fs::write(&object, bytes).with_context(|| format!("writing {}", object.display()))?;
    }
    Ok(object)
}

/// The first complete toolchain, or one line that says what is missing.
fn toolchain() -> Result<Toolchain> {
    if !run::succeeds(Command::new("bpf-linker").arg("--version")) {
        bail!("bpf-linker is missing: run `cargo xtask setup`");
    }
    TOOLCHAINS.into_iter().find(|toolchain| has_sources(toolchain.name)).context(
        "no Rust compiler with its sources: run `cargo xtask setup`, \
         or `rustup toolchain install nightly --component rust-src`",
    )
}
