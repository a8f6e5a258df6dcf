//! ICMP errors about translated packets: "too big", "unreachable" and "time exceeded" must reach the sender they are
//! about, and quote the packet as it was sent. Path MTU discovery depends on it.

use core::mem::size_of;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use aya_ebpf::programs::TcContext;
use orlop_ebpf::{Address, FlowKey, TCP, UDP, flow_flags};

use crate::checksum::{fold16, fold32, replaced};
use crate::extension;
use crate::headers::{
    ETH_P_IP, ETH_P_IPV6, ETHERNET, FRAGMENT_OFFSET, ICMP, ICMPV6, Icmp, Ipv4, Ipv6, TRANSPORT, TRANSPORT6,
};
use crate::hook::Hook as _;
use crate::maps::QUOTE;
use crate::packet::{self, pair, readdressed, within};
use crate::route::{self, Route};
use crate::track;

/// As much as an error may need to show its quoted packet's ports: two IPv4 headers with all their options, or IPv6 ones
/// and some extension headers.
const ENOUGH: usize = ETHERNET + 60 + size_of::<Icmp>() + 60 + 8;

const DESTINATION_UNREACHABLE: u8 = 3;
const TIME_EXCEEDED: u8 = 11;
/// ICMPv6's errors: unreachable, too big, time exceeded, parameter problem.
const ERRORS6: core::ops::RangeInclusive<u8> = 1..=4;

/// An error as it stands.
pub struct Quote {
    v6: bool,
    ttl: u8,
    tos: u8,
    /// Where its ICMP header, before the quoted IP header, and the quoted ports are.
    icmp: usize,
    ports: usize,
    /// From whom to whom.
    outer: FlowKey,
    /// The packet it is about.
    about: FlowKey,
}

/// At a device's ingress: translates the error and sends it on its way.
#[inline(never)]
pub fn pass_on(skb: *mut __sk_buff, now: u64) -> i32 {
    let context = &TcContext::new(skb);
    let Some(quote) = read(context) else { return TC_ACT_UNSPEC };
    let Some((entry, _)) = track::find(&quote.about.answer(), now) else { return TC_ACT_UNSPEC };
    // SAFETY: an element of a map, as for `track::find`.
    let becomes = unsafe { (*entry).becomes };
    let way = way(quote, &becomes);
    let (device, next_hop) = match route::find(context, quote.tos, &way) {
        Route::Out { device, next_hop, .. } => (device, next_hop),
        Route::Here => (0, way.destination),
        Route::None => return TC_ACT_SHOT,
    };
    let hops = u8::from(device != 0);
    if quote.ttl <= hops || write(context, quote, &way, &becomes, hops).is_none() {
        return TC_ACT_SHOT;
    }
    if device == 0 { TC_ACT_UNSPEC } else { route::send(context, device, &next_hop) }
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
    match write(context, quote, &way(quote, &becomes), &becomes, 0) {
        Some(()) => TC_ACT_UNSPEC,
        None => TC_ACT_SHOT,
    }
}

/// From whom to whom the error goes on. One of the other side itself comes from whom the sender knows; one of a router on
/// the way from the router.
#[inline(always)]
fn way(quote: &Quote, becomes: &FlowKey) -> FlowKey {
    let source = if quote.outer.source == quote.about.destination { becomes.source } else { quote.outer.source };
    FlowKey { source, destination: becomes.destination, ..quote.outer }
}

#[inline(always)]
fn between(source: Address, destination: Address, protocol: u8) -> FlowKey {
    FlowKey { source, destination, source_port: 0, destination_port: 0, protocol: u32::from(protocol) }
}

/// Reads the error into a map of this CPU, as `packet::read` does.
#[inline(always)]
fn read(context: &TcContext) -> Option<&'static Quote> {
    if !fill(context.skb.skb) {
        return None;
    }
    // SAFETY: this CPU's element, which nobody changes while the program runs.
    QUOTE.get_ptr(0).map(|quote| unsafe { &*quote })
}

#[inline(never)]
fn fill(skb: *mut __sk_buff) -> bool {
    // SAFETY: as for `read`.
    let Some(quote) = QUOTE.get_ptr_mut(0).map(|quote| unsafe { &mut *quote }) else { return false };
    parse(&TcContext::new(skb), quote).is_some()
}

#[inline(always)]
fn parse(context: &TcContext, quote: &mut Quote) -> Option<()> {
    match context.protocol() {
        ETH_P_IP => read_v4(context, quote)?,
        ETH_P_IPV6 => read_v6(context, quote)?,
        _ => return None,
    }
    let at = context.data() + within(quote.ports);
    if at + 8 > context.data_end() || quote.about.protocol != u32::from(TCP) && quote.about.protocol != u32::from(UDP) {
        return None;
    }
    // SAFETY: within the packet, as just checked.
    [quote.about.source_port, quote.about.destination_port] = unsafe { *(at as *const [u16; 2]) };
    Some(())
}

#[inline(always)]
fn read_v4(context: &TcContext, quote: &mut Quote) -> Option<()> {
    let data = context.data();
    if data + TRANSPORT > context.data_end() {
        return None;
    }
    // SAFETY: the header lies within the packet, as just checked.
    let ip = unsafe { *((data + ETHERNET) as *const Ipv4) };
    let [ttl, protocol] = ip.ttl_protocol.to_ne_bytes();
    if protocol != ICMP || ip.size() == 0 || ip.fragment & FRAGMENT_OFFSET != 0 {
        return None;
    }
    context.pull(ENOUGH);
    let icmp = ETHERNET + ip.size();
    let at = context.data() + within(icmp);
    if at + size_of::<Icmp>() + size_of::<Ipv4>() > context.data_end() {
        return None;
    }
    // SAFETY: within the packet, as just checked.
    let (head, about) = unsafe { (&*(at as *const Icmp), &*((at + size_of::<Icmp>()) as *const Ipv4)) };
    let error = head.kind == DESTINATION_UNREACHABLE || head.kind == TIME_EXCEEDED;
    if !error || about.size() == 0 || about.fragment & FRAGMENT_OFFSET != 0 {
        return None;
    }
    let [_, protocol] = about.ttl_protocol.to_ne_bytes();
    (quote.v6, quote.ttl, quote.tos, quote.icmp) = (false, ttl, ip.tos, icmp);
    quote.ports = icmp + size_of::<Icmp>() + about.size();
    quote.outer = between(Address::v4(ip.source), Address::v4(ip.destination), ICMP);
    quote.about = between(Address::v4(about.source), Address::v4(about.destination), protocol);
    Some(())
}

#[inline(always)]
fn read_v6(context: &TcContext, quote: &mut Quote) -> Option<()> {
    const ICMP_AT: usize = TRANSPORT6;
    const QUOTED: usize = ICMP_AT + size_of::<Icmp>();
    const PORTS: usize = QUOTED + size_of::<Ipv6>();
    let data = context.data();
    if data + TRANSPORT6 > context.data_end() {
        return None;
    }
    // SAFETY: the header lies within the packet, as just checked.
    let ip = unsafe { *((data + ETHERNET) as *const Ipv6) };
    if ip.next != ICMPV6 {
        return None;
    }
    context.pull(ENOUGH);
    let (data, end) = (context.data(), context.data_end());
    if data + PORTS > end {
        return None;
    }
    // SAFETY: within the packet, as just checked.
    let (head, about) = unsafe { (&*((data + ICMP_AT) as *const Icmp), *((data + QUOTED) as *const Ipv6)) };
    if !ERRORS6.contains(&head.kind) {
        return None;
    }
    let (mut protocol, mut ports) = (about.next, PORTS);
    if protocol != TCP && protocol != UDP {
        let chain = extension::follow(context.skb.skb, PORTS, protocol).filter(|chain| !chain.is_later())?;
        (protocol, ports) = (chain.protocol(), chain.end());
    }
    (quote.v6, quote.ttl, quote.tos, quote.icmp, quote.ports) = (true, ip.hops, 0, ICMP_AT, ports);
    quote.outer = between(Address { words: ip.source }, Address { words: ip.destination }, ICMPV6);
    quote.about = between(Address { words: about.source }, Address { words: about.destination }, protocol);
    Some(())
}

/// Addresses the error to the sender; `becomes` is what the other side's packets become, and so turned around what the
/// sender sent.
#[inline(always)]
fn write(context: &TcContext, quote: &Quote, way: &FlowKey, becomes: &FlowKey, hops: u8) -> Option<()> {
    let (old, sent) = (&quote.about, becomes.answer());
    let mut change = replaced(pair(old), pair(&sent));
    if quote.v6 {
        change += packet::write_v6(context, &quote.outer, way, hops)?;
        change += readdressed(&old.source, &sent.source) + readdressed(&old.destination, &sent.destination);
    } else {
        packet::write_v4(context, &quote.outer, way, hops)?;
    }
    let (icmp, ports) = (context.data() + within(quote.icmp), context.data() + within(quote.ports));
    let size = if quote.v6 { size_of::<Ipv6>() } else { size_of::<Ipv4>() };
    if icmp + size_of::<Icmp>() + size > context.data_end() || ports + 4 > context.data_end() {
        return None;
    }
    // SAFETY: within the packet, as just checked, and apart.
    unsafe {
        let quoted = icmp + size_of::<Icmp>();
        if quote.v6 {
            let quoted = &mut *(quoted as *mut Ipv6);
            (quoted.source, quoted.destination) = (sent.source.words, sent.destination.words);
        } else {
            let quoted = &mut *(quoted as *mut Ipv4);
            let (source, destination) = (sent.source.words[3], sent.destination.words[3]);
            // The quoted header and its checksum change by what cancels out: the error's own checksum feels only the ports.
            let gain = replaced(quoted.source, source) + replaced(quoted.destination, destination);
            quoted.checksum = !fold16(gain + u64::from(!quoted.checksum));
            (quoted.source, quoted.destination) = (source, destination);
        }
        *(ports as *mut [u16; 2]) = [sent.source_port, sent.destination_port];
        bpf_l4_csum_replace(context.skb.skb, (quote.icmp + 2) as u32, 0, u64::from(fold32(change)), 0);
    }
    Some(())
}
