//! Strict decoding: no bytes make it panic, what it gives is in canonical form, and protobuf keeps it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((ty, json)) = orlop_fuzz::kind(data) else { return };
    let Ok(decoded) = ty.decode(json) else { return };
    let text = decoded.object.to_string();
    let again = ty.decode(text.as_bytes()).expect("what was decoded can be decoded");
    assert!(again.strict.is_empty(), "{:?}", again.strict);
    assert_eq!(again.object, decoded.object, "a second time changes nothing");
    let Ok(message) = ty.to_protobuf(&decoded.object) else { return };
    let back = ty.from_protobuf(&message).expect("what was encoded can be decoded");
    assert_eq!(ty.to_protobuf(&back).expect("and encoded again"), message);
});
