//! The flows that connection tracking translates in this thread's network namespace, over `NETLINK_NETFILTER`.

use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use orlop_ebpf::{FlowKey, TCP, UDP};

use crate::convert::address;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`
const CT_GET: u16 = 1 << 8 | 1;
const HEADER: usize = 16;
/// `struct nfgenmsg`
const FAMILY_HEADER: usize = 4;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL_INFO: u16 = 4;
const TIMEOUT: u16 = 7;
/// `IPS_SEEN_REPLY`, `IPS_DST_NAT`.
const ANSWERED: u32 = 1 << 1;
const TRANSLATED: u32 = 1 << 5;
/// `TCP_CONNTRACK_ESTABLISHED`: states before it are of connections that are being made.
const ESTABLISHED: u8 = 3;

/// A translated flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The client's packets as they arrive.
    pub client: FlowKey,
    /// The endpoint's.
    pub endpoint: FlowKey,
    /// Whether both have been seen.
    pub answered: bool,
    /// Whether it is a TCP connection that is not made yet.
    pub half_open: bool,
    /// Seconds until it is forgotten, if nothing more comes.
    pub remaining: u32,
}

/// Every flow of TCP and UDP whose destination is translated. Empty where there is no connection tracking.
pub fn translated() -> io::Result<Vec<Tracked>> {
    let mut socket = match Socket::new(NETLINK_NETFILTER) {
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(Vec::new()),
        socket => socket?,
    };
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut all = Vec::new();
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        let mut request = ((HEADER + FAMILY_HEADER) as u32).to_ne_bytes().to_vec();
        request.extend(CT_GET.to_ne_bytes());
        request.extend(DUMP.to_ne_bytes());
        request.extend([0; 8]);
        request.extend([family, 0, 0, 0]);
        socket.send(&request, 0)?;
        receive(&socket, |body| all.extend(tracked(body)))?;
    }
    Ok(all)
}

fn receive(socket: &Socket, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = &answer[..];
        while let (Some(length), Some(kind)) = (number(rest, 0), number(rest, 4)) {
            let length = (length as usize).clamp(HEADER, rest.len().max(HEADER));
            let body = rest.get(HEADER..length).unwrap_or_default();
            match (kind & 0xffff) as u16 {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    return match number(body, 0).map(u32::cast_signed) {
                        // A kernel without connection tracking knows no such request.
                        Some(0) | None => Ok(()),
                        Some(error) if -error == libc::EOPNOTSUPP || -error == libc::EINVAL => Ok(()),
                        Some(error) => Err(io::Error::from_raw_os_error(-error)),
                    };
                }
                _ => each(body.get(FAMILY_HEADER..).unwrap_or_default()),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn tracked(attributes: &[u8]) -> Option<Tracked> {
    let status = u32::from_be_bytes(find(attributes, STATUS)?.try_into().ok()?);
    let client = tuple(find(attributes, TUPLE_ORIGINAL)?)?;
    let endpoint = tuple(find(attributes, TUPLE_REPLY)?)?;
    if status & TRANSLATED == 0 {
        return None;
    }
    let tcp = client.protocol == u32::from(TCP);
    let state = find(attributes, PROTOCOL_INFO).and_then(|info| find(find(info, 1)?, 1)?.first().copied());
    let half_open = tcp && state.is_some_and(|state| state < ESTABLISHED);
    let remaining = find(attributes, TIMEOUT).and_then(|value| value.try_into().ok()).map_or(0, u32::from_be_bytes);
    Some(Tracked { client, endpoint, answered: status & ANSWERED != 0, half_open, remaining })
}

/// `CTA_TUPLE_IP` and `CTA_TUPLE_PROTO`.
fn tuple(attributes: &[u8]) -> Option<FlowKey> {
    let (ip, transport) = (find(attributes, 1)?, find(attributes, 2)?);
    let place = |v4: u16, v6: u16| -> Option<IpAddr> {
        match find(ip, v4) {
            Some(octets) => Some(<[u8; 4]>::try_from(octets).ok()?.into()),
            None => Some(<[u8; 16]>::try_from(find(ip, v6)?).ok()?.into()),
        }
    };
    let port = |kind: u16| Some(u16::from_ne_bytes(find(transport, kind)?.try_into().ok()?));
    let protocol = *find(transport, 1)?.first()?;
    if protocol != TCP && protocol != UDP {
        return None;
    }
    Some(FlowKey {
        source: address(place(1, 3)?),
        destination: address(place(2, 4)?),
        source_port: port(2)?,
        destination_port: port(3)?,
        protocol: protocol.into(),
    })
}

/// The value of the first attribute of a kind.
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    /// `NLA_F_NESTED | NLA_F_NET_BYTEORDER`
    const MARKS: u16 = 3 << 14;
    loop {
        let [a, b, c, d] = number(attributes, 0)?.to_ne_bytes();
        let length = usize::from(u16::from_ne_bytes([a, b])).max(4);
        if u16::from_ne_bytes([c, d]) & !MARKS == kind {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
