//! nftables expressions: the instructions that rules are made of, as the kernel's virtual machine reads them.
//!
//! Registers are the sixteen 32-bit ones, numbered from 0 here; attribute numbers are those of
//! `include/uapi/linux/netfilter/nf_tables.h`.

use crate::attr::Put;

/// `NFT_REG32_00`.
const FIRST_REGISTER: u32 = 8;
const LIST_ELEM: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const META_MARK: u32 = 3;
const META_L4PROTO: u32 = 16;
const META_IIFNAME: u32 = 6;
/// NF_NAT_RANGE_PROTO_RANDOM_FULLY
const FULLY_RANDOM: u32 = 1 << 4;
/// NF_NAT_RANGE_PROTO_SPECIFIED
const FROM_PORTS: u32 = 1 << 1;

/// What a rule or a verdict map says to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    Jump(String),
    Goto(String),
}

impl Verdict {
    /// Writes `NFTA_DATA_VERDICT`.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (code, chain) = match self {
            Self::Drop => (0, None),
            Self::Jump(chain) => (-3, Some(chain)),
            Self::Goto(chain) => (-4, Some(chain)),
        };
        out.nest(DATA_VERDICT, |o| {
            o.put(1, &i32::to_be_bytes(code));
            if let Some(chain) = chain {
                o.put_str(2, chain);
            }
        });
    }
}

/// A part of the network header, in the family's own layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Source,
    Destination,
}

/// The reply of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    TcpReset,
    PortUnreachable,
}

/// One instruction. `to` is the first register it writes, `from` the first it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expr {
    LoadAddress {
        which: Address,
        to: u32,
    },
    LoadDestinationPort {
        to: u32,
    },
    LoadProtocol {
        to: u32,
    },
    LoadMark {
        to: u32,
    },
    /// The name of the device the packet came in on, four registers long; empty for the host's own.
    LoadDevice {
        to: u32,
    },
    SetMark {
        from: u32,
    },
    /// Loads a constant.
    Load {
        to: u32,
        value: Vec<u8>,
    },
    /// `to = (from & mask) ^ xor`, over `mask.len()` bytes.
    Bitwise {
        from: u32,
        to: u32,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    Compare {
        from: u32,
        equal: bool,
        value: Vec<u8>,
    },
    /// Goes on only if the set has the key (or, inverted, has it not).
    InSet {
        set: &'static str,
        from: u32,
        inverted: bool,
    },
    /// Loads a map's value; goes on only if the map has the key.
    Lookup {
        map: &'static str,
        from: u32,
        to: u32,
    },
    /// Takes the verdict a map has for the key.
    VerdictMap {
        map: &'static str,
        from: u32,
    },
    Random {
        to: u32,
        modulus: u32,
    },
    /// The route type of the destination (or source) as this host sees it.
    AddressType {
        which: Address,
        to: u32,
    },
    Dnat {
        address: u32,
        port: u32,
    },
    /// From one of the ports between those in two registers.
    Masquerade {
        first: u32,
        last: u32,
    },
    Reject(Refusal),
    /// Adds or refreshes a map's element, with a timeout.
    Remember {
        map: &'static str,
        key: u32,
        value: u32,
        seconds: u32,
    },
    /// Removes a map's element, if it is there.
    Forget {
        map: &'static str,
        key: u32,
        value: u32,
    },
    Verdict(Verdict),
}

/// Writes a rule's expressions as the elements of `NFTA_RULE_EXPRESSIONS`.
pub(crate) fn put_all(out: &mut Vec<u8>, exprs: &[Expr], family: u8) {
    for expr in exprs {
        out.nest(LIST_ELEM, |o| {
            o.put_str(1, expr.name());
            o.nest(2, |o| expr.put_data(o, family));
        });
    }
}

const fn register(number: u32) -> u32 {
    FIRST_REGISTER + number
}

fn put_value(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.nest(kind, |o| o.put(DATA_VALUE, value));
}

fn put_payload(out: &mut Vec<u8>, to: u32, base: u32, offset: u32, length: u32) {
    out.put_u32(1, register(to));
    out.put_u32(2, base);
    out.put_u32(3, offset);
    out.put_u32(4, length);
}

impl Expr {
    const fn name(&self) -> &'static str {
        match self {
            Self::LoadAddress { .. } | Self::LoadDestinationPort { .. } => "payload",
            Self::LoadProtocol { .. } | Self::LoadMark { .. } | Self::LoadDevice { .. } | Self::SetMark { .. } => {
                "meta"
            }
            Self::Bitwise { .. } => "bitwise",
            Self::Compare { .. } => "cmp",
            Self::InSet { .. } | Self::Lookup { .. } | Self::VerdictMap { .. } => "lookup",
            Self::Random { .. } => "numgen",
            Self::AddressType { .. } => "fib",
            Self::Dnat { .. } => "nat",
            Self::Masquerade { .. } => "masq",
            Self::Reject(_) => "reject",
            Self::Remember { .. } | Self::Forget { .. } => "dynset",
            Self::Verdict(_) | Self::Load { .. } => "immediate",
        }
    }

    fn put_data(&self, out: &mut Vec<u8>, family: u8) {
        match self {
            Self::LoadAddress { which, to } => {
                let (offset, length) = match (family == crate::layout::IPV4, which) {
                    (true, Address::Source) => (12, 4),
                    (true, Address::Destination) => (16, 4),
                    (false, Address::Source) => (8, 16),
                    (false, Address::Destination) => (24, 16),
                };
                put_payload(out, *to, 1, offset, length);
            }
            Self::LoadDestinationPort { to } => put_payload(out, *to, 2, 2, 2),
            Self::LoadProtocol { to } => {
                out.put_u32(1, register(*to));
                out.put_u32(2, META_L4PROTO);
            }
            Self::LoadMark { to } => {
                out.put_u32(1, register(*to));
                out.put_u32(2, META_MARK);
            }
            Self::LoadDevice { to } => {
                out.put_u32(1, register(*to));
                out.put_u32(2, META_IIFNAME);
            }
            Self::SetMark { from } => {
                out.put_u32(2, META_MARK);
                out.put_u32(3, register(*from));
            }
            Self::Load { to, value } => {
                out.put_u32(1, register(*to));
                put_value(out, 2, value);
            }
            Self::Bitwise { from, to, mask, xor } => {
                out.put_u32(1, register(*from));
                out.put_u32(2, register(*to));
                out.put_u32(3, mask.len() as u32);
                put_value(out, 4, mask);
                put_value(out, 5, xor);
            }
            Self::Compare { from, equal, value } => {
                out.put_u32(1, register(*from));
                out.put_u32(2, u32::from(!*equal));
                put_value(out, 3, value);
            }
            Self::InSet { set, from, inverted } => {
                out.put_str(1, set);
                out.put_u32(2, register(*from));
                if *inverted {
                    out.put_u32(5, 1);
                }
            }
            Self::Lookup { map, from, to } => {
                out.put_str(1, map);
                out.put_u32(2, register(*from));
                out.put_u32(3, register(*to));
            }
            Self::VerdictMap { map, from } => {
                out.put_str(1, map);
                out.put_u32(2, register(*from));
                out.put_u32(3, 0);
            }
            Self::Random { to, modulus } => {
                out.put_u32(1, register(*to));
                out.put_u32(2, *modulus);
                out.put_u32(3, 1);
                out.put_u32(4, 0);
            }
            Self::AddressType { which, to } => {
                out.put_u32(1, register(*to));
                out.put_u32(2, 3);
                out.put_u32(3, if *which == Address::Source { 1 } else { 2 });
            }
            Self::Dnat { address, port } => {
                out.put_u32(1, 1);
                out.put_u32(2, u32::from(family));
                out.put_u32(3, register(*address));
                out.put_u32(5, register(*port));
            }
            Self::Masquerade { first, last } => {
                out.put_u32(1, FULLY_RANDOM | FROM_PORTS);
                out.put_u32(2, register(*first));
                out.put_u32(3, register(*last));
            }
            Self::Reject(refusal) => {
                let (kind, code) = match (refusal, family == crate::layout::IPV4) {
                    (Refusal::TcpReset, _) => (1, 0),
                    (Refusal::PortUnreachable, true) => (0, 3),
                    (Refusal::PortUnreachable, false) => (0, 4),
                };
                out.put_u32(1, kind);
                out.put(2, &[code]);
            }
            Self::Remember { map, key, value, seconds } => {
                out.put_str(1, map);
                out.put_u32(3, 1);
                out.put_u32(4, register(*key));
                out.put_u32(5, register(*value));
                out.put(6, &(u64::from(*seconds) * 1000).to_be_bytes());
            }
            Self::Forget { map, key, value } => {
                out.put_str(1, map);
                out.put_u32(3, 2);
                out.put_u32(4, register(*key));
                out.put_u32(5, register(*value));
            }
            Self::Verdict(verdict) => {
                out.put_u32(1, 0);
                out.nest(2, |o| verdict.put(o));
            }
        }
    }
}
