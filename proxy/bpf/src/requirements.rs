//! What eBPF mode needs of the machine, checked before anything is loaded so that the answer names what is missing.

use std::fs;
use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};

use crate::Error;
use crate::backend::Options;

/// `bpf_set_retval`; the rest is older or has a fallback.
const KERNEL: (u32, u32) = (5, 18);

/// Bits of a capability set (include/uapi/linux/capability.h).
const NET_ADMIN: (u32, &str) = (12, "CAP_NET_ADMIN");
const SYS_ADMIN: (u32, &str) = (21, "CAP_SYS_ADMIN");
const PERFMON: (u32, &str) = (38, "CAP_PERFMON");
const BPF: (u32, &str) = (39, "CAP_BPF");

/// Fails with everything that is missing.
pub fn check(options: &Options) -> Result<(), Error> {
    let mut missing = Vec::new();
    if let Some(release) = read("/proc/sys/kernel/osrelease") {
        missing.extend(kernel(&release));
    }
    if let Some(status) = read("/proc/thread-self/status") {
        missing.extend(capabilities(&status));
    }
    missing.extend(mount(&options.bpf_root, BPF_FS_MAGIC, "bpffs", "bpf_root"));
    missing.extend(mount(&options.cgroup_root, CGROUP2_SUPER_MAGIC, "cgroup2", "cgroup_root"));
    if missing.is_empty() { Ok(()) } else { Err(Error::Missing(missing.join(", "))) }
}

/// What is given up where CAP_SYS_ADMIN is missing.
pub fn without_sys_admin() -> Option<String> {
    let status = read("/proc/thread-self/status")?;
    let held = effective(&status)?;
    (held >> SYS_ADMIN.0 & 1 == 0).then(|| {
        "without CAP_SYS_ADMIN, UDP sockets that pods have connected to an endpoint are not told when it is removed"
            .into()
    })
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn kernel(release: &str) -> Option<String> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (version < KERNEL).then(|| format!("Linux {}.{} or later (this is {})", KERNEL.0, KERNEL.1, release.trim()))
}

fn capabilities(status: &str) -> Vec<String> {
    let Some(held) = effective(status) else { return Vec::new() };
    let has = |(bit, _): (u32, &str)| held >> bit & 1 == 1;
    let bpf: &[_] = if has(SYS_ADMIN) { &[] } else { &[BPF, PERFMON] };
    bpf.iter().chain([&NET_ADMIN]).filter(|wanted| !has(**wanted)).map(|(_, name)| (*name).to_owned()).collect()
}

/// The file system of a directory, or of the nearest one above it that is there.
fn mount(path: &Path, magic: FsType, name: &str, option: &str) -> Option<String> {
    let found = path.ancestors().find_map(|path| statfs(path).ok())?;
    (found.filesystem_type() != magic).then(|| format!("a {name} at {option} {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_is_too_old_is_named() {
        assert_eq!(kernel("5.10.0-32-amd64\n").as_deref(), Some("Linux 5.18 or later (this is 5.10.0-32-amd64)"));
        assert_eq!(kernel("5.18.0"), None);
        assert_eq!(kernel("6.1.0-41-amd64"), None);
    }

    #[test]
    fn capabilities_that_are_missing_are_named() {
        assert_eq!(capabilities("Name:\tx\nCapEff:\t0000000000000000\n"), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
        assert_eq!(capabilities("CapEff:\t000001ffffffffff\n"), [""; 0]);
        assert_eq!(capabilities("CapEff:\t000000c000001000\n"), [""; 0]);
        assert_eq!(capabilities("CapEff:\t0000000000200000\n"), ["CAP_NET_ADMIN"]);
    }

    #[test]
    fn a_directory_on_another_file_system_is_named() {
        let missing = mount(Path::new("/proc/1/nothing/here"), BPF_FS_MAGIC, "bpffs", "bpf_root");
        assert_eq!(missing.as_deref(), Some("a bpffs at bpf_root /proc/1/nothing/here"));
    }
}
