//! ICMP errors about translated packets: "too big", "unreachable" and "time exceeded" must reach the sender they are
//! about, and quote the packet as it was sent. Path MTU discovery depends on it.

use core::mem::size_of;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::{bpf_l4_csum_replace, bpf_skb_pull_data};
use aya_ebpf::programs::TcContext;
use orlop_ebpf::{FlowKey, TCP, UDP, flow_flags};

use crate::checksum::{fold16, fold32, replaced};
use crate::headers::{ETH_P_IP, ETHERNET, FRAGMENT_OFFSET, ICMP, Icmp, Ipv4, PLAIN_HEADER, TRANSPORT};
use crate::packet::pair;
use crate::route::{self, Route};
use crate::track;

/// Where the quoted packet and its ports are.
const QUOTED: usize = TRANSPORT + size_of::<Icmp>();
const QUOTED_PORTS: usize = QUOTED + size_of::<Ipv4>();
const END: usize = QUOTED_PORTS + 8;

const DESTINATION_UNREACHABLE: u8 = 3;
const TIME_EXCEEDED: u8 = 11;

/// An error as it stands.
struct Quote {
    source: u32,
    destination: u32,
    ttl: u8,
    tos: u8,
    /// The packet it is about.
    about: FlowKey,
}

/// At a device's ingress: translates the error and sends it on its way.
#[inline(always)]
pub fn pass_on(context: &TcContext, now: u64) -> i32 {
    let Some(quote) = read(context) else { return TC_ACT_UNSPEC };
    let Some((entry, _)) = track::find(&quote.about.answer(), now) else { return TC_ACT_UNSPEC };
    // SAFETY: an element of a map, as for `track::find`.
    let becomes = unsafe { (*entry).becomes };
    let source = source(&quote, &becomes);
    let way = FlowKey {
        source,
        destination: becomes.destination,
        source_port: 0,
        destination_port: 0,
        protocol: u32::from(ICMP),
    };
    let (device, next_hop) = match route::find(context, quote.tos, &way) {
        Route::Out { device, next_hop, .. } => (device, next_hop),
        Route::Here => (0, 0),
        Route::None => return TC_ACT_SHOT,
    };
    let hops = u8::from(device != 0);
    if quote.ttl <= hops || write(context, &quote, source, &becomes, hops).is_none() {
        return TC_ACT_SHOT;
    }
    if device == 0 { TC_ACT_UNSPEC } else { route::send(device, next_hop) }
}

/// At a device's egress: translates errors that this node's stack made about packets it was given.
#[inline(always)]
pub fn translate_own(context: &TcContext, now: u64) -> i32 {
    let Some(quote) = read(context) else { return TC_ACT_UNSPEC };
    let Some((entry, _)) = track::find(&quote.about.answer(), now) else { return TC_ACT_UNSPEC };
    // SAFETY: an element of a map, as for `track::find`.
    let flow = unsafe { &*entry };
    if !flow.is_reply() || flow.flags & flow_flags::HOST == 0 {
        return TC_ACT_UNSPEC;
    }
    let becomes = flow.becomes;
    match write(context, &quote, source(&quote, &becomes), &becomes, 0) {
        Some(()) => TC_ACT_UNSPEC,
        None => TC_ACT_SHOT,
    }
}

/// An error of the other side itself comes from whom the sender knows; one of a router on the way from the router.
#[inline(always)]
fn source(quote: &Quote, becomes: &FlowKey) -> u32 {
    if quote.source == quote.about.destination { becomes.source } else { quote.source }
}

#[inline(always)]
fn read(context: &TcContext) -> Option<Quote> {
    // SAFETY: the context is the one this program was called with.
    if unsafe { (*context.skb.skb).protocol } != u32::from(ETH_P_IP) {
        return None;
    }
    if context.data() + END > context.data_end() {
        // SAFETY: as above; packet pointers are read afresh below.
        unsafe { bpf_skb_pull_data(context.as_ptr().cast(), END as u32) };
    }
    let (data, end) = (context.data(), context.data_end());
    if data + END > end {
        return None;
    }
    // SAFETY: all of it lies within the packet, as just checked.
    let (ip, icmp, quoted, ports) = unsafe {
        (
            &*((data + ETHERNET) as *const Ipv4),
            &*((data + TRANSPORT) as *const Icmp),
            &*((data + QUOTED) as *const Ipv4),
            &*((data + QUOTED_PORTS) as *const [u16; 2]),
        )
    };
    let [ttl, protocol] = ip.ttl_protocol.to_ne_bytes();
    let [_, about] = quoted.ttl_protocol.to_ne_bytes();
    let error = protocol == ICMP && (icmp.kind == DESTINATION_UNREACHABLE || icmp.kind == TIME_EXCEEDED);
    let plain = ip.version == PLAIN_HEADER && quoted.version == PLAIN_HEADER;
    let whole = (ip.fragment | quoted.fragment) & FRAGMENT_OFFSET == 0;
    if !error || !plain || !whole || about != TCP && about != UDP {
        return None;
    }
    Some(Quote {
        source: ip.source,
        destination: ip.destination,
        ttl,
        tos: ip.tos,
        about: FlowKey {
            source: quoted.source,
            destination: quoted.destination,
            source_port: ports[0],
            destination_port: ports[1],
            protocol: u32::from(about),
        },
    })
}

/// Addresses the error to the sender; `becomes` is what the other side's packets become, and so turned around what the
/// sender sent.
#[inline(always)]
fn write(context: &TcContext, quote: &Quote, source: u32, becomes: &FlowKey, hops: u8) -> Option<()> {
    let (data, end) = (context.data(), context.data_end());
    if data + END > end {
        return None;
    }
    let (old, sent) = (&quote.about, becomes.answer());
    // SAFETY: all of it lies within the packet, as just checked, and apart.
    let (ip, quoted, ports) = unsafe {
        (
            &mut *((data + ETHERNET) as *mut Ipv4),
            &mut *((data + QUOTED) as *mut Ipv4),
            &mut *((data + QUOTED_PORTS) as *mut [u16; 2]),
        )
    };
    let before = ip.ttl_protocol;
    let [ttl, protocol] = before.to_ne_bytes();
    ip.ttl_protocol = u16::from_ne_bytes([ttl - hops, protocol]);
    ip.checksum = !fold16(
        replaced(quote.source, source)
            + replaced(quote.destination, becomes.destination)
            + u64::from(!before)
            + u64::from(ip.ttl_protocol)
            + u64::from(!ip.checksum),
    );
    (ip.source, ip.destination) = (source, becomes.destination);
    // The quoted header and its checksum change by what cancels out: the error's own checksum feels only the ports.
    quoted.checksum = !fold16(
        replaced(old.source, sent.source) + replaced(old.destination, sent.destination) + u64::from(!quoted.checksum),
    );
    (quoted.source, quoted.destination) = (sent.source, sent.destination);
    *ports = [sent.source_port, sent.destination_port];
    let change = fold32(replaced(pair(old), pair(&sent)));
    // SAFETY: the context is the one this program was called with.
    unsafe { bpf_l4_csum_replace(context.skb.skb, (TRANSPORT + 2) as u32, 0, u64::from(change), 0) };
    Some(())
}
