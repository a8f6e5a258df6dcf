//! Reading a Pod: the parts of its spec with their defaults applied, and its quality-of-service class. Pure.

mod qos;

use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, ObjectReference, Pod, PodSpec, PodStatus};

pub use qos::{Qos, qos};

static NO_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);
static NO_STATUS: LazyLock<PodStatus> = LazyLock::new(PodStatus::default);

/// The spec; an empty one for a pod without (which no API server stores).
pub fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&NO_SPEC)
}

/// The status as the API server last had it.
pub fn status(pod: &Pod) -> &PodStatus {
    pod.status.as_ref().unwrap_or(&NO_STATUS)
}

pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// `name_namespace(uid)`, as Kubernetes' messages name a pod.
pub fn display(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

pub fn containers(pod: &Pod) -> &[Container] {
    &spec(pod).containers
}

/// The container of this name, whether it is an init container or not; ephemeral ones are another matter.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    init_containers(pod).iter().chain(containers(pod)).find(|container| container.name == name)
}

/// Containers that were added to the running pod, to look into it.
pub fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    spec(pod).ephemeral_containers.as_deref().unwrap_or_default()
}

/// What an ephemeral container shares with any other: all but its target.
pub fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let ephemeral = ephemeral.clone();
    Container {
        name: ephemeral.name,
        image: ephemeral.image,
        command: ephemeral.command,
        args: ephemeral.args,
        working_dir: ephemeral.working_dir,
        ports: ephemeral.ports,
        env_from: ephemeral.env_from,
        env: ephemeral.env,
        resources: ephemeral.resources,
        volume_mounts: ephemeral.volume_mounts,
        volume_devices: ephemeral.volume_devices,
        termination_message_path: ephemeral.termination_message_path,
        termination_message_policy: ephemeral.termination_message_policy,
        image_pull_policy: ephemeral.image_pull_policy,
        security_context: ephemeral.security_context,
        stdin: ephemeral.stdin,
        stdin_once: ephemeral.stdin_once,
        tty: ephemeral.tty,
        ..Container::default()
    }
}

/// The pod has a container of this name, of whatever sort.
pub fn has_container(pod: &Pod, name: &str) -> bool {
    container(pod, name).is_some() || ephemeral_containers(pod).iter().any(|ephemeral| ephemeral.name == name)
}

/// An init container that keeps running beside the others: a sidecar.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// When a container of this pod is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    /// Whether a container that ended with `exit_code` is to be started again.
    pub fn restarts_after(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    match spec(pod).restart_policy.as_deref() {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

pub fn is_host_network(pod: &Pod) -> bool {
    spec(pod).host_network.unwrap_or(false)
}

/// The pod has ended for good: the API server says so, and no one may take it back.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(status(pod).phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// Seconds between the stop signal and the kill: the one of the deletion before the one of the spec.
pub fn grace_seconds(pod: &Pod) -> u64 {
    let seconds = pod
        .metadata
        .deletion_grace_period_seconds
        .filter(|_| pod.metadata.deletion_timestamp.is_some())
        .or(spec(pod).termination_grace_period_seconds)
        .unwrap_or(30);
    u64::try_from(seconds).unwrap_or(0)
}

/// The name that the pod's containers see: `spec.hostname`, else the pod's name, cut to what the kernel takes.
pub fn hostname(pod: &Pod) -> String {
    const LONGEST: usize = 63;
    let spec = spec(pod);
    let name = spec.hostname_override.as_deref().or(spec.hostname.as_deref().filter(|name| !name.is_empty()));
    let name: String = name.unwrap_or(self::name(pod)).chars().take(LONGEST).collect();
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The DNS domain of a pod with a subdomain: `subdomain.namespace.svc.<cluster domain>`.
pub fn host_domain(pod: &Pod, cluster_domain: &str) -> Option<String> {
    let spec = spec(pod);
    let subdomain = spec.subdomain.as_deref().filter(|name| !name.is_empty() && spec.hostname_override.is_none())?;
    Some(format!("{subdomain}.{}.svc.{cluster_domain}", namespace(pod)))
}

/// A reference to the pod for an Event.
pub fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: None,
    }
}

/// A reference to one container of the pod for an Event.
pub fn container_reference(pod: &Pod, container: &str) -> ObjectReference {
    let list = if init_containers(pod).iter().any(|init| init.name == container) {
        "initContainers"
    } else if ephemeral_containers(pod).iter().any(|ephemeral| ephemeral.name == container) {
        "ephemeralContainers"
    } else {
        "containers"
    };
    ObjectReference { field_path: Some(format!("spec.{list}{{{container}}}")), ..reference(pod) }
}
