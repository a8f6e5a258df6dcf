//! Endpoint groups: the endpoints that several frontends of a Service port share, each at a slot that it keeps.

use orlop_plan::{Endpoint, Family, FrontendKind, Protocol, ServicePortName, WhenEmpty};
use sha2::{Digest, Sha256};

use crate::layout::{COUNT_DROP, COUNT_REJECT};

/// Names a group in the kernel. It follows from the Service port alone, so that a restarted agent finds its groups again.
/// 64 bits of SHA-256: tenants choose Service names, and two groups must not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId(pub [u8; 8]);

impl GroupId {
    /// The group of a Service port's cluster IPs, or of everything by which it is reached from outside.
    pub fn of(name: &ServicePortName, kind: FrontendKind, protocol: Protocol, family: Family) -> Self {
        let side = u8::from(kind != FrontendKind::ClusterIp);
        let mut hash = Sha256::new();
        hash.update([protocol.number(), family as u8, side]);
        hash.update(name.service.as_bytes());
        hash.update([0]);
        hash.update(name.port.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&hash.finalize()[..8]);
        id[0] &= !1;
        Self(id)
    }

    /// Whether it is a local half.
    pub const fn is_local(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The group that this is, or is the local half of.
    pub const fn whole(mut self) -> Self {
        self.0[0] &= !1;
        self
    }

    /// The half with this node's endpoints only.
    pub const fn local(mut self) -> Self {
        self.0[0] |= 1;
        self
    }
}

/// As `nft list` shows it in the maps.
impl std::fmt::Display for GroupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g, h, i] = self.0;
        write!(f, "group 0x{:08x} . 0x{:08x}", u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, g, h, i]))
    }
}

/// What the kernel holds of a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// How many frontends lead to it.
    pub references: u32,
    /// Endpoint by index.
    pub slots: Box<[Endpoint]>,
    /// What `counts` says of it.
    pub count: Option<u32>,
    /// Whether endpoints of other nodes may reach themselves through it, too.
    pub roundabout: bool,
    /// Whether clients are kept with their endpoint.
    pub affinity: bool,
}

impl Group {
    /// Addresses that must be masqueraded where they reach themselves.
    pub fn hairpins(&self) -> impl Iterator<Item = std::net::IpAddr> + '_ {
        self.slots.iter().filter(|slot| slot.local || self.roundabout).map(|slot| slot.address)
    }
}

/// What `counts` must say for so many endpoints.
pub(crate) fn count_of(endpoints: usize, when_empty: WhenEmpty) -> u32 {
    match (endpoints, when_empty) {
        (0, WhenEmpty::Reject) => COUNT_REJECT,
        (0, WhenEmpty::Drop) => COUNT_DROP,
        (n, _) => n as u32,
    }
}

/// Places the wanted endpoints so that as few slots as possible change: who stays keeps its slot, newcomers take the
/// holes, then the end; if holes remain the last move into them.
pub(crate) fn place(old: &[Endpoint], wanted: &[Endpoint]) -> Vec<Endpoint> {
    let same = |a: &Endpoint, b: &Endpoint| (a.address, a.port) == (b.address, b.port);
    let mut slots: Vec<Option<Endpoint>> = Vec::with_capacity(wanted.len());
    let mut placed = vec![false; wanted.len()];
    for endpoint in old {
        let at = wanted.binary_search_by_key(&(endpoint.address, endpoint.port), |e| (e.address, e.port)).ok();
        let at = at.filter(|at| !placed[*at] && same(&wanted[*at], endpoint));
        if let Some(at) = at {
            placed[at] = true;
        }
        slots.push(at.map(|at| wanted[at]));
    }
    let mut hole = 0;
    for (endpoint, _) in wanted.iter().zip(&placed).filter(|(_, placed)| !**placed) {
        while hole < slots.len() && slots[hole].is_some() {
            hole += 1;
        }
        match slots.get_mut(hole) {
            Some(slot) => *slot = Some(*endpoint),
            None => slots.push(Some(*endpoint)),
        }
    }
    while slots.len() > wanted.len() {
        let last = slots.pop().flatten();
        if let Some(endpoint) = last
            && let Some(slot) = slots.iter_mut().find(|slot| slot.is_none())
        {
            *slot = Some(endpoint);
        }
    }
    slots.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(hosts: &[u8]) -> Vec<Endpoint> {
        let endpoint = |host: &u8| Endpoint { address: [10, 244, 0, *host].into(), port: 80, local: false };
        hosts.iter().map(endpoint).collect()
    }

    #[test]
    fn who_stays_keeps_its_slot() {
        let cases: [(&[u8], &[u8], &[u8]); 7] = [
            (&[], &[1, 2], &[1, 2]),
            (&[1, 2], &[1, 2, 3], &[1, 2, 3]),
            (&[1, 2, 3], &[2, 3], &[3, 2]),
            (&[3, 1, 2], &[1, 3], &[3, 1]),
            (&[1, 2, 3], &[2, 3, 4], &[4, 2, 3]),
            (&[1, 2, 3], &[], &[]),
            (&[1, 2, 3, 4], &[4], &[4]),
        ];
        for (old, wanted, expected) in cases {
            assert_eq!(place(&endpoints(old), &endpoints(wanted)), endpoints(expected), "{old:?} -> {wanted:?}");
        }
    }

    #[test]
    fn a_duplicate_left_in_the_kernel_gets_one_slot_only() {
        assert_eq!(place(&endpoints(&[1, 1, 2]), &endpoints(&[1, 2])), endpoints(&[1, 2]));
    }

    #[test]
    fn ids_differ_by_everything_that_separates_groups() {
        let name = |service: &str, port: &str| ServicePortName { service: service.into(), port: port.into() };
        let id = |n: &ServicePortName, kind, protocol| GroupId::of(n, kind, protocol, Family::V4);
        let base = id(&name("a/b", "c"), FrontendKind::ClusterIp, Protocol::Tcp);
        assert_eq!(base, id(&name("a/b", "c"), FrontendKind::ClusterIp, Protocol::Tcp));
        assert_ne!(base, id(&name("a/b", "c"), FrontendKind::NodePort, Protocol::Tcp));
        assert_ne!(base, id(&name("a/b", "c"), FrontendKind::ClusterIp, Protocol::Udp));
        assert_ne!(base, id(&name("a/bc", ""), FrontendKind::ClusterIp, Protocol::Tcp));
        assert_ne!(base, base.local());
    }
}
