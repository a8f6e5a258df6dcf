//! Pods' volumes: made before the containers, refreshed while they run, removed after them. What is written for a pod is
//! replaced in one step, so that a reader sees the old files or the new ones and never a mixture.

mod atomic_writer;
mod content;
mod host_path;
mod mounted;
mod subpath;
mod token;

use std::collections::HashMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};

pub use atomic_writer::File;
pub use subpath::subpath;
pub use token::Tokens;

use crate::error::PodError;
use crate::kubelet::Kubelet;
use crate::pod;
use crate::quantity::whole;

/// Where each volume of the pod lies on the node.
pub type Paths = HashMap<String, PathBuf>;

/// Makes all volumes of the pod, or brings them up to date. `anew` fetches what is written into them again.
pub async fn set_up(kubelet: &Kubelet, pod: &Pod, pod_ips: &[String], anew: bool) -> Result<Paths, PodError> {
    let mut paths = Paths::new();
    for volume in pod::spec(pod).volumes.iter().flatten() {
        let path = set_up_one(kubelet, pod, volume, pod_ips, anew).await.map_err(|error| match error {
            PodError::Volume { .. } => error,
            other => PodError::Volume { volume: volume.name.clone(), message: other.to_string() },
        })?;
        paths.insert(volume.name.clone(), path);
    }
    Ok(paths)
}

async fn set_up_one(
    kubelet: &Kubelet,
    pod: &Pod,
    volume: &Volume,
    pod_ips: &[String],
    anew: bool,
) -> Result<PathBuf, PodError> {
    if let Some(source) = &volume.host_path {
        return host_path::check(source);
    }
    let volumes = kubelet.config.pod_dir(pod::uid(pod)).join("volumes");
    let group = pod::spec(pod).security_context.as_ref().and_then(|context| context.fs_group);
    if let Some(source) = &volume.empty_dir {
        let path = volumes.join("kubernetes.io~empty-dir").join(&volume.name);
        return empty_dir(&path, source, group).map(|()| path);
    }
    let kind = if volume.config_map.is_some() {
        "configmap"
    } else if volume.secret.is_some() {
        "secret"
    } else if volume.projected.is_some() {
        "projected"
    } else if volume.downward_api.is_some() {
        "downward-api"
    } else {
        return Err(PodError::Volume {
            volume: volume.name.clone(),
            message:
                "this kubelet supports emptyDir, hostPath, configMap, secret, projected and downwardAPI volumes only"
                    .into(),
        });
    };
    let path = volumes.join(format!("kubernetes.io~{kind}")).join(&volume.name);
    let files = content::files(kubelet, pod, volume, pod_ips, anew).await?;
    make_dir(&path)?;
    // Secrets never touch the disk.
    if volume.secret.is_some() || volume.projected.is_some() {
        mounted::tmpfs(&path, None)?;
    }
    atomic_writer::write(&path, &files, group)
        .map_err(|error| PodError::file(format!("writing {}", path.display()), error))?;
    Ok(path)
}

fn make_dir(path: &Path) -> Result<(), PodError> {
    std::fs::create_dir_all(path).map_err(|error| PodError::file(format!("creating {}", path.display()), error))
}

fn empty_dir(path: &Path, source: &EmptyDirVolumeSource, group: Option<i64>) -> Result<(), PodError> {
    if path.exists() && (source.medium.as_deref() != Some("Memory") || mounted::is_mounted(path)) {
        return Ok(());
    }
    make_dir(path)?;
    if source.medium.as_deref() == Some("Memory") {
        mounted::tmpfs(path, source.size_limit.as_ref().and_then(whole).filter(|&bytes| bytes > 0))?;
    }
    let set = || -> std::io::Result<()> {
        let mut mode = 0o777;
        if let Some(group) = group.and_then(|group| u32::try_from(group).ok()) {
            chown(path, None, Some(group))?;
            mode |= 0o2000;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    set().map_err(|error| PodError::file(format!("setting the mode of {}", path.display()), error))
}

/// Unmounts and removes everything that was made for the pod. Does nothing when nothing is left.
pub fn tear_down(pod_dir: &Path) -> Result<(), PodError> {
    mounted::unmount_below(pod_dir)?;
    match std::fs::remove_dir_all(pod_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(PodError::file(format!("removing {}", pod_dir.display()), error))
        }
        _ => Ok(()),
    }
}
