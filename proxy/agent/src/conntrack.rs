//! What this machine's kernel is told once at the start: conntrack's limits and this process's oom_score_adj. A kernel or
//! a namespace that refuses is reported in one line and survived.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::ConntrackLimits;

const HASHSIZE: &str = "/sys/module/nf_conntrack/parameters/hashsize";
const MAX: &str = "nf_conntrack_max";
/// More entries than that are not asked for, however many cores there are.
const MOST: u32 = 1_048_576;

/// Sets what this machine's kernel is to be told once, and says what it refuses; nothing of it is needed to go on.
pub fn set_limits(conntrack: Option<&ConntrackLimits>, oom_score_adj: Option<i32>) {
    let score = oom_score_adj.and_then(set_oom_score_adj);
    for refusal in conntrack.map(set).unwrap_or_default().into_iter().chain(score) {
        tracing::warn!("{refusal}");
    }
}

/// Sets what the limits ask for; gives one line for each refusal.
fn set(limits: &ConntrackLimits) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
    set_under(Path::new("/proc/sys/net/netfilter"), Path::new(HASHSIZE), limits, cores)
}

/// Sets this process's score, which says how early it is killed when memory is short.
fn set_oom_score_adj(score: i32) -> Option<String> {
    put(Path::new("/proc/self/oom_score_adj"), score).err()
}

fn set_under(sysctls: &Path, hashsize: &Path, limits: &ConntrackLimits, cores: u32) -> Vec<String> {
    let seconds = |timeout: Option<Duration>| timeout.map(|timeout| timeout.as_secs());
    let max = max_entries(limits, cores);
    let wanted = [
        (MAX, max.map(u64::from)),
        ("nf_conntrack_tcp_timeout_established", seconds(limits.tcp_established_timeout)),
        ("nf_conntrack_tcp_timeout_close_wait", seconds(limits.tcp_close_wait_timeout)),
        ("nf_conntrack_tcp_be_liberal", limits.tcp_be_liberal.then_some(1)),
        ("nf_conntrack_udp_timeout", seconds(limits.udp_timeout)),
        ("nf_conntrack_udp_timeout_stream", seconds(limits.udp_stream_timeout)),
    ];
    let mut refusals = Vec::new();
    for (name, value) in wanted {
        if let Some(value) = value {
            refusals.extend(put(&sysctls.join(name), value).err());
        }
    }
    // The table has chains of four. Its size is the whole machine's: only who may set the limit may set it.
    if let Some(buckets) = max.map(|max| max / 4)
        && !refusals.iter().any(|refusal| refusal.contains(MAX))
        && read(hashsize).is_some_and(|present| present < i64::from(buckets))
    {
        refusals.extend(put(hashsize, buckets).err());
    }
    refusals
}

/// As kube-proxy computes it; none leaves the limit as it is.
fn max_entries(limits: &ConntrackLimits, cores: u32) -> Option<u32> {
    if limits.max_per_core == 0 {
        return None;
    }
    let scaled = limits.max_per_core.saturating_mul(cores);
    Some(if scaled > MOST { MOST } else { scaled.max(limits.min) }).filter(|max| *max > 0)
}

fn read(path: &Path) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Writes a number where another is.
fn put(path: &Path, value: impl TryInto<i64>) -> Result<(), String> {
    let value: i64 = value.try_into().unwrap_or(i64::MAX);
    if read(path) == Some(value) {
        return Ok(());
    }
    fs::write(path, value.to_string()).map_err(|error| format!("cannot set {} to {value}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_per_core: u32, min: u32) -> ConntrackLimits {
        ConntrackLimits { max_per_core, min, ..ConntrackLimits::default() }
    }

    #[test]
    fn the_table_grows_with_the_cores_between_a_floor_and_a_ceiling() {
        for (per_core, min, cores, max) in [
            (0, 1_000_000, 4, None),
            (32_768, 131_072, 2, Some(131_072)),
            (32_768, 131_072, 8, Some(262_144)),
            (32_768, 131_072, 128, Some(MOST)),
            (1, 0, 1, Some(1)),
        ] {
            assert_eq!(max_entries(&limits(per_core, min), cores), max, "{per_core} {min} {cores}");
        }
    }

    #[test]
    fn what_can_be_set_is_and_each_refusal_is_one_line() {
        let root = std::env::temp_dir().join(format!("orlop-conntrack-{}", std::process::id()));
        fs::create_dir_all(root.join("nf_conntrack_udp_timeout")).expect("a directory in a file's place");
        let hashsize = root.join("hashsize");
        fs::write(&hashsize, "1024").expect("a file");
        let wanted = ConntrackLimits {
            udp_timeout: Some(Duration::from_secs(30)),
            tcp_be_liberal: true,
            ..limits(32_768, 131_072)
        };
        let refusals = set_under(&root, &hashsize, &wanted, 2);
        let (max, liberal) = (read(&root.join("nf_conntrack_max")), read(&root.join("nf_conntrack_tcp_be_liberal")));
        let (buckets, untouched) = (read(&hashsize), root.join("nf_conntrack_tcp_timeout_established").exists());
        fs::remove_dir_all(&root).expect("it goes");
        assert_eq!((max, liberal, buckets, untouched), (Some(131_072), Some(1), Some(32_768), false));
        assert_eq!(refusals.len(), 1);
        assert!(refusals[0].contains("nf_conntrack_udp_timeout to 30: "), "{refusals:?}");
    }
}
