//! A Service reduced to what its names need.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

/// A port, of a Service or of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub name: Box<str>,
    /// In lower case, as it stands in a name after the underscore.
    pub protocol: Protocol,
    /// None where a Service or slice declares no port: it has addresses then, and no SRV record.
    pub number: Option<u16>,
}

/// What stands after the underscore in `_port._protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn of(text: Option<&str>) -> Option<Self> {
        match text.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl Port {
    pub fn of(name: Option<&str>, protocol: Option<&str>, number: Option<i32>) -> Option<Self> {
        let number = match number {
            Some(number) => Some(u16::try_from(number).ok()?),
            None => None,
        };
        Some(Self { name: name.unwrap_or_default().into(), protocol: Protocol::of(protocol)?, number })
    }

    /// The port of one that declares none: names without port and protocol find it.
    fn none() -> Self {
        Self { name: "".into(), protocol: Protocol::Tcp, number: None }
    }

    /// Whether `_port._protocol` (without underscores, in lower case) means this port; no such labels mean every port.
    pub fn is(&self, asked: Option<(&str, &str)>) -> bool {
        asked.is_none_or(|(name, protocol)| {
            self.number.is_some() && self.name.eq_ignore_ascii_case(name) && self.protocol.label() == protocol
        })
    }

    /// A list of ports that is never empty.
    pub fn list(ports: impl Iterator<Item = Self>) -> Box<[Self]> {
        let ports: Vec<Self> = ports.collect();
        if ports.is_empty() { Box::new([Self::none()]) } else { ports.into() }
    }
}

/// What a Service's name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServiceInfo {
    /// Its own addresses.
    Cluster { addresses: Box<[IpAddr]>, ports: Box<[Port]> },
    /// Its endpoints.
    Headless,
    /// Another name (`spec.externalName`).
    External(Box<str>),
}

impl ServiceInfo {
    pub fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        if spec.type_.as_deref() == Some("ExternalName") {
            return Some(Self::External(spec.external_name.as_deref().unwrap_or_default().into()));
        }
        if first_cluster_ip(spec) == Some("None") {
            return Some(Self::Headless);
        }
        let listed = spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse().ok());
        let mut addresses: Vec<IpAddr> = listed.collect();
        if addresses.is_empty() {
            addresses.extend(spec.cluster_ip.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()));
        }
        let ports = spec.ports.iter().flatten();
        let ports = ports.filter_map(|p| Port::of(p.name.as_deref(), p.protocol.as_deref(), Some(p.port)));
        Some(Self::Cluster { addresses: addresses.into(), ports: Port::list(ports) })
    }

    /// The addresses that are the Service's own.
    pub fn cluster_ips(&self) -> &[IpAddr] {
        match self {
            Self::Cluster { addresses, .. } => addresses,
            Self::Headless | Self::External(_) => &[],
        }
    }
}

fn first_cluster_ip(spec: &ServiceSpec) -> Option<&str> {
    spec.cluster_ips.iter().flatten().next().or(spec.cluster_ip.as_ref()).map(String::as_str)
}
