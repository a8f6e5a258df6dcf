//! A device's egress: answers of endpoints in the node's own namespace, which no ingress sees, go out as the Service's.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use orlop_ebpf::flow_flags;

use crate::balance;
use crate::errors;
use crate::packet;
use crate::track;

/// The same devices as ingress.
#[classifier]
pub fn tc_egress(context: TcContext) -> i32 {
    let now = balance::now();
    let Some(packet) = packet::read(&context) else { return errors::translate_own(&context, now) };
    let Some((entry, table)) = track::find(&packet.key, now) else { return TC_ACT_UNSPEC };
    // SAFETY: an element of a map, as for `track::find`; copied before it moves to the other table.
    let (becomes, flags) = unsafe { ((*entry).becomes, (*entry).flags) };
    if flags & (flow_flags::REPLY | flow_flags::HOST) != flow_flags::REPLY | flow_flags::HOST {
        return TC_ACT_UNSPEC;
    }
    track::advance(entry, table, packet, now);
    packet.remember();
    match packet::write(&context, packet, &becomes, 0) {
        Some(()) => TC_ACT_UNSPEC,
        None => TC_ACT_SHOT,
    }
}
