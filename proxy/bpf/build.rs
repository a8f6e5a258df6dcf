//! Finds the object that `cargo xtask build-ebpf` left in the target directory. Where there is none, an empty one takes
//! its place: the crate builds, and the backend says what to run.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    // target[/triple]/profile/build/orlop-bpf-hash/out
    let mut target = out.ancestors().nth(4).ok_or("OUT_DIR is not where cargo puts it")?;
    if target.file_name() == env::var_os("TARGET").as_deref() {
        target = target.parent().unwrap_or(Path::new("/"));
    }
    let object = target.join("bpf/orlop.o");
    if !object.exists() {
        fs::create_dir_all(target.join("bpf"))?;
        fs::write(&object, [])?;
    }
    println!("cargo:rerun-if-changed={}", object.display());
    println!("cargo:rustc-env=ORLOP_BPF_OBJECT={}", object.display());
    Ok(())
}
