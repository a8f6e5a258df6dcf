//! IPv6 extension headers (RFC 8200, section 4): what stands between an IPv6 header and the transport header.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;

/// How many a packet may have.
const MOST: u32 = 8;
/// How far into a packet we look; all ones, so that it is a mask too.
pub const FARTHEST: u32 = 0x1ff;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

const MORE: u64 = 1;
const OFFSET: u16 = 0xfff8;

/// Bits of a [`Chain`], as one number that a function can return.
const IS_FIRST: u64 = 1 << 25;
const IS_LATER: u64 = 1 << 26;

/// Where the chain of headers ends.
#[derive(Clone, Copy)]
pub struct Chain(u64);

impl Chain {
    /// Where what follows begins.
    #[inline(always)]
    pub fn end(self) -> usize {
        (self.0 as u32 & FARTHEST) as usize
    }

    /// The protocol of what follows.
    #[inline(always)]
    pub fn protocol(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Whether it is the beginning of a datagram in fragments.
    #[inline(always)]
    pub fn is_first(self) -> bool {
        self.0 & IS_FIRST != 0
    }

    /// Whether it is the rest of one.
    #[inline(always)]
    pub fn is_later(self) -> bool {
        self.0 & IS_LATER != 0
    }

    /// What the datagram's fragments have in common.
    #[inline(always)]
    pub fn identification(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Follows the headers from `at` on, the first of which is a `next`.
#[inline(always)]
pub fn follow(skb: *mut __sk_buff, at: usize, next: u8) -> Option<Chain> {
    match walk(skb, at as u32, u32::from(next)) {
        0 => None,
        chain => Some(Chain(chain)),
    }
}

#[inline(never)]
fn walk(skb: *mut __sk_buff, at: u32, next: u32) -> u64 {
    let (mut at, mut next, mut fragment) = (at, next as u8, 0);
    for _ in 0..MOST {
        if at > FARTHEST {
            return 0;
        }
        let mut head = [0_u8; 8];
        let fixed = match next {
            HOP_BY_HOP | ROUTING | DESTINATION => 0,
            AUTHENTICATION => 1,
            FRAGMENT => 2,
            _ => return u64::from(at) | u64::from(next) << 16 | fragment,
        };
        // SAFETY: the context is the one the program was called with; the buffer has eight bytes.
        if unsafe { bpf_skb_load_bytes(skb.cast(), at, head.as_mut_ptr().cast(), 8) } != 0 {
            return 0;
        }
        next = head[0];
        at += match fixed {
            0 => (u32::from(head[1]) + 1) * 8,
            1 => (u32::from(head[1]) + 2) * 4,
            _ => 8,
        };
        if fixed == 2 {
            let place = u16::from_be_bytes([head[2], head[3]]);
            let id = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
            fragment = u64::from(id) << 32;
            if place & OFFSET != 0 {
                // What follows is no header.
                return u64::from(at) | u64::from(next) << 16 | fragment | IS_LATER;
            }
            if u64::from(place) & MORE != 0 {
                fragment |= IS_FIRST;
            }
        }
    }
    0
}
