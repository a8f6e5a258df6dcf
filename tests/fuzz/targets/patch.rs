//! Strategic merge and server-side apply of two documents, divided by a zero byte: neither panics, and to apply the same again changes
//! nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_schema::apply::{Applied, Operation, Who};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((ty, rest)) = orlop_fuzz::kind(data) else { return };
    let Some(middle) = rest.iter().position(|byte| *byte == 0) else { return };
    let (Ok(live), Ok(raw)) = (ty.decode(&rest[..middle]), serde_json::from_slice::<Value>(&rest[middle + 1..])) else {
        return;
    };
    let _ = ty.strategic_merge(&live.object, &raw);
    let mut config = raw;
    if ty.prune(&mut config).is_err() || !config.is_object() || !live.object.is_object() {
        return;
    }
    // The server refuses these before.
    if [&config, &live.object].iter().any(|object| !ty.malformed(object).is_empty()) {
        return;
    }
    let who = Who {
        name: "fuzz".into(),
        operation: Operation::Apply,
        api_version: "v1".into(),
        subresource: String::new(),
        time: "2026-01-01T00:00:00Z".into(),
    };
    let Ok(Applied::Done(object, managers)) = ty.apply(&live.object, &config, Vec::new(), &who, true) else { return };
    match ty.apply(&object, &config, managers, &who, false) {
        Ok(Applied::Done(again, _)) => assert_eq!(again, object, "a second time changes nothing"),
        other => panic!("{other:?}"),
    }
});
