//! One container of a pod. Pure.

use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_cri::v1::{ContainerConfig, ContainerMetadata, ImageSpec, KeyValue, LinuxContainerConfig, Mount};

use super::labels::{container_annotations, container_labels};
use super::resources::container_resources;
use super::security::container_security;
use crate::env::{Variables, expand};

/// What was resolved for a container before it can be created.
pub struct ContainerInput<'a> {
    pub restart_count: u32,
    /// The image on this node, as the runtime names it.
    pub image_ref: &'a str,
    /// Who the image runs as: a number or a name.
    pub image_user: (Option<i64>, &'a str),
    pub variables: &'a Variables,
    pub mounts: Vec<Mount>,
    /// The id of the container whose processes this one shall see.
    pub target: Option<&'a str>,
    /// Bytes of memory of the node.
    pub memory_capacity: i64,
}

/// The container to ask for.
pub fn container_config(pod: &Pod, container: &Container, input: ContainerInput<'_>) -> ContainerConfig {
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| expand(word, input.variables)).collect()
    };
    let image = container.image.clone().unwrap_or_default();
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: input.restart_count }),
        image: Some(ImageSpec {
            image: input.image_ref.to_owned(),
            user_specified_image: image,
            ..ImageSpec::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: input.variables.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect(),
        mounts: input.mounts,
        labels: container_labels(pod, &container.name),
        annotations: container_annotations(pod, container, input.restart_count),
        log_path: log_path(&container.name, input.restart_count),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(LinuxContainerConfig {
            resources: Some(container_resources(pod, container, input.memory_capacity)),
            security_context: Some(container_security(pod, container, input.image_user, input.target)),
        }),
        ..ContainerConfig::default()
    }
}

/// The container's log below the pod's log directory.
pub fn log_path(container: &str, restart_count: u32) -> String {
    format!("{container}/{restart_count}.log")
}
