//! Reads requests as JSON lines and answers each.
use orlop_kinds::{Subresource, kind};
use serde_json::{Value, json};
use std::io::BufRead;
fn main() {
    for line in std::io::stdin().lock().lines() {
        let r: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let s = |k: &str| r[k].as_str().unwrap_or_default().to_owned();
        let rules = kind(&s("group"), &s("kind"));
        let sub = match s("sub").as_str() {
            "status" => Subresource::Status,
            "ephemeralcontainers" => Subresource::EphemeralContainers,
            "resize" => Subresource::Resize,
            _ => Subresource::None,
        };
        let mut new = r["new"].clone();
        let old = r["old"].clone();
        let answer = std::panic::catch_unwind(move || {
            rules.default(&s("version"), &mut new);
            let errors = if old.is_null() {
                rules.prepare_create(&mut new);
                rules.validate_create(&new)
            } else {
                rules.prepare_update(&mut new, &old, sub);
                rules.validate_update(&new, &old, sub)
            };
            if errors.is_empty() {
                json!({"code": if old.is_null() {201} else {200}, "body": new, "warnings": rules.warnings(&new, &old, sub)})
            } else {
                json!({"code": 422, "body": errors.to_status(&s("group"), &s("kind"), new["metadata"]["name"].as_str().unwrap_or_default())})
            }
        });
        println!("{}", answer.unwrap_or_else(|_| json!({"code": 0, "body": {"message": "panic"}})));
    }
}
