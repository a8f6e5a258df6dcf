//! Everything a developer types: setup, build-ebpf, codegen, up, down, outside, image, test, fuzz, bench.

mod bench;
mod build;
mod build_ebpf;
mod cluster;
mod codegen;
mod fuzz;
mod image;
mod run;
mod setup;
mod test;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything a developer types")]
enum Xtask {
    /// Install what is missing: containerd, runc, nft and kubectl into target/tools, and the eBPF compiler.
    Setup,
    /// Build the kernel programs into target/bpf/orlop.o.
    BuildEbpf,
    /// Write the schema table of control/schema from published packages.
    Codegen(codegen::Codegen),
    /// Build the product's image as an OCI archive in target/dist; with --test what tests use: web and pause in target/images, and the
    /// product's of the unoptimised binary in target/tested.
    Image {
        /// The test images.
        #[arg(long)]
        test: bool,
    },
    /// Set up, build, and start a cluster; flags are those of `orlop up`.
    Up(cluster::Passed),
    /// Stop the cluster and leave nothing of it; flags are those of `orlop down`.
    Down(cluster::Passed),
    /// Run a command beside the cluster: `outside [--node N] -- command`.
    Outside(cluster::Passed),
    /// Set up, build, and run every test.
    Test(test::Test),
    /// Build the fuzz targets and run each for a while.
    Fuzz(fuzz::Fuzz),
    /// Set up, build the release profile, and measure: tables here, target/bench/NAME.json for machines.
    Bench(bench::Bench),
}

fn main() -> Result<()> {
    match Xtask::parse() {
        Xtask::Setup => setup::run(),
        Xtask::BuildEbpf => build_ebpf::run().map(drop),
        Xtask::Codegen(codegen) => codegen.run(),
        Xtask::Image { test: true } => image::run().and_then(|()| image::tested(&build::run(false)?).map(drop)),
        Xtask::Image { test: false } => image::product(),
        Xtask::Up(flags) => cluster::up(&flags),
        Xtask::Down(flags) => cluster::pass("down", &flags),
        Xtask::Outside(flags) => cluster::pass("outside", &flags),
        Xtask::Test(test) => test.run(),
        Xtask::Fuzz(fuzz) => fuzz.run(),
        Xtask::Bench(bench) => bench.run(),
    }
}
