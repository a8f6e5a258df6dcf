//! IP addresses as map keys hold them.

use crate::plain::plain;

/// An IPv6 address, or an IPv4 one as `::ffff:a.b.c.d`: four words as they stand in memory, in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The words.
    pub words: [u32; 4],
}

plain!(Address { words: [u32; 4] });

impl Address {
    /// The third word of every IPv4-mapped address.
    pub const MAPPED: u32 = 0xffff_u32.to_be();

    /// An IPv4 address given as it stands in a packet.
    #[inline(always)]
    pub const fn v4(raw: u32) -> Self {
        Self { words: [0, 0, Self::MAPPED, raw] }
    }

    /// From sixteen octets.
    pub const fn from_octets(o: [u8; 16]) -> Self {
        Self {
            words: [
                u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
                u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
                u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
                u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
            ],
        }
    }

    /// Its sixteen octets.
    pub fn octets(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        for (chunk, word) in octets.chunks_exact_mut(4).zip(self.words) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        octets
    }

    /// No address, but the link addresses that a packet gets, the destination first: where a next hop is meant, to which no
    /// multicast address belongs.
    #[inline(always)]
    pub const fn link(ethernet: [[u8; 6]; 2]) -> Self {
        let [[a, b, c, d, e, f], [g, h, i, j, k, l]] = ethernet;
        let word = u32::from_ne_bytes;
        Self { words: [word([0xff, 0, 0, 0]), word([a, b, c, d]), word([e, f, g, h]), word([i, j, k, l])] }
    }

    /// What [`Self::link`] was given.
    #[inline(always)]
    pub const fn as_link(&self) -> Option<[[u8; 6]; 2]> {
        if self.words[0] != u32::from_ne_bytes([0xff, 0, 0, 0]) {
            return None;
        }
        let [a, b, c, d] = self.words[1].to_ne_bytes();
        let [e, f, g, h] = self.words[2].to_ne_bytes();
        let [i, j, k, l] = self.words[3].to_ne_bytes();
        Some([[a, b, c, d, e, f], [g, h, i, j, k, l]])
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == Self::MAPPED
    }

    /// Whether it is the unspecified address of either family.
    #[inline(always)]
    pub const fn is_any(&self) -> bool {
        self.words[0] == 0
            && self.words[1] == 0
            && self.words[3] == 0
            && (self.words[2] == 0 || self.words[2] == Self::MAPPED)
    }

    /// The unspecified address of the same family: what NodePort frontends are keyed by.
    #[inline(always)]
    pub const fn any(&self) -> Self {
        if self.is_v4() { Self::v4(0) } else { Self { words: [0; 4] } }
    }
}
