//! containerd, runc, nft, iptables, busybox and make from Debian's packages, unpacked into target/tools.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run;

/// Packages to unpack. The libraries are those of nft and iptables, which only benchmarks call; runc's and containerd's are on every
/// Debian (apt needs them).
const PACKAGES: &[&str] = &[
    "containerd",
    "runc",
    "nftables",
    "libnftables1",
    "libnftnl11",
    "libmnl0",
    "libjansson4",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libxtables12",
    "libgmp10",
    "iptables",
    "libip4tc2",
    "libip6tc2",
    "busybox-static",
    // The allocator's build, where a machine has a C compiler alone.
    "make",
];

/// Programs that run as they are.
const PROGRAMS: &[&str] =
    &["usr/bin/containerd", "usr/bin/ctr", "usr/bin/containerd-shim-runc-v2", "usr/sbin/runc", "usr/bin/make"];

/// Unpacks what is not there yet.
pub fn unpack() -> Result<()> {
    let tools = run::tools();
    let stamp = tools.join("debian.stamp");
    let wanted = PACKAGES.join(" ");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    run::step("unpacking containerd, runc, nft, iptables, busybox and make from Debian's packages into target/tools");
    let debs = tools.join("debs");
    let _ = fs::remove_dir_all(&debs);
    fs::create_dir_all(&debs)?;
    if download(&debs).is_err() {
        update()?;
        download(&debs)
            .context("Debian's packages cannot be had: is this Debian, and are its package sources reachable?")?;
    }
    let root = tools.join("root");
    let _ = fs::remove_dir_all(&root);
    for deb in fs::read_dir(&debs)? {
        run::quiet(Command::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(&root))?;
    }
    let bin = tools.join("bin");
    for program in PROGRAMS {
        let from = root.join(program);
        let to = bin.join(from.file_name().context("a program has a name")?);
        let _ = fs::remove_file(&to);
        fs::hard_link(&from, &to).with_context(|| format!("{} is not in the packages", from.display()))?;
    }
    wrapper(&bin, &root, "nft")?;
    wrapper(&bin, &root, "iptables-legacy-restore")?;
    run::quiet(Command::new(bin.join("nft")).arg("--version"))?;
    run::quiet(Command::new(bin.join("runc")).arg("--version"))?;
    run::quiet(Command::new(bin.join("containerd")).arg("--version"))?;
    fs::remove_dir_all(&debs)?;
    fs::write(stamp, wanted)?;
    Ok(())
}

fn download(into: &Path) -> Result<String> {
    run::quiet(Command::new("apt-get").args(["download", "-q"]).args(PACKAGES).current_dir(into))
}

/// Refreshes the package lists, once.
pub fn update() -> Result<()> {
    run::step("apt-get update");
    run::quiet(Command::new("apt-get").args(["update", "-q"])).map(drop)
}

/// A program of /usr/sbin that needs libraries beside it.
fn wrapper(bin: &Path, root: &Path, program: &str) -> Result<()> {
    let library =
        ["usr/lib", "lib"].iter().flat_map(|lib| fs::read_dir(root.join(lib)).into_iter().flatten().flatten());
    let folders: Vec<String> = library
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && path.to_string_lossy().ends_with("-linux-gnu"))
        .map(|path| path.display().to_string())
        .collect();
    if folders.is_empty() {
        bail!("the unpacked packages have no library folder under {}", root.display());
    }
    let plugins: Vec<String> = folders.iter().map(|folder| format!("{folder}/xtables")).collect();
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH={} XTABLES_LIBDIR={} exec {} \"$@\"\n",
        folders.join(":"),
        plugins.join(":"),
        root.join("usr/sbin").join(program).display()
    );
    let path = bin.join(program);
    let _ = fs::remove_file(&path);
    fs::write(&path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
