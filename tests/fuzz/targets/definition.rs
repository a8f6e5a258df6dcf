//! The schema of a CustomResourceDefinition, then an object and the one that it replaces, divided by zero bytes. Whether the
//! definition is accepted or not, it is checked in a moment; if it is, objects can be pruned, defaulted, validated and merged by it.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use orlop_kinds::custom::{CustomRules, JsonPath, Rules};
use orlop_kinds::{Errors, kind};
use orlop_schema::structural::{CustomType, Structural, overlay};
use orlop_schema::{GroupVersionKind, Schema};
use serde_json::{Value, json};

/// Far longer than any definition or object may take, counters and assertions included.
const PATIENCE: Duration = Duration::from_secs(10);

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == 0);
    let Some(schema) = parts.next().and_then(|part| serde_json::from_slice::<Value>(part).ok()) else { return };
    let mut next = || parts.next().and_then(|part| serde_json::from_slice::<Value>(part).ok()).unwrap_or_default();
    let (object, old) = (next(), next());
    let begun = Instant::now();
    run(schema, object, old);
    assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
});

fn run(schema: Value, mut object: Value, mut old: Value) {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}
    });
    let table = Schema::builtin();
    let ty = table
        .type_by_kind(&GroupVersionKind::from_api_version("apiextensions.k8s.io/v1", "CustomResourceDefinition"))
        .expect("a built-in kind");
    // What strict decoding refuses or drops does not reach validation.
    let Ok(decoded) = ty.decode(definition.to_string().as_bytes()) else { return };
    let mut definition = decoded.object;
    let crd = kind("apiextensions.k8s.io", "CustomResourceDefinition");
    crd.default("v1", &mut definition);
    crd.prepare_create(&mut definition);
    if !crd.validate_create(&definition).is_empty() {
        return;
    }
    let raw = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let structural = Structural::parse(raw).expect("an accepted schema is structural");
    let overlay = overlay(&CustomType {
        selectable: Vec::new(),
        kind: GroupVersionKind::new("example.com", "v1", "Widget"),
        list_kind: "WidgetList",
        plural: "widgets",
        singular: "widget",
        namespaced: true,
        status: false,
        scale: false,
        structural: Some(&structural),
        schema: Some(raw),
    });
    let expressions = Rules::new(raw);
    for value in [&mut object, &mut old] {
        if !value.is_object() {
            return;
        }
        structural.prune(value);
        assert!(structural.prune(value).is_empty(), "what was pruned has nothing more to prune");
        structural.fill_defaults(value);
        let mut again = value.clone();
        structural.fill_defaults(&mut again);
        assert_eq!(*value, again, "defaults are filled in once");
    }
    let rules = CustomRules { schema: &structural, scale: None };
    let mut errors: Errors = rules.validate_create(&object);
    if let Some(expressions) = &expressions {
        expressions.validate(&object, None, &mut errors);
    }
    let mut errors = rules.validate_update(&object, &old);
    if let Some(expressions) = &expressions {
        expressions.validate(&object, Some(&old), &mut errors);
    }
    let _ = JsonPath::parse(".spec.x").map(|path| path.find(&object).cloned());
    if let Some(ty) = overlay.type_by_kind(&GroupVersionKind::new("example.com", "v1", "Widget")) {
        let _ = ty.strategic_merge(&old, &object);
    }
}
