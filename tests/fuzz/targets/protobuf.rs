//! Protobuf from strangers: no bytes make the decoder panic or take more than they are worth, and what it gives has a canonical form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_schema::{Schema, protobuf};

fuzz_target!(|data: &[u8]| {
    let _ = Schema::builtin().decode_protobuf(data);
    let _ = protobuf::open(data);
    let Some((ty, message)) = orlop_fuzz::kind(data) else { return };
    let Ok(object) = ty.from_protobuf(message) else { return };
    let Ok(written) = ty.to_protobuf(&object) else { return };
    let back = ty.from_protobuf(&written).expect("what was encoded can be decoded");
    assert_eq!(ty.to_protobuf(&back).expect("and encoded again"), written);
});
