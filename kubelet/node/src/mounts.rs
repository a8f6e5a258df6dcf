//! What a container gets mounted: its volumes, `/etc/hosts` and the file for its termination message.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, HostAlias, Pod, VolumeMount};
use orlop_cri::v1::{Mount, MountPropagation};

use crate::config::Config;
use crate::env::{Variables, expand};
use crate::error::PodError;
use crate::pod;
use crate::spec::labels::message_path;
use crate::volumes::{Paths, subpath};

/// The mounts of one container. Makes the files that they need.
pub fn mounts(
    config: &Config,
    pod: &Pod,
    container: &Container,
    restart_count: u32,
    volumes: &Paths,
    variables: &Variables,
    pod_ips: &[String],
) -> Result<Vec<Mount>, PodError> {
    let pod_dir = config.pod_dir(pod::uid(pod));
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        mounts.push(volume_mount(pod, container, mount, volumes, variables)?);
    }
    let has = |mounts: &[Mount], path: &str| mounts.iter().any(|mount| mount.container_path == path);
    if !has(&mounts, "/etc/hosts") && (pod::is_host_network(pod) || !pod_ips.is_empty()) {
        let file = pod_dir.join("etc-hosts");
        write(&file, &hosts(config, pod, pod_ips), 0o644)?;
        mounts.push(bind("/etc/hosts", &file));
    }
    let path = message_path(container);
    if !has(&mounts, path) {
        let file = Config::termination_message_file(&pod_dir, &container.name, restart_count);
        // Whoever the container runs as may write it.
        write(&file, "", 0o666)?;
        mounts.push(bind(path, &file));
    }
    Ok(mounts)
}

fn bind(container_path: &str, host_path: &Path) -> Mount {
    Mount { container_path: container_path.to_owned(), host_path: host_path.display().to_string(), ..Mount::default() }
}

/// Whether the volume is one whose files the kubelet writes; no container may (kubernetes #60814).
fn is_read_only(pod: &Pod, volume: &str) -> bool {
    let volume = pod::spec(pod).volumes.iter().flatten().find(|found| found.name == volume);
    volume.is_some_and(|v| {
        v.config_map.is_some() || v.secret.is_some() || v.projected.is_some() || v.downward_api.is_some()
    })
}

fn volume_mount(
    pod: &Pod,
    container: &Container,
    mount: &VolumeMount,
    volumes: &Paths,
    variables: &Variables,
) -> Result<Mount, PodError> {
    let volume = volumes.get(&mount.name).ok_or_else(|| {
        PodError::ContainerConfig(format!(
            "cannot find volume {:?} to mount into container {:?}",
            mount.name, container.name
        ))
    })?;
    let sub = match (&mount.sub_path_expr, &mount.sub_path) {
        (Some(expression), _) if !expression.is_empty() => {
            let expanded = expand(expression, variables);
            if expanded.contains("$(") {
                let message = format!("failed to expand subPath: {expression} refers to an unknown variable");
                return Err(PodError::ContainerConfig(message));
            }
            expanded
        }
        (_, Some(path)) => path.clone(),
        _ => String::new(),
    };
    let host_path = if sub.is_empty() {
        volume.clone()
    } else {
        subpath(volume, &sub).map_err(|error| {
            PodError::ContainerConfig(format!(
                "failed to prepare subPath for volumeMount {:?} of container {:?}: {error}",
                mount.name, container.name
            ))
        })?
    };
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => MountPropagation::PropagationBidirectional,
        _ => MountPropagation::PropagationPrivate,
    };
    Ok(Mount {
        readonly: mount.read_only.unwrap_or(false) || is_read_only(pod, &mount.name),
        propagation: propagation.into(),
        ..bind(&mount.mount_path, &host_path)
    })
}

fn write(file: &Path, text: &str, mode: u32) -> Result<(), PodError> {
    let write = || -> std::io::Result<()> {
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        // In place: a running container has this very file mounted.
        std::fs::write(file, text)?;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode))
    };
    write().map_err(|error| PodError::file(format!("writing {}", file.display()), error))
}

/// The pod's hosts file: the node's own for a pod in the node's network, a managed one otherwise.
fn hosts(config: &Config, pod: &Pod, pod_ips: &[String]) -> String {
    let aliases = aliases(pod::spec(pod).host_aliases.as_deref().unwrap_or_default());
    if pod::is_host_network(pod) {
        let own = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        return format!("# Kubernetes-managed hosts file (host network).\n{own}{aliases}");
    }
    let name = pod::hostname(pod);
    let names = match pod::host_domain(pod, &config.cluster_domain) {
        Some(domain) => format!("{name}.{domain}\t{name}"),
        None => name,
    };
    let own: String = pod_ips.iter().map(|ip| format!("{ip}\t{names}\n")).collect();
    format!(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{own}{aliases}"
    )
}

fn aliases(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let line =
        |alias: &HostAlias| format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t"));
    format!("\n# Entries added by HostAliases.\n{}", aliases.iter().map(line).collect::<String>())
}
