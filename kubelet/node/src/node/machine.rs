//! The machine under the node: what the kernel says of it. Reads /proc and /sys; a fact that cannot be read is empty.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::config::{CgroupConfig, Config};

/// What does not change while the kubelet runs.
#[derive(Debug, Clone)]
pub struct Machine {
    pub cpus: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of the filesystem below the kubelet's folder.
    pub ephemeral_storage: i64,
    pub kernel_version: String,
    pub os_image: String,
    pub architecture: &'static str,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
}

/// What is scarce.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pid: bool,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

impl Machine {
    /// Looks at the machine, as far as the node's cgroup lets it have it.
    pub fn look(config: &Config) -> Self {
        let name = nix::sys::utsname::uname().ok();
        let release = name.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(1)),
            memory: meminfo("MemTotal:").min(memory_limit(&config.cgroups)),
            ephemeral_storage: disk(&config.root_dir).map_or(0, |(total, _)| i64::try_from(total).unwrap_or(i64::MAX)),
            kernel_version: release,
            os_image: os_image(),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
            machine_id: read("/etc/machine-id"),
            system_uuid: Some(read("/sys/class/dmi/id/product_uuid"))
                .filter(|uuid| !uuid.is_empty())
                .unwrap_or_else(|| read("/etc/machine-id")),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
        }
    }

    /// Thousandths of a processor and bytes of memory that pods may have, without what is kept for the system.
    pub fn allocatable(&self, config: &Config) -> (i64, i64) {
        let (cpu, memory) = config.system_reserved;
        let memory = memory + config.eviction_hard.memory_available;
        ((self.cpus * 1000 - cpu).max(0), (self.memory - memory).max(0))
    }

    /// What is scarce now.
    pub fn pressure(&self, config: &Config) -> Pressure {
        let least = config.eviction_hard;
        let full = statvfs(&config.root_dir).is_ok_and(|stat| {
            let below = |free: u64, total: u64, percent: u64| total > 0 && free * 100 < total * percent;
            below(stat.blocks_available(), stat.blocks(), least.nodefs_available)
                || below(stat.files_available(), stat.files(), least.nodefs_inodes_free)
        });
        Pressure { memory: meminfo("MemAvailable:") < least.memory_available, disk: full, pid: pids_are_scarce() }
    }
}

/// A line of /proc/meminfo, in bytes.
fn meminfo(key: &str) -> i64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<i64>().ok()).unwrap_or(0) * 1024
}

/// The limit of the cgroup below which pods run; none is a number larger than any memory.
fn memory_limit(config: &CgroupConfig) -> i64 {
    let parent = config.parent.trim_start_matches('/');
    let v1 = config.mount.join("memory").join(parent).join("memory.limit_in_bytes");
    let v2 = config.mount.join(parent).join("memory.max");
    [v1, v2].iter().find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok()).unwrap_or(i64::MAX)
}

fn disk(dir: &Path) -> Option<(u64, u64)> {
    let stat = statvfs(dir).ok()?;
    Some((stat.blocks() * stat.fragment_size(), stat.blocks_available() * stat.fragment_size()))
}

/// More than 95 % of the process numbers are taken. /proc/loadavg counts all threads of the machine.
fn pids_are_scarce() -> bool {
    let limit: u64 = read("/proc/sys/kernel/pid_max").parse().unwrap_or(u64::MAX);
    let load = read("/proc/loadavg");
    let threads = load.split_whitespace().nth(3).and_then(|pair| pair.split('/').nth(1)).and_then(|n| n.parse().ok());
    threads.is_some_and(|threads: u64| threads > limit / 100 * 95)
}

fn os_image() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.map(|value| value.trim_matches('"').to_owned()).unwrap_or_else(|| "Linux".to_owned())
}
