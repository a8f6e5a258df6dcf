//! Which endpoint a flow belongs to, the same on every node: Maglev hashing.
//!
//! A set has a table of `size` places, each with a slot of the set; a flow's hash names the place. How a table comes about
//! follows from the endpoints alone ("Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4), so that
//! nodes agree without knowing of each other, and one that loses its connections, or gets another's, goes on with their
//! endpoints. User space fills the tables; a flow costs one look, however many endpoints there are.

use crate::FlowKey;
use crate::plain::plain;

/// Places in a [`Row`]: a power of two.
pub const ROW: usize = 256;

/// A part of a table: row `n` has the places from `n * ROW` on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// A slot for each place.
    pub slots: [u16; ROW],
}

plain!(Row { slots: [u16; ROW] });

impl Row {
    /// The slot in a place of the table.
    #[inline(always)]
    pub const fn slot(&self, place: u32) -> u16 {
        self.slots[place as usize % ROW]
    }
}

/// The place of a flow in a table of this size.
#[inline(always)]
pub const fn place(flow: u64, size: u32) -> u32 {
    (((flow >> 32) * size as u64) >> 32) as u32
}

/// A hash of a flow; with affinity, of its client alone.
#[inline(always)]
pub const fn flow(key: &FlowKey, affinity: bool) -> u64 {
    let client = address(0, &key.source.words);
    if affinity {
        return client;
    }
    let ports = key.source_port as u64 | (key.destination_port as u64) << 16 | (key.protocol as u64) << 32;
    mix(address(client, &key.destination.words), ports)
}

/// A hash that goes on with an address.
#[inline(always)]
pub const fn address(hash: u64, words: &[u32; 4]) -> u64 {
    let high = words[0] as u64 | (words[1] as u64) << 32;
    let low = words[2] as u64 | (words[3] as u64) << 32;
    mix(mix(hash, high), low)
}

/// A round of splitmix64: every bit of the result depends on every bit before.
#[inline(always)]
pub const fn mix(hash: u64, word: u64) -> u64 {
    let mut hash = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
