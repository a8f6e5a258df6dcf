//! Everything a developer types: setup, build-ebpf, codegen, up, down, outside, image, test, bench.

mod codegen;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything a developer types")]
enum Xtask {
    /// Write the schema table of control/schema from published packages.
    Codegen(codegen::Codegen),
}

fn main() -> Result<()> {
    match Xtask::parse() {
        Xtask::Codegen(codegen) => codegen.run(),
    }
}
