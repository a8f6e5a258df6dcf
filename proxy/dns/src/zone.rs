//! The zones this server answers for, and what is the same in each of their answers.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record};

/// Seconds between looks of a secondary, of which there is none; CoreDNS' figures.
const REFRESH: i32 = 7200;
const RETRY: i32 = 1800;
const EXPIRE: i32 = 86_400;
/// A zone's SOA lives at most so long.
const SOA_TTL: u32 = 300;

/// The cluster's domain and the two reverse zones.
#[derive(Clone, Debug)]
pub struct Zone {
    /// `cluster.local.`
    pub(crate) domain: Name,
    /// Seconds that an answer may be kept.
    pub(crate) ttl: u32,
    /// Where this server listens: its name is that of the Service with these endpoints.
    pub(crate) listen: Vec<SocketAddr>,
}

/// Where a name lies.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Below the cluster's domain.
    Cluster,
    /// Below `in-addr.arpa.` or `ip6.arpa.`; what the cluster does not know there, upstream may.
    Reverse,
    /// With somebody else.
    Elsewhere,
}

impl Zone {
    /// The zones of a cluster with this domain.
    ///
    /// # Errors
    /// If the domain is no domain name.
    pub fn new(domain: &str, ttl: u32, listen: Vec<SocketAddr>) -> Result<Self, crate::Error> {
        let wrong = || crate::Error::Domain(domain.to_owned());
        let mut name = Name::from_ascii(domain).map_err(|_| wrong())?;
        if name.is_root() || name.iter().next().is_none() {
            return Err(wrong());
        }
        name.set_fqdn(true);
        Ok(Self { domain: name.to_lowercase(), ttl, listen })
    }

    pub(crate) fn place(&self, name: &Name) -> Place {
        if self.domain.zone_of(name) {
            return Place::Cluster;
        }
        let mut labels = name.iter().rev();
        let is = |label: Option<&[u8]>, text: &str| label.is_some_and(|l| l.eq_ignore_ascii_case(text.as_bytes()));
        let arpa = is(labels.next(), "arpa");
        let second = labels.next();
        if arpa && (is(second, "in-addr") || is(second, "ip6")) { Place::Reverse } else { Place::Elsewhere }
    }

    /// The zone's part of a name below the domain, with the case that the question has.
    pub(crate) fn suffix(&self, name: &Name) -> Name {
        last_labels(name, self.domain.iter().count())
    }

    /// The SOA record of the zone with this name.
    pub(crate) fn soa(&self, zone: Name, serial: u32) -> Option<Record> {
        let below = |labels: [&str; 2]| {
            let labels = labels.iter().filter(|label| !label.is_empty()).map(|label| label.as_bytes());
            Name::from_labels(labels.chain(zone.iter())).ok()
        };
        let soa = SOA::new(below(["ns", "dns"])?, below(["hostmaster", ""])?, serial, REFRESH, RETRY, EXPIRE, self.ttl);
        Some(Record::from_rdata(zone, self.ttl.min(SOA_TTL), RData::SOA(soa)))
    }

    pub(crate) fn record(&self, name: &Name, data: RData) -> Record {
        Record::from_rdata(name.clone(), self.ttl, data)
    }

    pub(crate) fn address(&self, name: &Name, address: IpAddr) -> Record {
        self.record(
            name,
            match address {
                IpAddr::V4(v4) => RData::A(v4.into()),
                IpAddr::V6(v6) => RData::AAAA(v6.into()),
            },
        )
    }
}

/// The last labels of a name.
pub(crate) fn last_labels(name: &Name, count: usize) -> Name {
    let skip = name.iter().count().saturating_sub(count);
    // Labels of a name make a name.
    Name::from_labels(name.iter().skip(skip)).unwrap_or_default()
}
