//! Programs on devices as filters of the clsact qdisc, where the kernel is older than TCX (6.6).
//!
//! A filter is no link and needs no pin: it stays until it is removed or its device goes. Ours are known by their
//! priority and handle; a new program takes an old one's place at once.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use crate::rtnetlink;

/// Nobody else's by chance, and before the usual ones.
const PRIORITY: u32 = 0x0b0f;
const HANDLE: u32 = 1;
const ETH_P_ALL: u16 = 3;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// Which packets of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Those that arrive.
    Ingress,
    /// Those that leave.
    Egress,
}

/// Makes this program the one of ours on a device.
pub fn attach(device: u32, direction: Direction, program: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut qdisc = TcMessage::with_index(device.cast_signed());
    qdisc.header.handle = TcHandle { major: u16::MAX, minor: 0 };
    qdisc.header.parent = TcHandle::CLSACT;
    qdisc.attributes = vec![TcAttribute::Kind("clsact".into())];
    let create = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    match rtnetlink::talk(RouteNetlinkMessage::NewQueueDiscipline(qdisc), create, |_| {}) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    let name = [name.as_bytes(), &[0]].concat();
    let option = |kind, value| TcOption::Other(DefaultNla::new(kind, value));
    let mut filter = filter(device, direction);
    filter.attributes.push(TcAttribute::Options(vec![
        option(TCA_BPF_FD, program.as_raw_fd().to_ne_bytes().to_vec()),
        option(TCA_BPF_NAME, name),
        option(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes().to_vec()),
    ]));
    let replace = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    rtnetlink::talk(RouteNetlinkMessage::NewTrafficFilter(filter), replace, |_| {})
}

/// Removes our program from a device, where there is one. The qdisc stays: others may use it.
pub fn detach(device: u32, direction: Direction) -> io::Result<()> {
    let filter = filter(device, direction);
    match rtnetlink::talk(RouteNetlinkMessage::DelTrafficFilter(filter), NLM_F_REQUEST | NLM_F_ACK, |_| {}) {
        // No such device, no clsact on it, or no filter of ours.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL | libc::ENOENT)) => Ok(()),
        other => other,
    }
}

fn filter(device: u32, direction: Direction) -> TcMessage {
    let mut message = TcMessage::with_index(device.cast_signed());
    let minor = match direction {
        Direction::Ingress => TcHandle::MIN_INGRESS,
        Direction::Egress => TcHandle::MIN_EGRESS,
    };
    message.header.parent = TcHandle { major: u16::MAX, minor };
    message.header.handle = TcHandle::from(HANDLE);
    message.header.info = PRIORITY << 16 | u32::from(ETH_P_ALL.to_be());
    message.attributes = vec![TcAttribute::Kind("bpf".into())];
    message
}
