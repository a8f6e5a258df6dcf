//! What every Kubernetes component's metrics say of its process, by the names of Prometheus' clients.

use std::fmt::Write as _;
use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// Ticks in a second of `/proc/*/stat`; the same on every architecture of Linux that Kubernetes runs on.
const TICKS: f64 = 100.0;

/// When this process began.
pub(crate) fn started() -> SystemTime {
    static STARTED: OnceLock<SystemTime> = OnceLock::new();
    *STARTED.get_or_init(|| since_boot().unwrap_or_else(SystemTime::now))
}

fn since_boot() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let ticks = *Stat::read()?.0.get(19)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(boot) + Duration::from_secs_f64(ticks / TICKS))
}

/// The numbers of `/proc/self/stat` behind the command's name, from the state (which is none) on: proc_pid_stat(5) counts
/// three more.
struct Stat(Vec<f64>);

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let (_, rest) = text.rsplit_once(')')?;
        Some(Self(rest.split_whitespace().map(|word| word.parse().unwrap_or(0.0)).collect()))
    }
}

/// `process_start_time_seconds`, which is also all that kube-proxy's `/metrics/slis` has beside health checks.
pub(crate) fn write_start(text: &mut String) {
    let started = started().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    gauge(
        text,
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds",
        started.as_secs_f64(),
    );
}

/// All of it.
pub(crate) fn write(text: &mut String) {
    write_start(text);
    if let Some(Stat(stat)) = Stat::read() {
        let get = |field: usize| stat.get(field - 3).copied().unwrap_or(0.0);
        // utime and stime, vsize, rss.
        let name = "process_cpu_seconds";
        let _ = writeln!(text, "# HELP {name} Total user and system CPU time spent in seconds.\n# TYPE {name} counter");
        let _ = writeln!(text, "{name}_total {}", (get(14) + get(15)) / TICKS);
        gauge(text, "process_virtual_memory_bytes", "Virtual memory size in bytes", get(23));
        gauge(text, "process_resident_memory_bytes", "Resident memory size in bytes", get(24) * page_size());
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        gauge(text, "process_open_fds", "Number of open file descriptors", open.count() as f64);
    }
}

fn page_size() -> f64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.map_or(4096.0, |size| size as f64)
}

fn gauge(text: &mut String, name: &str, help: &str, value: f64) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_began_before_now_and_not_long_ago() {
        let ago = SystemTime::now().duration_since(started() - Duration::from_secs(2)).expect("before now");
        assert!(ago < Duration::from_secs(3600), "{ago:?}");
    }

    #[test]
    fn it_has_memory_and_files() {
        let mut text = String::new();
        write(&mut text);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect(name);
            line.parse::<f64>().expect("a number")
        };
        assert!(value("process_resident_memory_bytes") > 1e6 && value("process_open_fds") >= 3.0, "{text}");
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"), "{text}");
    }
}
