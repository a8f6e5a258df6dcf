//! Where a translated packet goes: straight to the device's queue, past the stack; or, of a pod's cable, straight to the pod's end,
//! past the queue too.
//!
//! The stack would refuse a packet that arrives with one of its own addresses as the source, and connection tracking
//! must see neither half of a translation. What is for this node goes up the stack.

use core::mem::{size_of, zeroed};

use aya_ebpf::bindings::{TC_ACT_SHOT, bpf_fib_lookup as Lookup, bpf_redir_neigh};
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::programs::TcContext;
use orlop_ebpf::{Address, FlowKey, device_flags};

use crate::headers::ETHERNET;
use crate::hook::Hook;
use crate::maps::DEVICES;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `BPF_FIB_LKUP_RET_*` (include/uapi/linux/bpf.h).
pub const SUCCESS: i64 = 0;
const NOT_FORWARDED: i64 = 4;
const FORWARDING_DISABLED: i64 = 5;
const NO_NEIGHBOUR: i64 = 7;
const FRAGMENTATION_NEEDED: i64 = 8;
/// `BPF_FIB_LOOKUP_OUTPUT`: as a packet of this node, where forwarding is off.
const OUTPUT: u32 = 2;

/// A packet length that fits every way. The kernel answers a question with a length by the route's MTU (with what it
/// learned of the path), in the same field, and one without by the device's.
const ANY_LENGTH: u16 = 1;

/// A packet for this host (include/uapi/linux/if_packet.h).
const PACKET_HOST: u32 = 0;

/// Where to.
#[derive(Clone, Copy)]
pub enum Route {
    /// Out of a device, to a next hop.
    Out {
        /// Its index.
        device: u32,
        /// As [`orlop_ebpf::Flow::next_hop`].
        next_hop: Address,
        /// The largest packet that goes this way; zero when unknown.
        mtu: u32,
    },
    /// Up this node's stack.
    Here,
    /// Nowhere.
    None,
}

/// A question where a packet with `key` goes, but for whence and how long.
#[inline(always)]
pub fn ask_for(lookup: &mut Lookup, tos: u8, key: &FlowKey) {
    lookup.l4_protocol = key.protocol as u8;
    lookup.sport = key.source_port;
    lookup.dport = key.destination_port;
    if key.destination.is_v4() {
        lookup.family = AF_INET;
        lookup.__bindgen_anon_2.tos = tos;
        lookup.__bindgen_anon_3.ipv4_src = key.source.words[3];
        lookup.__bindgen_anon_4.ipv4_dst = key.destination.words[3];
    } else {
        lookup.family = AF_INET6;
        lookup.__bindgen_anon_3.ipv6_src = key.source.words;
        lookup.__bindgen_anon_4.ipv6_dst = key.destination.words;
    }
}

/// Asks the FIB of the packet's network namespace where a packet with `key` goes.
#[inline(always)]
pub fn find<H: Hook>(context: &H, tos: u8, key: &FlowKey) -> Route {
    // SAFETY: plain integers.
    let mut lookup: Lookup = unsafe { zeroed() };
    ask_for(&mut lookup, tos, key);
    // SAFETY: the context is the one this program was called with, and the struct is of the size given.
    unsafe {
        lookup.ifindex = context.device();
        lookup.__bindgen_anon_1.tot_len = ANY_LENGTH;
        let size = size_of::<Lookup>() as i32;
        let mut result = bpf_fib_lookup(context.any(), &raw mut lookup, size, 0);
        if result == FORWARDING_DISABLED {
            lookup.ifindex = context.device();
            lookup.__bindgen_anon_1.tot_len = ANY_LENGTH;
            result = bpf_fib_lookup(context.any(), &raw mut lookup, size, OUTPUT);
        }
        match result {
            SUCCESS | NO_NEIGHBOUR | FRAGMENTATION_NEEDED => {
                // Without a neighbour it is not set.
                let mtu = match lookup.__bindgen_anon_1.mtu_result {
                    ANY_LENGTH => 0,
                    mtu => u32::from(mtu),
                };
                if result == SUCCESS && hands_over(lookup.ifindex) {
                    let next_hop = Address::link([lookup.dmac, lookup.smac]);
                    return Route::Out { device: lookup.ifindex, next_hop, mtu };
                }
                // A route of IPv4 may lead through a neighbour of IPv6 (RFC 5549).
                let next_hop = if lookup.family == AF_INET {
                    Address::v4(lookup.__bindgen_anon_4.ipv4_dst)
                } else {
                    Address { words: lookup.__bindgen_anon_4.ipv6_dst }
                };
                Route::Out { device: lookup.ifindex, next_hop, mtu }
            }
            NOT_FORWARDED => Route::Here,
            _ => Route::None,
        }
    }
}

#[inline(always)]
fn hands_over(device: u32) -> bool {
    // SAFETY: read once; the map is not preallocated.
    unsafe { DEVICES.get(&device) }.is_some_and(|device| device.flags & device_flags::HANDS_OVER != 0)
}

/// Since when a route counts as known. While the neighbour is unknown so is the way's width: the next packet asks again.
#[inline(always)]
pub fn known_since(device: u32, mtu: u32, now: u64) -> u64 {
    if device != 0 && mtu == 0 { 0 } else { now }
}

/// Sends the packet out of a device; the neighbour's link address is the kernel's to find. Only for what arrives.
#[inline(always)]
pub fn send(context: &TcContext, device: u32, next_hop: &Address) -> i32 {
    if let Some(link) = next_hop.as_link() {
        // What a bridge's port received for the bridge counts as another host's, and before Linux 6.15 stays so over there. It cannot
        // fail: both types are among the allowed.
        let _ = context.change_type(PACKET_HOST);
        let data = context.data();
        if data + ETHERNET > context.data_end() {
            return TC_ACT_SHOT;
        }
        // SAFETY: within the packet, as just checked; writable as said in `packet::write`. The helper takes numbers.
        return unsafe {
            *(data as *mut [[u8; 6]; 2]) = link;
            bpf_redirect_peer(device, 0) as i32
        };
    }
    // SAFETY: plain integers.
    let mut neighbour: bpf_redir_neigh = unsafe { zeroed() };
    if next_hop.is_v4() {
        neighbour.nh_family = u32::from(AF_INET);
        neighbour.__bindgen_anon_1.ipv4_nh = next_hop.words[3];
    } else {
        neighbour.nh_family = u32::from(AF_INET6);
        neighbour.__bindgen_anon_1.ipv6_nh = next_hop.words;
    }
    // SAFETY: the struct is of the size given.
    unsafe { bpf_redirect_neigh(device, &raw mut neighbour, size_of::<bpf_redir_neigh>() as i32, 0) as i32 }
}
