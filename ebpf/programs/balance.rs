//! Finding a Service and choosing one of its endpoints: the same for sockets and packets.

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns};
use aya_ebpf::maps::lpm_trie::Key;
use orlop_ebpf::{
    Address, AffinityClient, AffinityEntry, Backend, BackendKey, Config, Frontend, FrontendKey, MemberKey,
    address_flags, maglev,
};

use crate::maps::{ADDRESSES, AFFINITY, BACKENDS, CONFIG, FRONTENDS, MAGLEV, MEMBERS, SETS, SOURCE_RANGES};

/// What an address and port are to the Services.
pub enum Found {
    /// Nobody's.
    Nothing,
    /// A cluster IP without that port.
    UnusedPort,
    /// A Service's.
    Frontend(Frontend),
}

/// The clock every entry is stamped with: cheap, and exact to a few milliseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing, gives a number.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The node's constants.
#[inline(always)]
pub fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// What is known of an address: [`address_flags`].
#[inline(always)]
pub fn address(address: &Address) -> u32 {
    // SAFETY: read once; the map is not preallocated, so that an element under a reader is never reused.
    unsafe { ADDRESSES.get(address) }.copied().unwrap_or(0)
}

/// Looks a destination up whose [`address`] flags are `known`.
#[inline(always)]
pub fn find(known: u32, destination: &Address, port: u16, protocol: u8) -> Found {
    let mut key = FrontendKey { address: *destination, port, protocol, zero: 0 };
    if known & address_flags::FRONTEND != 0 {
        // SAFETY: as for addresses.
        if let Some(frontend) = unsafe { FRONTENDS.get(&key) } {
            return Found::Frontend(*frontend);
        }
        if known & address_flags::CLUSTER_IP != 0 {
            return Found::UnusedPort;
        }
    }
    if known & address_flags::NODE_PORTS != 0 {
        key.address = destination.any();
        // SAFETY: as for addresses.
        if let Some(frontend) = unsafe { FRONTENDS.get(&key) } {
            return Found::Frontend(*frontend);
        }
    }
    Found::Nothing
}

/// One member of a set, each with the same chance; none when it is empty.
#[inline(always)]
pub fn choose(set: u32) -> Option<Backend> {
    // A set that shrinks under us has lost its last slot between the two reads: look again.
    for _ in 0..3 {
        let count = u64::from(SETS.get(set)?.count);
        if count == 0 {
            return None;
        }
        // SAFETY: takes nothing, gives a number.
        let random = u64::from(unsafe { bpf_get_prandom_u32() });
        let key = BackendKey { set, slot: ((random * count) >> 32) as u32 };
        // SAFETY: as for addresses.
        if let Some(backend) = unsafe { BACKENDS.get(&key) } {
            return Some(*backend);
        }
    }
    None
}

/// Whether an endpoint is a member of a set.
#[inline(always)]
pub fn is_member(set: u32, backend: &Backend) -> bool {
    MEMBERS.get_ptr(&MemberKey { set, backend: *backend }).is_some()
}

/// Whether a member of a set is an endpoint on this node.
#[inline(always)]
pub fn is_local(set: u32, backend: &Backend) -> bool {
    // SAFETY: as for addresses.
    unsafe { MEMBERS.get(&MemberKey { set, backend: *backend }) }.is_some_and(|member| member.local != 0)
}

/// [`choose`], but the client's last endpoint while its affinity lasts.
#[inline(always)]
pub fn choose_for(set: u32, affinity: u32, client: Address, how: How) -> Option<Backend> {
    if affinity == 0 {
        return how.choose(set);
    }
    let key = AffinityClient { client, set };
    let now = now();
    // SAFETY: copied at once; an entry reused under us holds some other client's living choice, which is_member checks.
    if let Some(entry) = unsafe { AFFINITY.get(&key) }.copied()
        && now.saturating_sub(entry.seen) <= u64::from(affinity) * 1_000_000_000
        && is_member(set, &entry.backend)
    {
        let _ = AFFINITY.insert(&key, &AffinityEntry { seen: now, ..entry }, 0);
        return Some(entry.backend);
    }
    let backend = how.choose(set)?;
    let _ = AFFINITY.insert(&key, &AffinityEntry { seen: now, backend, zero: 0 }, 0);
    Some(backend)
}

/// How an endpoint is chosen.
#[derive(Clone, Copy)]
pub enum How {
    /// By chance.
    Random,
    /// By the hash of the flow, of sets that have a table.
    Flow(u64),
}

impl How {
    #[inline(always)]
    fn choose(self, set: u32) -> Option<Backend> {
        if let Self::Flow(flow) = self
            && let Some(backend) = look_up(set, flow)
        {
            return Some(backend);
        }
        choose(set)
    }
}

/// The endpoint of a flow. None while the table is being written: its endpoint has just gone.
#[inline(always)]
fn look_up(set: u32, flow: u64) -> Option<Backend> {
    let size = SETS.get(set)?.table;
    if size == 0 {
        return None;
    }
    let place = maglev::place(flow, size);
    // SAFETY: as for addresses.
    unsafe {
        let row = MAGLEV.get(&BackendKey { set, slot: place / maglev::ROW as u32 })?;
        BACKENDS.get(&BackendKey { set, slot: row.slot(place).into() }).copied()
    }
}

/// Whether loadBalancerSourceRanges admit a source.
#[inline(always)]
pub fn admits(frontend: &Frontend, source: &Address) -> bool {
    let [a, b, c, d] = source.words;
    SOURCE_RANGES.get(&Key::new(160, [frontend.set, a, b, c, d])).is_some()
}
