//! `/openapi/v3`: an index of group versions, and one document for each.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::definitions::{self, Writer};
use super::texts::Texts;
use super::{Dialect, paths};
use crate::{Resource, Schema, gvk};

/// The group versions that have a document: those with a resource that is served by default. An overlay answers its own only.
pub fn group_versions(schema: &Schema) -> Vec<(String, String)> {
    let mut found: Vec<_> = schema.resources().map(|r| (r.group.to_string(), r.version.to_string())).collect();
    found.sort();
    found.dedup();
    found
}

/// The path of a group version's document below `/openapi/v3/`, such as `apis/apps/v1`.
pub fn path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{}", gvk::join(group, version)) }
}

/// A hash that changes whenever the group version's document does: what stands behind `?hash=`, and the ETag.
pub fn hash(schemas: &[&Schema], group: &str, version: &str) -> String {
    // The built-in documents are a function of the table and of this crate: hashing those saves writing every document for the index.
    let mut of = crate::table::fingerprint();
    let mut mix = |text: &str| of = fnv(of, text.as_bytes());
    mix(env!("CARGO_PKG_VERSION"));
    for schema in schemas {
        for resource in served(schema, group, version) {
            mix(&format!("{resource:?}"));
        }
        for ty in schema.types().filter(|t| t.kinds.iter().any(|k| &*k.group == group && &*k.version == version)) {
            mix(&format!("{:?}", ty.get()));
            if let Some(published) = schema.definition(Dialect::V3, &ty.name) {
                mix(&published.to_string());
            }
        }
    }
    format!("{of:016X}")
}

/// FNV-1a, continued.
fn fnv(mut of: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        of = (of ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    of
}

fn served<'a>(schema: &'a Schema, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Resource> {
    schema.resources().filter(move |r| &*r.group == group && &*r.version == version)
}

/// The answer to `/openapi/v3`, for documents given as path (see [`path`]) and hash.
pub fn index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let paths: Map<_, _> = documents
        .into_iter()
        .map(|(path, hash)| {
            (path.to_owned(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }))
        })
        .collect();
    json!({ "paths": paths }).to_string().into_bytes()
}

/// The document of a group version, in JSON, from the built-in schema and its overlays; none if no resource of it is served.
pub fn document(schemas: &[&Schema], group: &str, version: &str) -> Option<Vec<u8>> {
    let parts: Vec<(&Schema, Vec<&Resource>)> = schemas
        .iter()
        .map(|s| (*s, served(s, group, version).collect::<Vec<_>>()))
        .filter(|(_, r)| !r.is_empty())
        .collect();
    if parts.is_empty() {
        return None;
    }
    let texts = Texts::load();
    let mut out = br#"{"openapi":"3.0.0","info":{"title":"Kubernetes","version":""#.to_vec();
    out.extend_from_slice(Schema::builtin().minor().as_bytes());
    out.extend_from_slice(br#""},"paths":{"#);
    let mut all = vec![paths::discovery(group, version, Dialect::V3)];
    let mut types = BTreeMap::new();
    for (schema, resources) in &parts {
        all.extend(resources.iter().flat_map(|r| paths::of_resource(schema, r, Dialect::V3)));
        for (name, ty) in definitions::closure(schema, roots(schema, resources)) {
            types.entry(name).or_insert((*schema, ty));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    entries(&mut out, all.into_iter());
    out.extend_from_slice(br#"},"components":{"schemas":{"#);
    let definitions = types.into_iter().map(|(name, (schema, ty))| {
        (name.to_owned(), Writer { schema, texts: &texts, dialect: Dialect::V3 }.definition(ty))
    });
    entries(&mut out, definitions);
    out.extend_from_slice(br#"},"securitySchemes":{"BearerToken":{"type":"apiKey","description":"Bearer Token authentication","name":"authorization","in":"header"}}}}"#);
    Some(out)
}

/// The types that the documents of these resources refer to.
pub(super) fn roots(schema: &Schema, resources: &[&Resource]) -> Vec<crate::TypeId> {
    let mut roots = Vec::new();
    for resource in resources {
        let list = crate::GroupVersionKind { kind: resource.list_kind.clone(), ..resource.gvk() };
        roots.push(resource.ty);
        roots.extend(schema.type_by_kind(&list).map(|t| t.id()));
        roots.extend(resource.subresources.iter().filter_map(|s| s.ty));
    }
    roots.extend(paths::ANSWERS.iter().filter_map(|n| schema.type_named(&paths::meta(n))).map(|t| t.id()));
    roots
}

/// Writes the members of a JSON object one by one, so that only one of them is held as a value.
pub(super) fn entries(out: &mut Vec<u8>, entries: impl Iterator<Item = (String, Value)>) {
    for (at, (name, value)) in entries.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(Value::String(name).to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(value.to_string().as_bytes());
    }
}
