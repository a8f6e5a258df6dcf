//! `cargo xtask build-ebpf`: compiles the kernel programs into `target/bpf/orlop.o`, where the proxy's build embeds them.
//!
//! They need a compiler that may use unstable features, its own sources (to build `core` for the bpf target) and
//! bpf-linker. Either rustup's nightly with `rust-src`, or Debian's compiler linked as `debian-web`; the first that is
//! complete is taken.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A compiler that can build the programs.
struct Toolchain {
    name: &'static str,
    /// A stable release that must be told to accept unstable features.
    bootstrap: bool,
}

const TOOLCHAINS: [Toolchain; 2] =
    [Toolchain { name: "nightly", bootstrap: false }, Toolchain { name: "debian-web", bootstrap: true }];

/// Builds the programs and returns the object's path.
pub fn run() -> Result<PathBuf> {
    let toolchain = toolchain()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let build = target.join("bpf/build");

    let flags = [format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH), "-Cdebuginfo=2".into(), "-Clink-arg=--btf".into()];
    let triple = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let mut cargo = Command::new("rustup");
    cargo.args(["run", toolchain.name, "cargo", "build", "--quiet", "--release", "--package", "orlop-ebpf"]);
    cargo.args(["--bin", "orlop-programs", "--features", "programs", "--target", triple, "-Zbuild-std=core"]);
    cargo.current_dir(root).env("CARGO_TARGET_DIR", &build).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    for inherited in ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(inherited);
    }
    if toolchain.bootstrap {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    let status = cargo.status().context("run rustup")?;
    if !status.success() {
        bail!("building the eBPF programs with toolchain {} failed: {status}", toolchain.name);
    }

    let built = build.join(triple).join("release/orlop-programs");
    let object = target.join("bpf/orlop.o");
    let bytes = std::fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    // Unchanged programs must not make cargo build the proxy again.
    if std::fs::read(&object).ok().as_ref() != Some(&bytes) {
        std::fs::write(&object, bytes).with_context(|| format!("write {}", object.display()))?;
    }
    Ok(object)
}

/// The first complete toolchain, or one line that says what is missing.
fn toolchain() -> Result<Toolchain> {
    if !succeeds(Command::new("bpf-linker").arg("--version")) {
        bail!("bpf-linker is missing: run `cargo xtask setup`, or `cargo install bpf-linker@0.13.0 --locked`");
    }
    for toolchain in TOOLCHAINS {
        let output = Command::new("rustup").args(["run", toolchain.name, "rustc", "--print", "sysroot"]).stderr(Stdio::null()).output();
        let Ok(output) = output else { bail!("rustup is missing: see https://rustup.rs") };
        let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if output.status.success() && sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
            return Ok(toolchain);
        }
    }
    bail!(
        "no Rust toolchain with its sources: run `cargo xtask setup`, or `rustup toolchain install nightly --component rust-src`"
    )
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
