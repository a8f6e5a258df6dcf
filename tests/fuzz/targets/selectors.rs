//! Label and field selectors: no text makes a parser panic or take long, and what the two readings of labels accept, they read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_kinds::{FieldSelector, LabelSelector};
use serde_json::json;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let labels = json!({"app": "web", "tier": "a", "n": "3", "example.com/role": ""});
    if let Ok(selector) = LabelSelector::parse(text) {
        let _ = selector.matches(&labels);
        assert!(!selector.is_empty() || selector.matches(&labels), "the empty selector matches everything");
        for key in ["app", "n"] {
            if let Some(value) = selector.requires_exact(key) {
                assert!(!selector.matches(&json!({key: format!("{value}x")})), "{key} must be {value}");
            }
        }
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let _ = selector.matches(|field| field.to_owned());
        assert!(!selector.is_empty() || selector.matches(|_| String::new()), "the empty selector matches everything");
    }
});
