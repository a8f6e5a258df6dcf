//! Hashes of what the two sides, and two builds, must agree on.

/// FNV-1a over the sources of the ABI and of the map definitions.
pub const ABI_HASH: u64 = {
    let mut hash = BEGIN;
    hash = add(hash, include_bytes!("address.rs"));
    hash = add(hash, include_bytes!("flow.rs"));
    hash = add(hash, include_bytes!("maglev.rs"));
    hash = add(hash, include_bytes!("node.rs"));
    hash = add(hash, include_bytes!("service.rs"));
    hash = add(hash, include_bytes!("socket.rs"));
    add(hash, include_bytes!("../programs/maps.rs"))
};

/// Where FNV-1a begins.
pub(crate) const BEGIN: u64 = 0xcbf2_9ce4_8422_2325;

/// Goes on with a number.
pub const fn fold(hash: u64, number: u64) -> u64 {
    add(hash, &number.to_le_bytes())
}

/// Goes on with bytes.
pub(crate) const fn add(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}
