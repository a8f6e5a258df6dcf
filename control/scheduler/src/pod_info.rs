//! A pod with what the scheduler would otherwise compute for it again and again.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use kube::ResourceExt as _;

use crate::resources::{Resources, requests, scored_requests};

/// A port taken on the Node itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) address: String,
    pub(crate) protocol: String,
    pub(crate) port: i32,
}

impl HostPort {
    /// Whether two pods cannot both have it: the same port, on the same address or on all.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let all = |port: &Self| port.address == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || all(self) || all(other))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) requests: Resources,
    pub(crate) scored: Resources,
    pub(crate) ports: Vec<HostPort>,
}

impl PodInfo {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let (requests, scored, ports) = (requests(spec), scored_requests(spec), host_ports(spec));
        Self { requests, scored, ports, pod }
    }

    pub(crate) fn uid(&self) -> String {
        self.pod.uid().unwrap_or_default()
    }

    pub(crate) fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    pub(crate) fn tolerations(&self) -> &[Toleration] {
        self.spec().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(HostPort {
                port: port.host_port.filter(|port| *port > 0)?,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                address: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into()),
            })
        })
        .collect()
}
