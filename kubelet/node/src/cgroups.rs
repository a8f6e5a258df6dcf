//! A pod's own cgroup above those of its containers: shares, quota and memory for all of them together. On cgroup v1 one group in
//! each controller, on v2 one in all. A kernel that refuses a limit is reported and survived: containers have their own.

use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::config::CgroupConfig;
use crate::spec::{PodLimits, cgroup_parent, pod_limits};

/// The v1 controllers that a pod's group is made in.
const V1: [&str; 3] = ["cpu", "memory", "pids"];

/// Makes the pod's group with the limits of all its containers.
pub fn create(config: &CgroupConfig, pod: &Pod) {
    limit(config, pod, &pod_limits(pod));
}

/// Makes the pod's group, if it is not there, and sets its limits. What shall not be limited (any more) is left as it is.
pub fn limit(config: &CgroupConfig, pod: &Pod, limits: &PodLimits) {
    // systemd makes its slices itself, when the runtime asks for the first container.
    if config.systemd {
        return;
    }
    let group = cgroup_parent(config, pod);
    let result = if is_v2(&config.mount) {
        create_v2(&config.mount, &group, limits)
    } else {
        create_v1(&config.mount, &group, limits)
    };
    if let Err(error) = result {
        tracing::warn!(%error, group, "the pod's cgroup is not limited");
    }
}

/// Removes the pod's group; what a dying process still holds is left for the next try.
pub fn remove(config: &CgroupConfig, pod: &Pod) {
    if config.systemd {
        return;
    }
    let group = cgroup_parent(config, pod);
    let places =
        if is_v2(&config.mount) { vec![place(&config.mount, &group)] } else { controllers(&config.mount, &group) };
    for place in places {
        remove_tree(&place);
    }
}

fn remove_tree(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(dir);
}

fn is_v2(mount: &Path) -> bool {
    mount.join("cgroup.controllers").exists()
}

fn place(mount: &Path, group: &str) -> PathBuf {
    mount.join(group.trim_start_matches('/'))
}

/// The pod's group in every v1 controller that is mounted (runc makes it in all).
fn controllers(mount: &Path, group: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(mount).into_iter().flatten().flatten();
    entries.map(|entry| place(&entry.path(), group)).filter(|place| place.exists()).collect()
}

fn create_v1(mount: &Path, group: &str, limits: &PodLimits) -> io::Result<()> {
    for controller in V1 {
        if mount.join(controller).exists() {
            std::fs::create_dir_all(place(&mount.join(controller), group))?;
        }
    }
    let cpu = place(&mount.join("cpu"), group);
    write(&cpu.join("cpu.shares"), limits.cpu_shares)?;
    if let Some(quota) = limits.cpu_quota {
        write(&cpu.join("cpu.cfs_quota_us"), quota)?;
    }
    if let Some(limit) = limits.memory_limit {
        write(&place(&mount.join("memory"), group).join("memory.limit_in_bytes"), limit)?;
    }
    Ok(())
}

fn create_v2(mount: &Path, group: &str, limits: &PodLimits) -> io::Result<()> {
    let mut place = mount.to_path_buf();
    for part in group.split('/').filter(|part| !part.is_empty()) {
        // Controllers reach a group only when each group above hands them down.
        std::fs::write(place.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
        place.push(part);
        std::fs::create_dir_all(&place)?;
    }
    std::fs::write(place.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
    write(&place.join("cpu.weight"), weight(limits.cpu_shares))?;
    if let Some(quota) = limits.cpu_quota {
        std::fs::write(place.join("cpu.max"), format!("{quota} 100000"))?;
    }
    if let Some(limit) = limits.memory_limit {
        write(&place.join("memory.max"), limit)?;
    }
    Ok(())
}

/// v1 shares (2 to 262144) as a v2 weight (1 to 10000), as runc converts them.
fn weight(shares: i64) -> i64 {
    1 + (shares - 2) * 9999 / 262_142
}

fn write(file: &Path, value: i64) -> io::Result<()> {
    std::fs::write(file, value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_over_the_whole_range() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }
}
