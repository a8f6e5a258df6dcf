//! The compiler for the eBPF programs: rustup's nightly with rust-src where it is there, else Debian's own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run;

const DEBIAN: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"];
const LINKER: &str = "bpf-linker@0.13.0";

/// Installs what is missing.
pub fn compiler() -> Result<()> {
    let nightly = has_sources("nightly");
    if !nightly && !has_sources("debian-web") {
        run::step("installing Debian's Rust compiler for the eBPF programs (230 MB)");
        let mut install = Command::new("apt-get");
        install
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(DEBIAN)
            .env("DEBIAN_FRONTEND", "noninteractive");
        if run::quiet(&mut install).is_err() {
            super::debian::update()?;
            run::quiet(&mut install).context(
                "no compiler for the eBPF programs: `rustup toolchain install nightly --component rust-src` works too",
            )?;
        }
        run::quiet(Command::new("rustup").args(["toolchain", "link", "debian-web", "/usr"]))?;
    }
    if run::succeeds(Command::new("bpf-linker").arg("--version")) {
        return Ok(());
    }
    run::step("building bpf-linker (a minute or two)");
    let mut install = run::cargo();
    install.args(["install", LINKER, "--locked", "--quiet"]);
    if !nightly {
        // Debian's compiler emits LLVM 22.
        install.args(["--no-default-features", "--features", "llvm-22"]).env("LLVM_PREFIX", "/usr/lib/llvm-22");
    }
    install.env("CARGO_PROFILE_RELEASE_DEBUG", "false").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    install.env("CARGO_PROFILE_RELEASE_LTO", "off").env_remove("CARGO_TARGET_DIR");
    run::run(&mut install)
}

/// Whether a toolchain has the sources of `core`.
pub fn has_sources(toolchain: &str) -> bool {
    let sysroot = run::quiet(Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]));
    sysroot.is_ok_and(|path| PathBuf::from(path.trim()).join("lib/rustlib/src/rust/library/core").is_dir())
}
