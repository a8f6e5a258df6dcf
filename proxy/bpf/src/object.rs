//! The kernel programs, as this binary carries them.

use orlop_ebpf::ABI_HASH;

use crate::Error;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ORLOP_BPF_OBJECT"));

/// The ELF object, if it is there and speaks this crate's map ABI.
pub fn object() -> Result<&'static [u8], Error> {
    if OBJECT.is_empty() {
        return Err(Error::NotBuilt);
    }
    // The programs keep the hash as a constant; eight bytes of hash don't turn up by chance.
    let hash = ABI_HASH.to_ne_bytes();
    if OBJECT.windows(hash.len()).any(|window| window == hash) { Ok(OBJECT) } else { Err(Error::OutOfDate) }
}
