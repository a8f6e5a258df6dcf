//! Security contexts: the pod's and the container's merged, as CRI's messages. Pure.

use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile, SecurityContext};
use orlop_cri::v1::{
    Capability, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    SeLinuxOption, SecurityProfile, security_profile::ProfileType,
};

use crate::pod;

/// What containers may not see of /proc and /sys with `procMount: Default`.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// What they may not write.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The namespaces of the pod and of its containers.
pub fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = pod::spec(pod);
    let mode = |of_node: Option<bool>| if of_node == Some(true) { NamespaceMode::Node } else { NamespaceMode::Pod };
    let pid = if spec.host_pid == Some(true) {
        NamespaceMode::Node
    } else if spec.share_process_namespace == Some(true) {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    };
    NamespaceOption {
        network: mode(spec.host_network).into(),
        ipc: mode(spec.host_ipc).into(),
        pid: pid.into(),
        ..NamespaceOption::default()
    }
}

fn seccomp(profile: Option<&SeccompProfile>) -> SecurityProfile {
    let (kind, local) = match profile.map(|profile| (profile.type_.as_str(), profile.localhost_profile.as_ref())) {
        Some(("RuntimeDefault", _)) => (ProfileType::RuntimeDefault, None),
        Some(("Localhost", local)) => (ProfileType::Localhost, local),
        // seccompDefault is off unless asked for, as in Kubernetes.
        _ => (ProfileType::Unconfined, None),
    };
    let root = "/var/lib/kubelet/seccomp";
    SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: local.map(|file| format!("{root}/{file}")).unwrap_or_default(),
    }
}

fn selinux(options: Option<&k8s_openapi::api::core::v1::SELinuxOptions>) -> Option<SeLinuxOption> {
    let options = options?;
    Some(SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    })
}

fn int(value: Option<i64>) -> Option<Int64Value> {
    value.map(|value| Int64Value { value })
}

fn is_privileged(context: &Option<SecurityContext>) -> bool {
    context.as_ref().and_then(|context| context.privileged) == Some(true)
}

/// The sandbox's context.
pub fn sandbox_security(pod: &Pod) -> LinuxSandboxSecurityContext {
    let context = pod::spec(pod).security_context.clone().unwrap_or_default();
    let groups = context.fs_group.into_iter().chain(context.supplemental_groups.into_iter().flatten());
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        selinux_options: selinux(context.se_linux_options.as_ref()),
        run_as_user: int(context.run_as_user),
        // A group without a user is refused by the runtime.
        run_as_group: int(context.run_as_group.filter(|_| context.run_as_user.is_some())),
        supplemental_groups: groups.collect(),
        privileged: pod::init_containers(pod)
            .iter()
            .chain(pod::containers(pod))
            .map(|container| &container.security_context)
            .chain(pod::ephemeral_containers(pod).iter().map(|container| &container.security_context))
            .any(is_privileged),
        // The sandbox only waits: it never needs more.
        seccomp: Some(SecurityProfile {
            profile_type: ProfileType::RuntimeDefault.into(),
            ..SecurityProfile::default()
        }),
        ..LinuxSandboxSecurityContext::default()
    }
}

/// One container's context: its own settings before the pod's. `image_user` is who the image runs as; `target` the id of the
/// container whose processes it shall see.
pub fn container_security(
    pod: &Pod,
    container: &Container,
    image_user: (Option<i64>, &str),
    target: Option<&str>,
) -> LinuxContainerSecurityContext {
    let shared = pod::spec(pod).security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let user = own.run_as_user.or(shared.run_as_user);
    let group = own.run_as_group.or(shared.run_as_group);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|&path| path.to_owned()).collect() };
    let groups = shared.fs_group.into_iter().chain(shared.supplemental_groups.into_iter().flatten());
    let (image_uid, image_name) = image_user;
    let mut namespaces = namespaces(pod);
    if let Some(id) = target {
        namespaces.pid = NamespaceMode::Target.into();
        namespaces.target_id = id.to_owned();
    }
    LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|capabilities| Capability {
            add_capabilities: capabilities.add.clone().unwrap_or_default(),
            drop_capabilities: capabilities.drop.clone().unwrap_or_default(),
            ..Capability::default()
        }),
        privileged,
        namespace_options: Some(namespaces),
        selinux_options: selinux(own.se_linux_options.as_ref().or(shared.se_linux_options.as_ref())),
        run_as_user: int(user.or(image_uid)),
        run_as_username: if user.or(image_uid).is_none() { image_name.to_owned() } else { String::new() },
        run_as_group: int(group),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups.collect(),
        no_new_privs: no_new_privileges(&own),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(if privileged {
            seccomp(None)
        } else {
            seccomp(own.seccomp_profile.as_ref().or(shared.seccomp_profile.as_ref()))
        }),
        ..LinuxContainerSecurityContext::default()
    }
}

fn no_new_privileges(context: &SecurityContext) -> bool {
    context.allow_privilege_escalation == Some(false)
}

/// Refuses a container that must not run as root and would, with Kubernetes' words.
pub fn check_run_as_non_root(pod: &Pod, container: &Container, image_user: (Option<i64>, &str)) -> Result<(), String> {
    let shared = pod::spec(pod).security_context.as_ref();
    let own = container.security_context.as_ref();
    let must = own.and_then(|own| own.run_as_non_root).or(shared.and_then(|shared| shared.run_as_non_root));
    if must != Some(true) {
        return Ok(());
    }
    let suffix = || format!("(pod: {:?}, container: {})", pod::display(pod), container.name);
    match own.and_then(|own| own.run_as_user).or(shared.and_then(|shared| shared.run_as_user)) {
        Some(0) => Err(format!("container's runAsUser breaks non-root policy {}", suffix())),
        Some(_) => Ok(()),
        None => match image_user {
            (Some(0), _) | (None, "") => {
                Err(format!("container has runAsNonRoot and image will run as root {}", suffix()))
            }
            (Some(_), _) => Ok(()),
            (None, name) => Err(format!(
                "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {}",
                suffix()
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({ "metadata": { "name": "a", "uid": "1" }, "spec": spec })).unwrap()
    }

    #[test]
    fn a_containers_own_context_wins_over_the_pods() {
        let pod = pod(serde_json::json!({
            "securityContext": { "runAsUser": 1000, "fsGroup": 7, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{ "name": "c", "securityContext": { "runAsUser": 2000, "allowPrivilegeEscalation": false } }],
        }));
        let security = container_security(&pod, &pod::containers(&pod)[0], (Some(0), ""), None);
        assert_eq!(security.run_as_user.map(|user| user.value), Some(2000));
        assert_eq!((security.supplemental_groups, security.no_new_privs), (vec![7], true));
        assert_eq!(security.seccomp.unwrap().profile_type(), ProfileType::RuntimeDefault);
        assert!(security.masked_paths.contains(&"/proc/kcore".to_owned()));
    }

    #[test]
    fn run_as_non_root_refuses_what_would_be_root() {
        let pod =
            pod(serde_json::json!({ "securityContext": { "runAsNonRoot": true }, "containers": [{ "name": "c" }] }));
        let check = |user| check_run_as_non_root(&pod, &pod::containers(&pod)[0], user);
        assert_eq!(
            check((Some(0), "")).unwrap_err(),
            "container has runAsNonRoot and image will run as root (pod: \"a_default(1)\", container: c)"
        );
        assert!(check((None, "nobody")).unwrap_err().contains("non-numeric user (nobody)"));
        assert!(check((Some(65534), "")).is_ok());
    }
}
