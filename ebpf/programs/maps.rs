//! Every map. All but those that hold what a program works on are pinned by name under the ABI's hash; those that user space fills grow with use.
//! Where the machine is small, the loader makes them smaller.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray};
use orlop_ebpf::maglev::Row;
use orlop_ebpf::{
    Address, AffinityClient, AffinityEntry, AnswerKey, Backend, BackendKey, Config, Connection, Device, Flow, FlowKey,
    FragmentKey, Frontend, FrontendKey, MemberKey, Set, Talk, TalkKey, Talks, Tally, counters,
};

use crate::errors::Quote;
use crate::packet::Packet;
use crate::track::Opening;

/// The node, element 0.
#[map]
pub static CONFIG: Array<Config> = Array::pinned(1, 0);

/// Addresses that mean something: a packet to any other is nobody's.
#[map]
pub static ADDRESSES: HashMap<Address, u32> = HashMap::pinned(131_072, BPF_F_NO_PREALLOC);

/// Services.
#[map]
pub static FRONTENDS: HashMap<FrontendKey, Frontend> = HashMap::pinned(262_144, BPF_F_NO_PREALLOC);

/// Endpoint sets.
#[map]
pub static SETS: Array<Set> = Array::pinned(262_144, 0);

/// Slots of endpoint sets.
#[map]
pub static BACKENDS: HashMap<BackendKey, Backend> = HashMap::pinned(524_288, BPF_F_NO_PREALLOC);

/// Rows of the sets' Maglev tables; [`BackendKey::slot`] is the row's number.
#[map]
pub static MAGLEV: HashMap<BackendKey, Row> = HashMap::pinned(131_072, BPF_F_NO_PREALLOC);

/// Members of endpoint sets, and what was counted of them.
#[map]
pub static MEMBERS: HashMap<MemberKey, Tally> = HashMap::pinned(524_288, BPF_F_NO_PREALLOC);

/// The endpoint a client stays with.
#[map]
pub static AFFINITY: LruHashMap<AffinityClient, AffinityEntry> = LruHashMap::pinned(32_768, 0);

/// `loadBalancerSourceRanges`: [`orlop_ebpf::SourceRange`].
#[map]
pub static SOURCE_RANGES: LpmTrie<[u32; 5], u32> = LpmTrie::pinned(262_144, 0);

/// The pod networks: [`orlop_ebpf::Cidr`].
#[map]
pub static CLUSTER_CIDRS: LpmTrie<Address, u32> = LpmTrie::pinned(1_024, 0);

/// Devices the node has programs on.
#[map]
pub static DEVICES: HashMap<u32, Device> = HashMap::pinned(16_384, BPF_F_NO_PREALLOC);

/// What a socket is connected to. Its pin is the loader's: a map of this form cannot ask for one.
#[btf_map]
pub static SOCKET_CONNECTIONS: SkStorage<Connection> = SkStorage::new();

/// Connected UDP sockets, by their cookies: whoever removes an endpoint must find those that it leaves stranded.
#[map]
pub static CONNECTED_UDP: HashMap<u64, Connection> = HashMap::pinned(65_536, BPF_F_NO_PREALLOC);

/// The Services an unconnected UDP socket sends to.
#[btf_map]
pub static SOCKET_TALKS: SkStorage<Talks> = SkStorage::new();

/// What such sockets have no room for.
#[map]
pub static OTHER_TALKS: LruHashMap<TalkKey, Talk> = LruHashMap::pinned(4_096, 0);

/// The answers to that.
#[map]
pub static OTHER_ANSWERS: LruHashMap<AnswerKey, Talk> = LruHashMap::pinned(4_096, 0);

/// Connections whose both sides have spoken.
#[map]
pub static FLOWS: LruHashMap<FlowKey, Flow> = LruHashMap::pinned(131_072, 0);

/// Connections that only one side has spoken on: a flood of them evicts none of the others.
#[map]
pub static HALF_OPEN: LruHashMap<FlowKey, Flow> = LruHashMap::pinned(32_768, 0);

/// The ports of datagrams that come in fragments, source in the low half.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, u32> = LruHashMap::pinned(8_192, 0);

/// The packet in hand.
#[map]
pub static PACKET: PerCpuArray<Packet> = PerCpuArray::with_max_entries(1, 0);

/// The ICMP error in hand.
#[map]
pub static QUOTE: PerCpuArray<Quote> = PerCpuArray::with_max_entries(1, 0);

/// Where a connection is put together before it is entered.
#[map]
pub static OPENING: PerCpuArray<Opening> = PerCpuArray::with_max_entries(1, 0);

/// Node-wide counters.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::pinned(counters::LEN, 0);
