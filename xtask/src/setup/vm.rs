//! What boots Debian's own kernel under qemu: the kernel package, and a first program that mounts this machine's disk.
//!
//! target/tools/vm then holds `vmlinuz`, `initrd` and `modules/`. In the virtual machine the disk is this machine's, seen
//! over 9p, with writes kept in memory: what was built here runs there as it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run;

/// The package that depends on the newest kernel of this Debian.
const KERNEL: &str = "linux-image-amd64";
/// modprobe with its library, and a shell for the first program.
const TOOLS: &[&str] = &["kmod", "libkmod2", "busybox-static"];
/// What the first program needs before it sees the disk.
const EARLY: &[&str] = &["9p", "9pnet_virtio", "virtio_pci", "overlay"];
/// The first program: disk, file systems, then the script that the kernel's command line names.
const INIT: &str = include_str!("vm/init.sh");

/// Fetches what is not there yet.
pub fn fetch() -> Result<()> {
    if !run::succeeds(Command::new("qemu-system-x86_64").arg("--version")) {
        run::step("installing qemu");
        let install = ["install", "-y", "-q", "--no-install-recommends", "qemu-system-x86"];
        with_fresh_lists(|| {
            run::quiet(Command::new("apt-get").args(install).env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
        })
        .context("qemu cannot be had: tests of Debian's own kernel need it")?;
    }
    let folder = run::tools().join("vm");
    let stamp = folder.join("stamp");
    let wanted = format!("{KERNEL} {} {INIT}", TOOLS.join(" "));
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    run::step("unpacking Debian's kernel into target/tools/vm");
    let _ = fs::remove_dir_all(&folder);
    let (debs, root) = (folder.join("debs"), folder.join("root"));
    fs::create_dir_all(&debs)?;
    let kernel = with_fresh_lists(|| download(&debs)).context("Debian's kernel cannot be had")?;
    for deb in fs::read_dir(&debs)? {
        run::quiet(Command::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(&root))?;
    }
    let version = kernel.trim_start_matches("linux-image-").to_owned();
    fs::rename(root.join(format!("boot/vmlinuz-{version}")), folder.join("vmlinuz"))?;
    run::quiet(kmod(&root, "depmod")?.arg("-b").arg(&root).arg(&version))?;
    fs::write(folder.join("initrd"), initrd(&root, &version)?)?;
    fs::remove_dir_all(&debs)?;
    fs::write(stamp, wanted)?;
    Ok(())
}

/// Tries again with fresh package lists.
fn with_fresh_lists<T>(work: impl Fn() -> Result<T>) -> Result<T> {
    work().or_else(|_| {
        super::debian::update()?;
        work()
    })
}

/// Fetches the packages, and says which kernel's it is.
fn download(into: &Path) -> Result<String> {
    let depends = run::quiet(Command::new("apt-cache").args(["depends", KERNEL]))?;
    let kernel = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).context("no kernel package")?;
    run::quiet(Command::new("apt-get").args(["download", "-q", kernel]).args(TOOLS).current_dir(into))?;
    Ok(kernel.to_owned())
}

/// The unpacked kmod under one of its names.
fn kmod(root: &Path, name: &str) -> Result<Command> {
    let libraries: Vec<PathBuf> =
        ["lib", "usr/lib"].iter().map(|lib| root.join(lib).join("x86_64-linux-gnu")).collect();
    let mut command = Command::new(root.join("bin/kmod"));
    command.arg0(name).env("LD_LIBRARY_PATH", std::env::join_paths(libraries)?);
    Ok(command)
}

/// An archive with the first program, busybox and the early modules, in the order in which they load.
fn initrd(root: &Path, version: &str) -> Result<Vec<u8>> {
    let modules = root.join("lib/modules").join(version);
    let table = fs::read_to_string(modules.join("modules.dep")).context("depmod wrote no table")?;
    let table: BTreeMap<&str, Vec<&str>> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| (module, needs.split_whitespace().collect()))
        .collect();
    let mut order = Vec::new();
    for name in EARLY {
        // One that is not in the table is built in.
        if let Some((module, needs)) = table.iter().find(|(module, _)| module.ends_with(&format!("/{name}.ko"))) {
            // The table lists what a module needs with the deepest last.
            for path in needs.iter().rev().chain([module]).filter(|path| !order.contains(*path)).collect::<Vec<_>>() {
                order.push(*path);
            }
        }
    }
    let mut archive = Archive::default();
    for folder in ["bin", "modules", "proc", "sys", "dev", "host", "memory", "root"] {
        archive.add(folder, 0o040_755, &[]);
    }
    archive.add("init", 0o100_755, INIT.as_bytes());
    archive.add("bin/busybox", 0o100_755, &fs::read(root.join("bin/busybox"))?);
    let mut names = String::new();
    for path in order {
        let name = path.rsplit('/').next().unwrap_or(path);
        writeln!(names, "{name}")?;
        archive.add(&format!("modules/{name}"), 0o100_644, &fs::read(modules.join(path))?);
    }
    archive.add("modules/order", 0o100_644, names.as_bytes());
    Ok(archive.end())
}

/// A cpio archive as the kernel takes it (Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (inode, length, name_length) = (self.entries, content.len(), name.len() + 1);
        let header = format!(
            "070701{inode:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{length:08x}{:08x}{:08x}{:08x}{:08x}{name_length:08x}{:08x}",
            0, 0, 1, 0, 0, 0, 0, 0, 0
        );
        self.bytes.extend(header.bytes().chain(name.bytes()).chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}
