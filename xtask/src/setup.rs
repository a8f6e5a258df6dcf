//! Installs what is missing, and says what it does. Harms nobody's host: containerd and friends are Debian's packages,
//! unpacked into target/tools and never installed over what is there. Only the eBPF compiler is installed, where rustup's
//! nightly has no sources.

pub mod bpf;
mod debian;
mod kubectl;
pub mod vm;

use anyhow::{Result, bail};

use crate::run;

/// Sets up everything; quick when all is there.
pub fn run() -> Result<()> {
    if !run::succeeds(std::process::Command::new("id").arg("-u")) {
        bail!("this is no Linux machine that we know: `id` does not run");
    }
    std::fs::create_dir_all(run::tools().join("bin"))?;
    debian::unpack()?;
    kubectl::fetch()?;
    bpf::compiler()
}
