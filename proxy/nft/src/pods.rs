//! How rules tell a pod's packet from a stranger's: `detectLocalMode` in nftables' words.

use orlop_plan::{DetectLocal, Family, NodeFacts};

use crate::expr::{Address, Expr};
use crate::layout::{PODS, mark_for_masquerade, registers::ADDRESS};

/// `IFNAMSIZ`: a device's name fills so many bytes, with NULs at its end.
const NAME_LENGTH: usize = 16;

/// What is known of the pods of one family, and how a packet is marked that is to be masqueraded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pods {
    known: Known,
    mark: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Known {
    /// Nothing: nobody is a pod, and nobody a stranger.
    #[default]
    Unknown,
    /// Their networks, which are in the set `pods`.
    Networks,
    /// The beginning of the name of the device they come in on, the NULs included if it is the whole name.
    Device(Vec<u8>),
}

impl Pods {
    pub fn of(node: &NodeFacts, family: Family) -> Self {
        let known = match &node.detect_local {
            DetectLocal::Cidrs(cidrs) if cidrs.iter().any(|cidr| Family::of(cidr.addr()) == family) => Known::Networks,
            DetectLocal::Cidrs(_) => Known::Unknown,
            DetectLocal::Bridge(name) => {
                let mut name = name.clone().into_bytes();
                name.resize(NAME_LENGTH, 0);
                Known::Device(name)
            }
            DetectLocal::InterfacePrefix(prefix) => Known::Device(prefix.bytes().take(NAME_LENGTH).collect()),
        };
        Self { known, mark: 1_u32.checked_shl(node.masquerade_bit.into()).unwrap_or(0) }
    }

    /// The bit of the mark.
    pub const fn mark(&self) -> u32 {
        self.mark
    }

    /// Notes that the packet is to be masqueraded.
    pub fn mark_for_masquerade(&self) -> Vec<Expr> {
        mark_for_masquerade(self.mark)
    }

    /// Goes on only for what is known to be a pod's packet; none if nothing is.
    pub fn is_pod(&self) -> Option<Vec<Expr>> {
        self.guard(false)
    }

    /// Goes on only for what is known to come from elsewhere; none if nothing is.
    pub fn is_stranger(&self) -> Option<Vec<Expr>> {
        self.guard(true)
    }

    fn guard(&self, inverted: bool) -> Option<Vec<Expr>> {
        match &self.known {
            Known::Unknown => None,
            Known::Networks => Some(vec![
                Expr::LoadAddress { which: Address::Source, to: ADDRESS },
                Expr::InSet { set: PODS, from: ADDRESS, inverted },
            ]),
            // Every device's name begins with nothing; only what the node itself sends has none.
            Known::Device(name) if name.is_empty() => Some(vec![
                Expr::LoadDevice { to: ADDRESS },
                Expr::Compare { from: ADDRESS, equal: inverted, value: vec![0] },
            ]),
            Known::Device(name) => Some(vec![
                Expr::LoadDevice { to: ADDRESS },
                Expr::Compare { from: ADDRESS, equal: !inverted, value: name.clone() },
            ]),
        }
    }
}
