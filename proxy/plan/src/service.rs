//! A Service reduced to what the plan needs of it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use crate::{Family, Frontend, FrontendKind, Locality, Protocol};

/// Seconds of ClientIP affinity when `sessionAffinityConfig` is absent.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;
/// Services with this label belong to another proxy.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Services with this label are headless by decree.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub name: Arc<str>,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<u16>,
}

/// A Service that is proxied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceInfo {
    /// Addresses with their kind: cluster, external and load balancer IPs of the families the Service has.
    pub addresses: Box<[(IpAddr, FrontendKind)]>,
    pub ports: Box<[Port]>,
    pub internal: Locality,
    pub external: Locality,
    pub affinity_seconds: Option<u32>,
    pub source_ranges: Option<Arc<[IpNet]>>,
    /// `healthCheckNodePort`, where it is to be served.
    pub health_check: Option<u16>,
}

impl ServiceInfo {
    /// The proxied form of a Service, or none if it is headless, an ExternalName, or another proxy's.
    ///
    /// `external_ips` is the gate `AllowServiceExternalIPs`.
    pub fn of(service: &Service, external_ips: bool) -> Option<Self> {
        let labels = service.metadata.labels.as_ref();
        if labels.is_some_and(|l| l.contains_key(PROXY_NAME) || l.contains_key(HEADLESS)) {
            return None;
        }
        let spec = service.spec.as_ref()?;
        if spec.type_.as_deref() == Some("ExternalName") {
            return None;
        }
        let cluster_ips = cluster_ips(spec);
        if cluster_ips.is_empty() {
            return None;
        }
        let local = |policy: Option<&str>| if policy == Some("Local") { Locality::Local } else { Locality::Cluster };
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            Some(Port {
                name: port.name.as_deref().unwrap_or_default().into(),
                protocol: Protocol::from_name(port.protocol.as_deref())?,
                port: u16::try_from(port.port).ok().filter(|p| *p != 0)?,
                node_port: port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0),
            })
        });
        Some(Self {
            addresses: addresses(service, spec, &cluster_ips, external_ips),
            ports: ports.collect(),
            internal: local(spec.internal_traffic_policy.as_deref()),
            external: local(spec.external_traffic_policy.as_deref()),
            affinity_seconds: affinity(spec),
            source_ranges: source_ranges(spec),
            health_check: health_check(spec),
        })
    }

    /// The families the Service has: those of its cluster IPs.
    pub fn families(&self) -> impl Iterator<Item = Family> + '_ {
        let cluster = self.addresses.iter().filter(|(_, kind)| *kind == FrontendKind::ClusterIp);
        cluster.map(|(ip, _)| Family::of(*ip))
    }

    /// Every frontend of one of its ports.
    pub fn frontends<'a>(&'a self, port: &'a Port) -> impl Iterator<Item = (Frontend, FrontendKind)> + 'a {
        let addressed = self.addresses.iter().map(|(ip, kind)| (Frontend::ip(*ip, port.protocol, port.port), *kind));
        let node_ports = port.node_port.into_iter().flat_map(move |number| {
            self.families()
                .map(move |family| (Frontend::node_port(family, port.protocol, number), FrontendKind::NodePort))
        });
        addressed.chain(node_ports)
    }

    /// The source ranges that bind its load balancer IPs of this family, if any; `/0` binds nobody.
    ///
    /// Where they admit the node itself, they admit those IPs too: a node that has one as its own address (as some
    /// load balancers make it) calls from it.
    pub fn source_ranges_of(&self, family: Family, node: Option<IpAddr>) -> Option<Arc<[IpNet]>> {
        let same = |range: &&IpNet| Family::of(range.addr()) == family;
        let mut ours: Vec<IpNet> = self.source_ranges.iter().flat_map(|all| all.iter()).filter(same).copied().collect();
        if ours.is_empty() || ours.iter().any(|range| range.prefix_len() == 0) {
            return None;
        }
        if node.is_some_and(|node| ours.iter().any(|range| range.contains(&node))) {
            let balanced = self
                .addresses
                .iter()
                .filter(|(ip, kind)| *kind == FrontendKind::LoadBalancer && Family::of(*ip) == family);
            ours.extend(balanced.map(|(ip, _)| IpNet::from(*ip)));
        }
        Some(ours.into())
    }

    /// Whether anything but its cluster IPs leads to one of its ports.
    pub fn is_external(&self, port: &Port) -> bool {
        port.node_port.is_some() || self.addresses.iter().any(|(_, kind)| *kind != FrontendKind::ClusterIp)
    }
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let listed = spec
        .cluster_ips
        .iter()
        .flatten()
        .chain(spec.cluster_ips.is_none().then_some(&spec.cluster_ip).into_iter().flatten());
    listed.filter_map(|ip| ip.parse().ok()).collect()
}

fn addresses(
    service: &Service,
    spec: &ServiceSpec,
    cluster_ips: &[IpAddr],
    external_ips: bool,
) -> Box<[(IpAddr, FrontendKind)]> {
    let has = |ip: &IpAddr| cluster_ips.iter().any(|own| Family::of(*own) == Family::of(*ip));
    let external = spec.external_ips.iter().flatten().filter(|_| external_ips).filter_map(|ip| ip.parse().ok());
    let ingress = service.status.iter().flat_map(|s| &s.load_balancer).flat_map(|lb| lb.ingress.iter().flatten());
    let balanced = ingress
        .filter(|ingress| ingress.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"))
        .filter_map(|ingress| ingress.ip.as_deref()?.parse().ok());
    let mut all: Vec<(IpAddr, FrontendKind)> = cluster_ips.iter().map(|ip| (*ip, FrontendKind::ClusterIp)).collect();
    all.extend(balanced.filter(has).map(|ip| (ip, FrontendKind::LoadBalancer)));
    all.extend(external.filter(has).map(|ip| (ip, FrontendKind::ExternalIp)));
    // An address named twice keeps its first kind: loadBalancerSourceRanges bind it by whatever name it is called.
    let mut seen = Vec::with_capacity(all.len());
    all.retain(|(ip, _)| {
        !seen.contains(ip) && {
            seen.push(*ip);
            true
        }
    });
    all.into()
}

fn affinity(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let configured = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()?.timeout_seconds);
    Some(configured.and_then(|s| u32::try_from(s).ok()).unwrap_or(DEFAULT_AFFINITY_SECONDS))
}

fn source_ranges(spec: &ServiceSpec) -> Option<Arc<[IpNet]>> {
    let ranges: Vec<IpNet> =
        spec.load_balancer_source_ranges.iter().flatten().filter_map(|r| r.trim().parse::<IpNet>().ok()).collect();
    (!ranges.is_empty()).then(|| ranges.into())
}

fn health_check(spec: &ServiceSpec) -> Option<u16> {
    let needed =
        spec.type_.as_deref() == Some("LoadBalancer") && spec.external_traffic_policy.as_deref() == Some("Local");
    spec.health_check_node_port.filter(|_| needed).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}
