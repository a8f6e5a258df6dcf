//! The table's fixed skeleton: maps, base chains and their rules. Services and endpoints appear only as map elements.
//!
//! A new flow's first packet walks:
//!
//! ```text
//! prerouting|output -> services: frontends[daddr . proto . dport] (or, on a NodePort address, node-ports[proto . dport])
//!                                gives the policy; policies[policy] goes to its chain
//! policy-*:                      marks for masquerade as the policy says; groups (or node-port-groups), by the same key,
//!                                gives the group; balance[counts[group] . variant] goes to
//!                                (with affinity, a client in the map of that name goes to its endpoint, if that is
//!                                still one of the group's members)
//! to-N*:                         endpoints[group . random mod N] gives address and port for dnat
//! postrouting:                   masquerades what is marked, and a pod that reaches itself
//! ```
//!
//! Every value begins with a word of its own, [`LABEL`], which no key begins with: the program nft takes what a lookup
//! gives for 0 bits long, and aborts where such a register is the first of another key. It keeps no account of the
//! registers that follow a lookup's first one, so that a key there is printed as what was loaded before, and the
//! comparison of the label is what shows the map in a listing.
//!
//! `counts` is a map of its own so that a step from N to N+1 endpoints touches two elements, however many frontends lead
//! to the group. Verdict maps hold a handful of elements only: the kernel revalidates them as a whole when they change.

use orlop_plan::{Family, NFTABLES_SOURCE_PORTS, NodePortAddresses};

use crate::expr::{Address, Expr, Refusal, Verdict};

/// `AF_INET`, which is also `NFPROTO_IPV4`.
pub(crate) const IPV4: u8 = 2;
/// `AF_INET6`, which is also `NFPROTO_IPV6`.
pub(crate) const IPV6: u8 = 10;
/// The name of our tables.
pub(crate) const TABLE: &str = "orlop";
/// In `counts`: refuse.
pub(crate) const COUNT_REJECT: u32 = 0;
/// In `counts`: discard.
pub(crate) const COUNT_DROP: u32 = u32::MAX;
/// The first word of every value.
pub(crate) const LABEL: u32 = 1;
/// `RTN_LOCAL`.
const ROUTE_LOCAL: u32 = 2;

pub(crate) const FRONTENDS: &str = "frontends";
pub(crate) const NODE_PORTS: &str = "node-ports";
/// The group of each of `frontends`: a map of its own, because a rule cannot hand what it found to the next chain, and
/// `frontends` counts each flow once.
pub(crate) const GROUPS: &str = "groups";
/// The group of each of `node-ports`.
pub(crate) const NODE_PORT_GROUPS: &str = "node-port-groups";
pub(crate) const COUNTS: &str = "counts";
pub(crate) const ENDPOINTS: &str = "endpoints";
pub(crate) const CLUSTER_IPS: &str = "cluster-ips";
pub(crate) const NODE_IPS: &str = "node-ips";
pub(crate) const HAIRPIN: &str = "hairpin";
pub(crate) const PODS: &str = "pods";
pub(crate) const POLICIES: &str = "policies";
pub(crate) const BALANCE: &str = "balance";
pub(crate) const AFFINITY: &str = "affinity";
/// The endpoints of groups with affinity: a client whose endpoint is none of its group's any more is balanced anew.
pub(crate) const MEMBERS: &str = "members";
/// Frontends that left and whose conntrack entries may still be there: no rule looks here, only a restarted agent.
pub(crate) const LEAVING: &str = "leaving";

/// nft's numbers of the types it prints keys with.
mod datatype {
    pub const IPV4: u32 = 7;
    pub const IPV6: u32 = 8;
    pub const PROTOCOL: u32 = 12;
    pub const PORT: u32 = 13;
    pub const MARK: u32 = 19;
}

/// What a map or set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// Nothing: a set.
    None,
    /// A value of these fields.
    Value(&'static [Field]),
    /// A verdict.
    Verdict,
}

/// One field of a key or value; each takes whole registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Address,
    Protocol,
    Port,
    Number,
}

impl Field {
    const fn length(self, family: u8) -> u32 {
        match self {
            Self::Address if family == IPV6 => 16,
            _ => 4,
        }
    }

    const fn datatype(self, family: u8) -> u32 {
        match self {
            Self::Address if family == IPV6 => datatype::IPV6,
            Self::Address => datatype::IPV4,
            Self::Protocol => datatype::PROTOCOL,
            Self::Port => datatype::PORT,
            Self::Number => datatype::MARK,
        }
    }
}

/// A map or set of the skeleton.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetSpec {
    pub name: &'static str,
    pub key: &'static [Field],
    pub data: Data,
    pub interval: bool,
    pub dynamic: bool,
    /// Whether each element counts the packets that found it: first packets of flows, since only those come here.
    pub counted: bool,
}

/// The total length in bytes of fields in registers; a single field keeps its own length.
pub(crate) fn length(fields: &[Field], family: u8) -> u32 {
    fields.iter().map(|field| field.length(family)).sum()
}

/// nft's number for a (concatenated) type.
pub(crate) fn datatype(fields: &[Field], family: u8) -> u32 {
    fields.iter().fold(0, |all, field| (all << 6) | field.datatype(family))
}

/// Every map and set.
pub(crate) const SETS: &[SetSpec] = {
    use Field::{Address, Number, Port, Protocol};
    const fn map(name: &'static str, key: &'static [Field], data: &'static [Field]) -> SetSpec {
        SetSpec { name, key, data: Data::Value(data), interval: false, dynamic: false, counted: false }
    }
    const fn counted(name: &'static str, key: &'static [Field], data: &'static [Field]) -> SetSpec {
        SetSpec { counted: true, ..map(name, key, data) }
    }
    const fn set(name: &'static str, key: &'static [Field]) -> SetSpec {
        SetSpec { name, key, data: Data::None, interval: false, dynamic: false, counted: false }
    }
    const fn verdicts(name: &'static str, key: &'static [Field]) -> SetSpec {
        SetSpec { name, key, data: Data::Verdict, interval: false, dynamic: false, counted: false }
    }
    &[
        counted(FRONTENDS, &[Address, Protocol, Port], &[Number, Number]),
        counted(NODE_PORTS, &[Protocol, Port], &[Number, Number]),
        map(GROUPS, &[Address, Protocol, Port], &[Number, Number, Number]),
        map(NODE_PORT_GROUPS, &[Protocol, Port], &[Number, Number, Number]),
        map(COUNTS, &[Number, Number], &[Number, Number]),
        map(ENDPOINTS, &[Number, Number, Number], &[Number, Address, Port]),
        set(CLUSTER_IPS, &[Address]),
        set(NODE_IPS, &[Address]),
        set(HAIRPIN, &[Address, Address]),
        set(LEAVING, &[Address, Protocol, Port]),
        set(MEMBERS, &[Number, Number, Number, Address, Port]),
        SetSpec { interval: true, ..set(PODS, &[Address]) },
        verdicts(POLICIES, &[Number]),
        verdicts(BALANCE, &[Number, Number]),
        SetSpec { dynamic: true, ..map(AFFINITY, &[Number, Number, Address], &[Number, Address, Port]) },
    ]
};

/// A base chain's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    pub number: u32,
    pub priority: i32,
}

/// A chain with its rules.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub name: String,
    pub hook: Option<Hook>,
    pub rules: Vec<Vec<Expr>>,
}

impl Chain {
    pub fn new(name: impl Into<String>, rules: Vec<Vec<Expr>>) -> Self {
        Self { name: name.into(), hook: None, rules }
    }

    fn base(name: &str, number: u32, priority: i32, rules: Vec<Vec<Expr>>) -> Self {
        Self { name: name.into(), hook: Some(Hook { number, priority }), rules }
    }
}

/// Where keys and values lie in registers while a rule runs. A lookup's value overwrites the key it was found by.
pub(crate) mod registers {
    /// Free for a key of addresses alone: two of IPv6 take eight.
    pub const ADDRESS: u32 = 0;
    /// A frontend's key ends here: the destination address in the registers before it, protocol, port.
    pub const PROTOCOL: u32 = 4;
    /// The destination port.
    pub const PORT: u32 = PROTOCOL + 1;
    /// What a frontend leads to: label, then its group (two registers) or its policy.
    pub const FRONTEND: u32 = PROTOCOL - 1;
    /// The group: with what follows, the key of its count, of an endpoint and of a client.
    pub const GROUP: u32 = FRONTEND + 1;
    /// The policy.
    pub const POLICY: u32 = FRONTEND + 1;
    /// After a group: an endpoint's index or a client's address.
    pub const CHOICE: u32 = GROUP + 2;
    /// A copy of the group, which with the endpoint behind it is a key of `members`.
    pub const MEMBER: u32 = 8;
    /// Label, address, port.
    pub const ENDPOINT: u32 = MEMBER + 2;
    /// The endpoint's address.
    pub const ENDPOINT_ADDRESS: u32 = ENDPOINT + 1;
    /// Label, count.
    pub const COUNTED: u32 = 12;
    /// The group's count, followed by the variant in the next.
    pub const COUNT: u32 = COUNTED + 1;
    /// Free for a comparison or a mark.
    pub const SCRATCH: u32 = 15;
}

/// How many registers an address of a family takes.
pub(crate) const fn address_registers(family: Family) -> u32 {
    match family {
        Family::V4 => 1,
        Family::V6 => 4,
    }
}

/// Looks a key up that ends at or before the registers of the value, and shows the map in listings.
pub(crate) fn lookup(map: &'static str, from: u32, to: u32) -> [Expr; 2] {
    let label = LABEL.to_ne_bytes().to_vec();
    [Expr::Lookup { map, from, to }, Expr::Compare { from: to, equal: true, value: label }]
}

/// The two ways to a group: by the exact address, or by the port on a NodePort address.
pub(crate) fn find_group(family: Family) -> [Vec<Expr>; 2] {
    find(family, [GROUPS, NODE_PORT_GROUPS])
}

fn find(family: Family, [by_address_map, by_port_map]: [&'static str; 2]) -> [Vec<Expr>; 2] {
    use registers::{FRONTEND, PORT, PROTOCOL};
    let key = PROTOCOL - address_registers(family);
    let port = [Expr::LoadProtocol { to: PROTOCOL }, Expr::LoadDestinationPort { to: PORT }];
    let mut by_address = vec![Expr::LoadAddress { which: Address::Destination, to: key }];
    by_address.extend(port.clone());
    by_address.extend(lookup(by_address_map, key, FRONTEND));
    let mut by_port = port.to_vec();
    by_port.extend(lookup(by_port_map, PROTOCOL, FRONTEND));
    [by_address, by_port]
}

/// `meta mark set meta mark or 0x4000`, which is kube-proxy's default bit.
pub(crate) fn mark_for_masquerade(mark: u32) -> Vec<Expr> {
    use registers::SCRATCH;
    let (mask, bit) = ((!mark).to_ne_bytes().to_vec(), mark.to_ne_bytes().to_vec());
    vec![
        Expr::LoadMark { to: SCRATCH },
        Expr::Bitwise { from: SCRATCH, to: SCRATCH, mask, xor: bit },
        Expr::SetMark { from: SCRATCH },
    ]
}

/// Goes on only if the source is an address of this host.
pub(crate) fn source_is_local() -> Vec<Expr> {
    use registers::SCRATCH;
    vec![
        Expr::AddressType { which: Address::Source, to: SCRATCH },
        Expr::Compare { from: SCRATCH, equal: true, value: ROUTE_LOCAL.to_ne_bytes().to_vec() },
    ]
}

/// The chains that exist whatever the Services are.
pub(crate) fn fixed_chains(family: Family, node_ports: &NodePortAddresses, mark: u32) -> Vec<Chain> {
    use registers::{ADDRESS, POLICY, SCRATCH};
    let masquerade = || {
        let (first, last) = (SCRATCH - 1, SCRATCH);
        let (from, to) = NFTABLES_SOURCE_PORTS;
        let port = |to: u32, port: u16| Expr::Load { to, value: port.to_be_bytes().to_vec() };
        [port(first, from), port(last, to), Expr::Masquerade { first, last }]
    };
    let goto = |chain: &str| Expr::Verdict(Verdict::Goto(chain.into()));
    let jump = || vec![vec![Expr::Verdict(Verdict::Jump("services".into()))]];
    let to_policy = |mut rule: Vec<Expr>| {
        rule.push(Expr::VerdictMap { map: POLICIES, from: POLICY });
        rule
    };
    let [by_address, by_port] = find(family, [FRONTENDS, NODE_PORTS]);
    let destination = Expr::LoadAddress { which: Address::Destination, to: ADDRESS };
    let to_node_ports = match node_ports {
        NodePortAddresses::Only(_) => {
            vec![vec![
                destination.clone(),
                Expr::InSet { set: NODE_IPS, from: ADDRESS, inverted: false },
                goto("node-ports"),
            ]]
        }
        NodePortAddresses::AnyLocal => vec![any_local(family)],
    };
    let mut services = vec![to_policy(by_address)];
    services.extend(to_node_ports);
    services.push(vec![destination, Expr::InSet { set: CLUSTER_IPS, from: ADDRESS, inverted: false }, goto("refuse")]);
    let marked = vec![
        Expr::LoadMark { to: SCRATCH },
        Expr::Bitwise { from: SCRATCH, to: SCRATCH, mask: mark.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::Compare { from: SCRATCH, equal: false, value: vec![0; 4] },
    ];
    let mut unmark = vec![
        Expr::LoadMark { to: SCRATCH },
        Expr::Bitwise { from: SCRATCH, to: SCRATCH, mask: (!mark).to_ne_bytes().to_vec(), xor: vec![0; 4] },
        Expr::SetMark { from: SCRATCH },
    ];
    unmark.extend(masquerade());
    let mut itself = vec![
        Expr::LoadAddress { which: Address::Source, to: ADDRESS },
        Expr::LoadAddress { which: Address::Destination, to: ADDRESS + address_registers(family) },
        Expr::InSet { set: HAIRPIN, from: ADDRESS, inverted: false },
    ];
    itself.extend(masquerade());
    vec![
        Chain::new(
            "refuse",
            vec![
                vec![
                    Expr::LoadProtocol { to: SCRATCH },
                    Expr::Compare { from: SCRATCH, equal: true, value: vec![6] },
                    Expr::Reject(Refusal::TcpReset),
                ],
                vec![Expr::Reject(Refusal::PortUnreachable)],
            ],
        ),
        Chain::new("discard", vec![vec![Expr::Verdict(Verdict::Drop)]]),
        Chain::new("node-ports", vec![to_policy(by_port)]),
        Chain::new("services", services),
        Chain::new("marked", vec![unmark]),
        Chain::base("prerouting", 0, -100, jump()),
        Chain::base("output", 3, -100, jump()),
        Chain::base("postrouting", 4, 100, vec![[marked, vec![goto("marked")]].concat(), itself]),
    ]
}

/// Every local address but loopback's.
fn any_local(family: Family) -> Vec<Expr> {
    use registers::{ADDRESS, SCRATCH};
    let loopback = match family {
        Family::V4 => vec![127],
        Family::V6 => std::net::Ipv6Addr::LOCALHOST.octets().to_vec(),
    };
    let mask = match family {
        Family::V4 => vec![0xff, 0, 0, 0],
        Family::V6 => vec![0xff; 16],
    };
    let value = match family {
        Family::V4 => vec![loopback[0], 0, 0, 0],
        Family::V6 => loopback,
    };
    vec![
        Expr::LoadAddress { which: Address::Destination, to: ADDRESS },
        Expr::Bitwise { from: ADDRESS, to: ADDRESS, xor: vec![0; mask.len()], mask },
        Expr::Compare { from: ADDRESS, equal: false, value },
        Expr::AddressType { which: Address::Destination, to: SCRATCH },
        Expr::Compare { from: SCRATCH, equal: true, value: ROUTE_LOCAL.to_ne_bytes().to_vec() },
        Expr::Verdict(Verdict::Goto("node-ports".into())),
    ]
}
