//! An expression, a zero byte, and the object that it is asked about: whatever they are, they are compiled, priced and evaluated
//! within the limits, and in a moment.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use orlop_cel::decl::Declared;
use orlop_cel::{DeclType, Environment, PER_CALL_LIMIT, Program, Type, Value, Variables};
use serde_json::{Value as Json, json};

/// Far longer than a million units of cost take, counters and assertions included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every sort of field.
static DECLARED: LazyLock<DeclType> = LazyLock::new(|| {
    let strings = json!({"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 64}});
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
    let map = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}});
    let schema = json!({"type": "object", "properties": {
        "b": {"type": "boolean"}, "i": {"type": "integer"}, "d": {"type": "number"}, "s": {"type": "string"},
        "time": {"type": "string", "format": "date-time"}, "span": {"type": "string", "format": "duration"},
        "bytes": {"type": "string", "format": "byte"}, "either": {"x-kubernetes-int-or-string": true},
        "list": strings, "set": set, "keyed": map, "any": {"x-kubernetes-preserve-unknown-fields": true},
        "map": {"type": "object", "additionalProperties": {"type": "string"}}}});
    DeclType::from_schema(&schema, true).expect("a schema")
});

fuzz_target!(|data: &[u8]| {
    let (source, object) = match data.iter().position(|byte| *byte == 0) {
        Some(middle) => (&data[..middle], serde_json::from_slice::<Json>(&data[middle + 1..]).unwrap_or_default()),
        None => (data, Json::Null),
    };
    let Ok(source) = std::str::from_utf8(source) else { return };
    let begun = Instant::now();
    let declared = &*DECLARED;
    let fields = Declared::of(declared);
    let ty = declared.to_type();
    let typed = Environment::new(&fields).with("self", ty.clone()).with("oldSelf", Type::optional(ty));
    if let Ok(program) = typed.compile(source) {
        let cost = program.cost(&[("self", declared), ("oldSelf", declared)]);
        assert!(cost.min <= cost.max);
        if let Ok(value) = Value::of(&object, declared) {
            evaluate(&program, &Both(value.clone(), Value::some(value)));
        }
    }
    let untyped = Environment::new(&fields).with("self", Type::Dyn).with("oldSelf", Type::Dyn);
    if let Ok(program) = untyped.compile(source) {
        let value = Value::from_json(&object);
        evaluate(&program, &Both(value.clone(), value));
    }
    assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
});

/// `self` and `oldSelf`.
struct Both<'a>(Value<'a>, Value<'a>);

impl<'a> Variables<'a> for Both<'a> {
    fn get(&self, name: &str) -> Option<Value<'a>> {
        match name {
            "self" => Some(self.0.clone()),
            "oldSelf" => Some(self.1.clone()),
            _ => None,
        }
    }
}

fn evaluate(program: &Program, variables: &Both<'_>) {
    let (value, cost) = program.evaluate(variables, PER_CALL_LIMIT);
    if let Ok(value) = value {
        assert!(cost <= PER_CALL_LIMIT, "{cost}");
        let _ = value.to_json();
    }
}
