//! Everything a developer types: setup, build-ebpf, codegen, up, down, outside, image, test, bench.

fn main() {}
