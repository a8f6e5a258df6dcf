//! Counting.

use core::arch::asm;

use crate::maps::{CONNECTIONS, COUNTERS};

/// Adds one to a node-wide counter.
#[inline(always)]
pub fn count(counter: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: an element of a per-CPU array, that programs on this CPU alone write.
        unsafe { *value += 1 }
    }
}

/// Counts a connection to an endpoint set.
#[inline(always)]
pub fn connection(set: u32) {
    if let Some(value) = CONNECTIONS.get_ptr_mut(set) {
        // SAFETY: an aligned element of an array map, which lives as long as the program. The bpf target has no
        // `fetch_add` in core (it lacks compare-and-swap before v3), but every kernel has this instruction.
        unsafe { asm!("lock *(u64 *)({value} + 0) += {one}", value = in(reg) value, one = in(reg) 1_u64) }
    }
}
