//! Layouts that values had in earlier builds, and what they are now. User space copies them over when it takes the place of
//! such a build.

use crate::plain::plain;
use crate::{Address, Flow, FlowKey};

/// A [`Flow`] of the time when nobody noted its first packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as Flow's")]
pub struct FlowBeforeOpened {
    pub becomes: FlowKey,
    pub set: u32,
    pub flags: u32,
    pub device: u32,
    pub mtu: u32,
    pub next_hop: Address,
    pub seen: u64,
    pub routed: u64,
    pub packets: u64,
    pub bytes: u64,
    pub told_packets: u64,
    pub told_bytes: u64,
}

plain!(FlowBeforeOpened {
    becomes: FlowKey,
    set: u32,
    flags: u32,
    device: u32,
    mtu: u32,
    next_hop: Address,
    seen: u64,
    routed: u64,
    packets: u64,
    bytes: u64,
    told_packets: u64,
    told_bytes: u64,
});

impl From<FlowBeforeOpened> for Flow {
    fn from(old: FlowBeforeOpened) -> Self {
        Self {
            becomes: old.becomes,
            set: old.set,
            flags: old.flags,
            device: old.device,
            mtu: old.mtu,
            next_hop: old.next_hop,
            seen: old.seen,
            routed: old.routed,
            // It is at least as old as its last packet.
            opened: old.seen,
            packets: old.packets,
            bytes: old.bytes,
            told_packets: old.told_packets,
            told_bytes: old.told_bytes,
        }
    }
}
