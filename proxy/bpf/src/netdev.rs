//! What devices can do with XDP, asked of the kernel's `netdev` family (Linux 6.3) over generic netlink.
//!
//! The socket belongs to the network namespace of the thread that opened it.

use std::collections::BTreeMap;
use std::io;

use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

/// What a device can do: `NETDEV_XDP_ACT_*` (include/uapi/linux/netdev.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u64);

impl Features {
    /// Its driver runs programs and lets them redirect.
    pub const fn runs_programs(self) -> bool {
        const BASIC_AND_REDIRECT: u64 = 1 | 2;
        self.0 & BASIC_AND_REDIRECT == BASIC_AND_REDIRECT
    }

    /// It sends what is redirected to it.
    pub const fn takes_frames(self) -> bool {
        const NDO_XMIT: u64 = 4;
        self.0 & NDO_XMIT != 0
    }
}

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `struct nlmsghdr` and `struct genlmsghdr`.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;

/// Every device's features, by its index. `NotFound`: the kernel is older than that.
pub fn features() -> io::Result<BTreeMap<u32, Features>> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // The attribute's header, the name with its end, and padding.
    let mut name = vec![11, 0, CTRL_ATTR_FAMILY_NAME as u8, 0];
    name.extend(b"netdev\0\0");
    let mut family = None;
    talk(&socket, GENL_ID_CTRL, NLM_F_ACK, CTRL_CMD_GETFAMILY, &name, |attributes| {
        family = family.or(attribute(attributes, CTRL_ATTR_FAMILY_ID).and_then(number));
    })?;
    let family = family.and_then(|id| u16::try_from(id).ok()).ok_or(io::ErrorKind::NotFound)?;
    let mut all = BTreeMap::new();
    talk(&socket, family, NLM_F_DUMP, NETDEV_CMD_DEV_GET, &[], |attributes| {
        let index = attribute(attributes, NETDEV_A_DEV_IFINDEX).and_then(number);
        let features = attribute(attributes, NETDEV_A_DEV_XDP_FEATURES).and_then(number);
        if let (Some(index), Some(features)) = (index.and_then(|index| u32::try_from(index).ok()), features) {
            all.insert(index, Features(features));
        }
    })?;
    Ok(all)
}

/// Sends a request and takes the attributes of each answer, until an end or an acknowledgement.
fn talk(
    socket: &Socket,
    family: u16,
    flags: u16,
    command: u8,
    attributes: &[u8],
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut request = ((HEADERS + attributes.len()) as u32).to_ne_bytes().to_vec();
    request.extend(family.to_ne_bytes());
    request.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(attributes);
    socket.send(&request, 0)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while rest.len() >= HEADERS {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let message = rest.get(..length).filter(|_| length >= HEADERS).ok_or(io::ErrorKind::InvalidData)?;
            match u16::from_ne_bytes([message[4], message[5]]) {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = i32::from_ne_bytes([message[16], message[17], message[18], message[19]]);
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => each(&message[HEADERS..]),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// The value of an attribute.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some([l0, l1, k0, k1]) = rest.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([*k0, *k1]) == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// A number of two, four or eight bytes.
fn number(value: &[u8]) -> Option<u64> {
    match *value {
        [a, b] => Some(u16::from_ne_bytes([a, b]).into()),
        [a, b, c, d] => Some(u32::from_ne_bytes([a, b, c, d]).into()),
        _ => value.try_into().map(u64::from_ne_bytes).ok(),
    }
}
