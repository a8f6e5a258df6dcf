//! The sandbox of a pod. Pure.

use k8s_openapi::api::core::v1::Pod;
use orlop_cri::v1::{LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol};

use super::dns::{ResolvConf, dns_config};
use super::labels::{sandbox_annotations, sandbox_labels};
use super::security::sandbox_security;
use crate::config::{CgroupConfig, Config};
use crate::pod;

/// The sandbox to ask for. `resolv_conf` is the node's.
pub fn sandbox_config(config: &Config, pod: &Pod, attempt: u32, resolv_conf: &ResolvConf) -> PodSandboxConfig {
    let cluster_dns: Vec<String> = config.cluster_dns.iter().map(ToString::to_string).collect();
    // A pod in the node's network has the node's name, which is not the runtime's to set.
    let hostname =
        if pod::is_host_network(pod) { String::new() } else { sandbox_hostname(pod, &config.cluster_domain) };
    let sysctls = pod::spec(pod).security_context.as_ref().and_then(|context| context.sysctls.clone());
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod::name(pod).to_owned(),
            uid: pod::uid(pod).to_owned(),
            namespace: pod::namespace(pod).to_owned(),
            attempt,
        }),
        hostname,
        log_directory: config.pod_log_dir(pod::namespace(pod), pod::name(pod), pod::uid(pod)).display().to_string(),
        dns_config: dns_config(pod, resolv_conf, &cluster_dns, &config.cluster_domain),
        port_mappings: if pod::is_host_network(pod) { Vec::new() } else { port_mappings(pod) },
        labels: sandbox_labels(pod),
        annotations: sandbox_annotations(pod),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(&config.cgroups, pod),
            security_context: Some(sandbox_security(pod)),
            sysctls: sysctls.into_iter().flatten().map(|sysctl| (sysctl.name, sysctl.value)).collect(),
            ..LinuxPodSandboxConfig::default()
        }),
        windows: None,
    }
}

/// The name that `uname` gives: with the domain when the pod asks for its full name.
fn sandbox_hostname(pod: &Pod, cluster_domain: &str) -> String {
    let short = pod::hostname(pod);
    match pod::host_domain(pod, cluster_domain) {
        Some(domain) if pod::spec(pod).set_hostname_as_fqdn == Some(true) => format!("{short}.{domain}"),
        _ => short,
    }
}

fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    let containers = pod::containers(pod).iter().chain(pod::init_containers(pod).iter().filter(|c| pod::is_sidecar(c)));
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .map(|port| PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            }
            .into(),
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// The cgroup that holds the pod's containers: `/kubepods/burstable/pod<uid>`, or systemd's name for it.
pub fn cgroup_parent(config: &CgroupConfig, pod: &Pod) -> String {
    let class = pod::qos(pod).cgroup();
    let uid = pod::uid(pod);
    if config.systemd {
        let uid = uid.replace('-', "_");
        return match class {
            Some(class) => format!("kubepods-{class}-pod{uid}.slice"),
            None => format!("kubepods-pod{uid}.slice"),
        };
    }
    let parent = config.parent.trim_end_matches('/');
    match class {
        Some(class) => format!("{parent}/kubepods/{class}/pod{uid}"),
        None => format!("{parent}/kubepods/pod{uid}"),
    }
}
