//! Map and set elements: keys and values as the registers hold them, every field padded to four bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use orlop_plan::{Endpoint, Family, Frontend, FrontendAddress, Protocol};

use crate::group::GroupId;
use crate::layout::{self, LABEL};
use crate::policy::Variant;

/// A short byte string that needs no allocation: 80,000 of these are compared when an existing table is adopted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bytes {
    bytes: [u8; 32],
    length: u8,
}

impl Bytes {
    pub const EMPTY: Self = Self { bytes: [0; 32], length: 0 };

    /// What every value begins with.
    const LABELLED: Self = {
        let (mut bytes, label) = ([0; 32], LABEL.to_ne_bytes());
        let (label_only, _) = bytes.split_at_mut(4);
        label_only.copy_from_slice(&label);
        Self { bytes, length: 4 }
    };

    /// A copy of a slice; none if it is longer than any field of ours.
    pub fn of(slice: &[u8]) -> Option<Self> {
        let mut out = Self { length: u8::try_from(slice.len()).ok().filter(|n| *n <= 32)?, ..Self::EMPTY };
        out.bytes[..slice.len()].copy_from_slice(slice);
        Some(out)
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Appends a field and pads it. Fields beyond the room cannot occur: the largest keys have 32 bytes.
    fn field(mut self, field: &[u8]) -> Self {
        let start = usize::from(self.length);
        if let Some(room) = self.bytes.get_mut(start..start + field.len()) {
            room.copy_from_slice(field);
            self.length = (start + field.len().next_multiple_of(4)).min(32) as u8;
        }
        self
    }

    fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(ip) => self.field(&ip.octets()),
            IpAddr::V6(ip) => self.field(&ip.octets()),
        }
    }

    fn number(self, number: u32) -> Self {
        self.field(&number.to_ne_bytes())
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_slice().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A key with its value; a set's element has an empty value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    pub key: Bytes,
    pub value: Bytes,
    /// The exclusive end of an interval.
    pub end: bool,
}

impl Element {
    fn map(key: Bytes, value: Bytes) -> Self {
        Self { key, value, end: false }
    }

    fn set(key: Bytes) -> Self {
        Self { key, value: Bytes::EMPTY, end: false }
    }
}

/// The key of `frontends` or, without the address, of `node-ports`.
pub(crate) fn frontend_key(frontend: &Frontend) -> Bytes {
    let key = match frontend.address {
        FrontendAddress::Ip(ip) => Bytes::EMPTY.address(ip),
        FrontendAddress::NodePort(_) => Bytes::EMPTY,
    };
    key.field(&[frontend.protocol.number()]).field(&frontend.port.to_be_bytes())
}

/// A frontend and its policy.
pub(crate) fn frontend(frontend: &Frontend, policy: u32) -> Element {
    Element::map(frontend_key(frontend), Bytes::LABELLED.number(policy))
}

/// A frontend and its group.
pub(crate) fn group(frontend: &Frontend, group: GroupId) -> Element {
    Element::map(frontend_key(frontend), Bytes::LABELLED.field(&group.0))
}

/// For `leaving`; a NodePort has the unspecified address.
pub(crate) fn leaving(frontend: &Frontend) -> Element {
    let address = match (frontend.address, frontend.family()) {
        (FrontendAddress::Ip(ip), _) => ip,
        (FrontendAddress::NodePort(_), Family::V4) => Ipv4Addr::UNSPECIFIED.into(),
        (FrontendAddress::NodePort(_), Family::V6) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let key = Bytes::EMPTY.address(address).field(&[frontend.protocol.number()]).field(&frontend.port.to_be_bytes());
    Element::set(key)
}

/// Reads the frontend from a key of `leaving`.
pub(crate) fn left(key: &Bytes, family: u8) -> Option<Frontend> {
    let frontend = frontend_of(key, family)?;
    Some(match frontend.address {
        FrontendAddress::Ip(ip) if ip.is_unspecified() => {
            Frontend::node_port(frontend.family(), frontend.protocol, frontend.port)
        }
        _ => frontend,
    })
}

/// Reads the frontend from a key of `frontends` or `node-ports`.
pub(crate) fn frontend_of(key: &Bytes, family: u8) -> Option<Frontend> {
    let (address, rest) = key.as_slice().split_at_checked(key.as_slice().len().checked_sub(8)?)?;
    let protocol = Protocol::from_number(*rest.first()?)?;
    let port = u16::from_be_bytes(rest.get(4..6)?.try_into().ok()?);
    let family = if family == layout::IPV4 { Family::V4 } else { Family::V6 };
    Some(match address.len() {
        0 => Frontend::node_port(family, protocol, port),
        _ => Frontend::ip(address_of(address)?, protocol, port),
    })
}

/// The key of `counts`.
pub(crate) fn count_key(group: GroupId) -> Bytes {
    Bytes::EMPTY.field(&group.0)
}

/// For `counts`.
pub(crate) fn count(group: GroupId, count: u32) -> Element {
    Element::map(count_key(group), Bytes::LABELLED.number(count))
}

/// The key of `endpoints`.
pub(crate) fn endpoint_key(group: GroupId, index: u32) -> Bytes {
    Bytes::EMPTY.field(&group.0).number(index)
}

/// For `endpoints`.
pub(crate) fn endpoint(group: GroupId, index: u32, endpoint: &Endpoint) -> Element {
    let value = Bytes::LABELLED.address(endpoint.address).field(&endpoint.port.to_be_bytes());
    Element::map(endpoint_key(group, index), value)
}

/// For `members`.
pub(crate) fn member(group: GroupId, endpoint: &Endpoint) -> Element {
    let key = Bytes::EMPTY.field(&group.0).number(LABEL).address(endpoint.address);
    Element::set(key.field(&endpoint.port.to_be_bytes()))
}

/// The member that an element of `endpoints` is.
pub(crate) fn member_of(element: &Element) -> Option<Element> {
    let (address, port) = endpoint_of(&element.value)?;
    Some(member(group_of(&element.key)?, &Endpoint { address, port, local: false }))
}

/// For `cluster-ips` and `node-ips`.
pub(crate) fn address(address: IpAddr) -> Element {
    Element::set(Bytes::EMPTY.address(address))
}

/// For `hairpin`.
pub(crate) fn hairpin(address: IpAddr) -> Element {
    Element::set(Bytes::EMPTY.address(address).address(address))
}

/// The key of `policies`.
pub(crate) fn policy_key(number: u32) -> Bytes {
    Bytes::EMPTY.number(number)
}

/// The key of `balance`.
pub(crate) fn balance_key(count: u32, variant: Variant) -> Bytes {
    Bytes::EMPTY.number(count).number(variant.number())
}

/// For `pods`: each network as its first address and the first one after it. Networks must not overlap or touch.
pub(crate) fn networks(networks: &[IpNet], family: Family) -> Vec<Element> {
    let mut all: Vec<IpNet> =
        networks.iter().filter(|net| Family::of(net.addr()) == family).map(IpNet::trunc).collect();
    all = IpNet::aggregate(&all);
    all.sort_unstable();
    let mut elements = Vec::new();
    for net in all {
        elements.push(address(net.network()));
        let after = match net.broadcast() {
            IpAddr::V4(last) => u32::from(last).checked_add(1).map(|next| IpAddr::V4(Ipv4Addr::from(next))),
            IpAddr::V6(last) => u128::from(last).checked_add(1).map(|next| IpAddr::V6(Ipv6Addr::from(next))),
        };
        if let Some(after) = after {
            elements.push(Element { end: true, ..address(after) });
        }
    }
    elements
}

/// Reads a group's id from the start of a key.
pub(crate) fn group_of(key: &Bytes) -> Option<GroupId> {
    group_at(key, 0)
}

/// Reads the group's id that follows the first `skip` bytes.
pub(crate) fn group_at(bytes: &Bytes, skip: usize) -> Option<GroupId> {
    Some(GroupId(bytes.as_slice().get(skip..skip + 8)?.try_into().ok()?))
}

/// Reads the number that follows the first `skip` bytes.
pub(crate) fn number_at(bytes: &Bytes, skip: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.as_slice().get(skip..skip + 4)?.try_into().ok()?))
}

/// Reads an endpoint's address and port from a value.
pub(crate) fn endpoint_of(value: &Bytes) -> Option<(IpAddr, u16)> {
    let bytes = value.as_slice().get(4..)?;
    let (address, port) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    Some((address_of(address)?, u16::from_be_bytes([port[0], port[1]])))
}

/// An address of either family.
pub(crate) fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_back_from_its_element() {
        for text in ["10.244.0.7", "fd00::7"] {
            let wanted = Endpoint { address: text.parse().unwrap(), port: 8080, local: true };
            let element = endpoint(GroupId([2, 1, 1, 1, 1, 1, 1, 1]), 3, &wanted);
            assert_eq!(endpoint_of(&element.value), Some((wanted.address, 8080)));
            assert_eq!(number_at(&element.key, 8), Some(3));
            assert_eq!(group_of(&element.key), Some(GroupId([2, 1, 1, 1, 1, 1, 1, 1])));
        }
    }

    #[test]
    fn a_frontend_is_read_back_from_its_element() {
        for (address, family) in [("10.96.0.1", layout::IPV4), ("fd00::1", layout::IPV6)] {
            let by_address = Frontend::ip(address.parse().unwrap(), Protocol::Udp, 53);
            let by_port = Frontend::node_port(by_address.family(), Protocol::Tcp, 30_000);
            for wanted in [by_address, by_port] {
                assert_eq!(frontend_of(&frontend(&wanted, 1).key, family), Some(wanted));
                assert_eq!(left(&leaving(&wanted).key, family), Some(wanted));
            }
        }
    }

    #[test]
    fn neighbouring_networks_become_one_interval() {
        let nets: Vec<IpNet> = ["10.244.0.0/17", "10.244.128.0/17", "fd00::/64"].map(|n| n.parse().unwrap()).into();
        let elements = networks(&nets, Family::V4);
        assert_eq!(elements.len(), 2);
        assert_eq!(
            (elements[0].key.as_slice(), elements[1].key.as_slice()),
            (&[10, 244, 0, 0][..], &[10, 245, 0, 0][..])
        );
        assert!(elements[1].end);
    }
}
