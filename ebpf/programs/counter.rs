//! Counting.

use core::arch::asm;

use orlop_ebpf::{Backend, MemberKey, Tally};

use crate::maps::{COUNTERS, MEMBERS};

/// Adds one to a node-wide counter.
#[inline(always)]
pub fn count(counter: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: an element of a per-CPU array, that programs on this CPU alone write.
        unsafe { *value += 1 }
    }
}

/// Counts a connection to an endpoint of a set.
#[inline(always)]
pub fn connection(set: u32, backend: &Backend) {
    for key in [MemberKey { set, backend: *backend }, MemberKey::total(set)] {
        if let Some(tally) = MEMBERS.get_ptr_mut(&key) {
            // SAFETY: an element of a map that is not preallocated: it lives until the program ends.
            unsafe { add(&raw mut (*tally).connections, 1) };
        }
    }
}

/// Counts packets between clients and an endpoint of a set.
#[inline(always)]
pub fn traffic(set: u32, backend: &Backend, packets: u64, bytes: u64) {
    for key in [MemberKey { set, backend: *backend }, MemberKey::total(set)] {
        if let Some(tally) = MEMBERS.get_ptr_mut(&key) {
            // SAFETY: as for connections.
            unsafe {
                add(&raw mut (*tally).packets, packets);
                add(&raw mut (*tally).bytes, bytes);
            }
        }
    }
}

/// Counts a socket's connection that was established after some nanoseconds.
#[inline(always)]
pub fn handshake(set: u32, backend: &Backend, time: u64) {
    for key in [MemberKey { set, backend: *backend }, MemberKey::total(set)] {
        if let Some(tally) = MEMBERS.get_ptr_mut(&key) {
            let tally: *mut Tally = tally;
            // SAFETY: as for connections.
            unsafe {
                add(&raw mut (*tally).handshakes, 1);
                add(&raw mut (*tally).handshake_time, time);
            }
        }
    }
}

/// # Safety
/// The number is aligned, and lives as long as the program.
#[inline(always)]
unsafe fn add(number: *mut u64, more: u64) {
    // SAFETY: by the contract. The bpf target has no `fetch_add` in core (it lacks compare-and-swap before v3), but every
    // kernel has this instruction.
    unsafe { asm!("lock *(u64 *)({number} + 0) += {more}", number = in(reg) number, more = in(reg) more) }
}
