//! The connection table: finding, advancing and opening entries.

use core::ffi::c_void;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_loop};
use orlop_ebpf::{Backend, Config, Flow, FlowKey, flow_flags};

use crate::counter;
use crate::maps::{FLOWS, HALF_OPEN, OPENING};
use crate::packet::Packet;

/// How many source ports are tried.
const TRIES: u32 = 24;

/// The other direction's entry hears of a packet when this bit of the time (in nanoseconds) has changed: each 8.6 s, well below
/// every timeout.
pub const TELL_OTHER: u32 = 33;

/// Where an entry is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Both sides have spoken.
    Flows,
    /// Only one.
    HalfOpen,
}

/// Finds the entry of a packet that has not expired. An expired one may stand in one table beside a new one in the other.
#[inline(always)]
pub fn find(key: &FlowKey, now: u64) -> Option<(*mut Flow, Table)> {
    if let Some(flow) = FLOWS.get_ptr_mut(key) {
        // SAFETY: an element of a map; reused under us it is another connection's, and one packet goes astray.
        if !unsafe { (*flow).is_expired(now) } {
            return Some((flow, Table::Flows));
        }
    }
    let flow = HALF_OPEN.get_ptr_mut(key)?;
    // SAFETY: as above.
    if unsafe { (*flow).is_expired(now) } { None } else { Some((flow, Table::HalfOpen)) }
}

/// Whether a new connection may take the place of this one: it is over.
#[inline(always)]
pub fn is_over(flow: &Flow) -> bool {
    flow.flags & (flow_flags::RESET | flow_flags::CLIENT_FIN | flow_flags::SERVER_FIN) != 0
}

/// Notes a packet: the time, and in both entries what it says of the connection's state. A connection that both sides
/// have spoken on moves where a flood cannot reach it.
#[inline(always)]
pub fn advance(flow: *mut Flow, table: Table, packet: &Packet, now: u64) {
    // SAFETY: an element of a map, as for `find`; races on these fields lose a count or repeat a change.
    let flow = unsafe { &mut *flow };
    // A flow that goes one way only lives on in the other direction's entry too; to say so every few seconds is enough.
    let tell = flow.seen >> TELL_OTHER != now >> TELL_OTHER;
    flow.seen = now;
    flow.packets += 1;
    flow.bytes += u64::from(packet.length);
    let reply = flow.flags & flow_flags::REPLY != 0;
    let mut news = 0;
    if flow.flags & flow_flags::ANSWERED == 0 && (reply || is_answered_elsewhere(flow, packet)) {
        news |= flow_flags::ANSWERED;
    }
    if packet.is_tcp() {
        if packet.fin() {
            news |= if reply { flow_flags::SERVER_FIN } else { flow_flags::CLIENT_FIN };
        }
        if packet.reset() {
            news |= flow_flags::RESET;
        }
    }
    if tell || flow.flags & news != news {
        flow.flags |= news;
        let backend = if reply {
            Backend { address: packet.key.source, port: packet.key.source_port, zero: 0 }
        } else {
            Backend { address: flow.becomes.destination, port: flow.becomes.destination_port, zero: 0 }
        };
        tally(flow, &backend);
        mark_other(&flow.other(&packet.key), news, now, &backend);
    }
    if table == Table::HalfOpen && !reply && flow.flags & flow_flags::ANSWERED != 0 && !packet.reset() {
        confirm(&packet.key, flow);
    }
}

/// Whether the client's packet shows that an endpoint has answered it that answers past this node: an acknowledgement
/// does, and that datagrams go on.
#[inline(always)]
fn is_answered_elsewhere(flow: &Flow, packet: &Packet) -> bool {
    flow.flags & flow_flags::DIRECT != 0
        && if packet.is_tcp() { !packet.opens() && !packet.reset() } else { flow.packets > 1 }
}

#[inline(never)]
fn mark_other(key: &FlowKey, news: u32, now: u64, backend: &Backend) {
    if let Some(flow) = FLOWS.get_ptr_mut(key).or_else(|| HALF_OPEN.get_ptr_mut(key)) {
        // SAFETY: as for `advance`.
        let flow = unsafe { &mut *flow };
        flow.flags |= news;
        flow.seen = now;
        tally(flow, backend);
    }
}

/// Adds to the endpoint's tally what it has not heard of yet. Each packet would cost too much: it is told at the turns of
/// a connection and every few seconds.
#[inline(always)]
fn tally(flow: &mut Flow, backend: &Backend) {
    let (packets, bytes) = (flow.packets - flow.told_packets, flow.bytes - flow.told_bytes);
    (flow.told_packets, flow.told_bytes) = (flow.packets, flow.bytes);
    // What was delivered here has been counted where it was sent on.
    let counted = flow.flags & (flow_flags::DELIVERED | flow_flags::REPLY) != flow_flags::DELIVERED;
    if packets != 0 && counted {
        counter::traffic(flow.set, backend, packets, bytes);
    }
}

/// Moves both entries of a connection. They are in at least one table at any moment.
#[inline(never)]
fn confirm(key: &FlowKey, flow: &Flow) {
    let other = flow.other(key);
    let Some(answer) = HALF_OPEN.get_ptr(&other) else { return };
    // SAFETY: as for `advance`.
    if FLOWS.insert(&other, unsafe { &*answer }, u64::from(BPF_ANY)).is_err() {
        return;
    }
    if FLOWS.insert(key, flow, u64::from(BPF_ANY)).is_err() {
        let _ = FLOWS.remove(&other);
        return;
    }
    let _ = HALF_OPEN.remove(key);
    let _ = HALF_OPEN.remove(&other);
}

/// Forgets a connection of which this is the client's entry.
#[inline(never)]
pub fn forget(key: &FlowKey, flow: &Flow) {
    remove_answering(&flow.other(key), key);
    let _ = FLOWS.remove(key);
    let _ = HALF_OPEN.remove(key);
}

/// Removes the entry of `key` if the direction that it answers is `of`: another connection may have the key since.
#[inline(always)]
fn remove_answering(key: &FlowKey, of: &FlowKey) {
    // SAFETY: as for `find`.
    if FLOWS.get_ptr(key).is_some_and(|flow| unsafe { &*flow }.other(key) == *of) {
        let _ = FLOWS.remove(key);
    }
    // SAFETY: as for `find`.
    if HALF_OPEN.get_ptr(key).is_some_and(|flow| unsafe { &*flow }.other(key) == *of) {
        let _ = HALF_OPEN.remove(key);
    }
}

/// A connection that is about to be entered. It lives in a map of this CPU: the stack has no room for it, and nothing
/// interrupts a program on a device for another.
#[repr(C)]
pub struct Opening {
    /// The client's packets as they arrive.
    pub key: FlowKey,
    /// As the client sent them.
    pub asked: FlowKey,
    /// What they become.
    pub flow: Flow,
    answer: Flow,
    port_min: u32,
    port_count: u32,
    /// The next port to try, counted from `port_min`.
    at: u32,
    found: u32,
}

/// Where the connection that a packet begins is put together. A pointer and no reference: the tries of a loop find it
/// for themselves.
#[inline(always)]
pub fn opening() -> Option<*mut Opening> {
    OPENING.get_ptr_mut(0)
}

/// Enters a connection. False when the answers could not be told from another connection's.
///
/// # Safety
/// What [`opening`] gave.
#[inline(never)]
pub unsafe fn open(opening: *mut Opening) -> bool {
    // SAFETY: this CPU's element, which nobody else has during this call.
    let Opening { key, asked, flow, answer, .. } = unsafe { &mut *opening };
    let other = flow.other(key);
    if !vacate(&other, flow.seen, false) {
        return false;
    }
    *answer = *flow;
    (answer.becomes, answer.flags, answer.device, answer.routed) =
        (asked.answer(), flow.flags | flow_flags::REPLY, 0, 0);
    // What the client had this port for before has expired, or it would have been found.
    if let Some(expired) = FLOWS.get_ptr(&*key) {
        // SAFETY: as for `find`.
        forget(key, unsafe { &*expired });
    }
    if HALF_OPEN.insert(&other, &*answer, u64::from(BPF_NOEXIST)).is_err() {
        return false;
    }
    if HALF_OPEN.insert(&*key, &*flow, u64::from(BPF_ANY)).is_err() {
        let _ = HALF_OPEN.remove(&other);
        return false;
    }
    true
}

/// Whether nobody's answers have this key, after removing a connection that has expired, or is `closed`.
#[inline(always)]
pub fn vacate(key: &FlowKey, now: u64, closed: bool) -> bool {
    let held = match FLOWS.get_ptr(key) {
        Some(flow) => flow,
        None => match HALF_OPEN.get_ptr(key) {
            Some(flow) => flow,
            None => return true,
        },
    };
    // SAFETY: as for `find`.
    let flow = unsafe { &*held };
    if !flow.is_expired(now) && !(closed && flow.is_closed()) {
        return false;
    }
    remove_answering(&flow.other(key), key);
    let _ = FLOWS.remove(key);
    let _ = HALF_OPEN.remove(key);
    true
}

/// [`open`] with a source port of ours, the first free one from a random start on.
///
/// # Safety
/// What [`opening`] gave.
#[inline(always)]
pub unsafe fn open_from_another_port(opening: *mut Opening, config: &Config) -> bool {
    if config.port_count == 0 {
        return false;
    }
    // SAFETY: this CPU's element; the callback has the signature the helper calls, and finds the element by itself.
    unsafe {
        (*opening).at = bpf_get_prandom_u32() % config.port_count;
        ((*opening).port_min, (*opening).port_count) = (config.port_min, config.port_count);
        (*opening).found = 0;
        bpf_loop(TRIES, attempt as *mut c_void, core::ptr::null_mut(), 0);
        (*opening).found != 0
    }
}

/// One try in a loop of the kernel's, which is verified once and not as often as it may run.
#[inline(never)]
unsafe extern "C" fn attempt(_: u32, _: *mut c_void) -> i64 {
    const GO_ON: i64 = 0;
    const END: i64 = 1;
    let Some(search) = opening() else { return END };
    // SAFETY: as for `open_from_another_port`.
    unsafe {
        (*search).flow.becomes.source_port = (((*search).port_min + (*search).at) as u16).to_be();
        if open(search) {
            (*search).found = 1;
            return END;
        }
        (*search).at += 1;
        if (*search).at >= (*search).port_count {
            (*search).at = 0;
        }
    }
    GO_ON
}
