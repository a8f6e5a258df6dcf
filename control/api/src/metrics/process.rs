//! The process itself, from `/proc/self`, under the names that every Prometheus client gives such figures.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Kernel ticks in a second (`USER_HZ`, the same on every architecture that Linux runs on today).
const TICKS: f64 = 100.0;

/// What is told of the process.
#[derive(Default)]
pub(super) struct Process {
    cpu: Counter<f64, AtomicU64>,
    started: Gauge<f64, AtomicU64>,
    resident: Gauge,
    virtual_memory: Gauge,
    open_files: Gauge,
    looking: Mutex<()>,
}

impl Process {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Total user and system CPU time spent in seconds";
        registry.register("process_cpu_seconds", help, self.cpu.clone());
        let help = "Start time of the process since unix epoch in seconds";
        registry.register("process_start_time_seconds", help, self.started.clone());
        registry.register("process_resident_memory_bytes", "Resident memory size in bytes", self.resident.clone());
        registry.register("process_virtual_memory_bytes", "Virtual memory size in bytes", self.virtual_memory.clone());
        registry.register("process_open_fds", "Number of open file descriptors", self.open_files.clone());
    }

    /// Looks again.
    pub(super) fn look(&self) {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let status = read("status");
        self.virtual_memory.set(bytes(&status, "VmSize:").unwrap_or(0));
        self.resident.set(bytes(&status, "VmRSS:").unwrap_or(0));
        if let Some((ticks, since_boot)) = times(&read("stat")) {
            let _one_at_a_time = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
            self.cpu.inc_by((ticks / TICKS - self.cpu.get()).max(0.0));
            let booted = std::fs::read_to_string("/proc/stat").unwrap_or_default();
            let booted = booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
            self.started.set(booted.unwrap_or(0.0) + since_boot / TICKS);
        }
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count());
        self.open_files.set(i64::try_from(files).unwrap_or(i64::MAX));
    }
}

/// From `/proc/self/status`: what a line tells in kB.
fn bytes(status: &str, line: &str) -> Option<i64> {
    let told = status.lines().find_map(|l| l.strip_prefix(line))?;
    Some(told.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.saturating_mul(1024))
}

/// From `/proc/self/stat`: ticks spent in user and kernel mode, and those between the machine's start and the process'.
fn times(stat: &str) -> Option<(f64, f64)> {
    // The name of the program, in brackets, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
    let field = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((field(11)? + field(12)?, field(19)?))
}

#[cfg(test)]
mod tests {
    use super::{bytes, times};

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "Name:\ta\nVmSize:\t   2000 kB\nVmRSS:\t     100 kB\n";
        assert_eq!((bytes(status, "VmRSS:"), bytes(status, "VmSize:")), (Some(102_400), Some(2_048_000)));
        assert_eq!(bytes("", "VmRSS:"), None);
    }

    #[test]
    fn a_program_s_name_may_hold_brackets() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 30 12 0 0 20 0 1 0 5000 1000 50";
        assert_eq!(times(stat), Some((42.0, 5000.0)));
        assert_eq!(times(""), None);
    }
}
