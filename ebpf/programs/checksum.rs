//! Internet checksums (RFC 1624).

/// What a checksum gains when a word becomes another.
#[inline(always)]
pub fn replaced(old: u32, new: u32) -> u64 {
    u64::from(!old) + u64::from(new)
}

/// A sum as 32 bits.
#[inline(always)]
pub fn fold32(mut sum: u64) -> u32 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum as u32
}

/// A sum as the 16 bits of a checksum.
#[inline(always)]
pub fn fold16(sum: u64) -> u16 {
    let mut sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The sum of words.
#[inline(always)]
pub fn sum<const N: usize>(words: &[u32; N]) -> u64 {
    let mut sum = 0;
    let mut i = 0;
    while i < N {
        sum += u64::from(words[i]);
        i += 1;
    }
    sum
}
