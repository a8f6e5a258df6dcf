//! `/openapi/v3`: an index of group versions, and one document for each.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::definitions::{self, Writer};
use super::texts::Texts;
use super::{Dialect, paths};
use crate::{Resource, Schema, Type, gvk};

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

/// The paths of the documents of what belongs to no version, such as `version` and `apis/apps`, for the groups that are served.
pub fn general_paths<'a>(groups: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let all = paths::general(groups, Dialect::V3).into_iter();
    all.map(|(path, _)| path.trim_matches('/').to_owned()).collect()
}

/// The hash of such a document.
pub fn general_hash(path: &str) -> String {
    format!("{:016X}", fnv(fnv(crate::table::fingerprint(), LAYOUT.as_bytes()), path.as_bytes()))
}

/// Such a document, in JSON.
pub fn general_document(path: &str) -> Option<Vec<u8>> {
    let group = path.strip_prefix("apis/").unwrap_or_default();
    let schema = Schema::builtin();
    let known = schema.resources().any(|r| &*r.group == group);
    let all = paths::general(Some(group).filter(|_| known), Dialect::V3);
    let (path, item) = all.into_iter().find(|(own, _)| own.trim_matches('/') == path)?;
    let answer = item["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].as_str();
    let answer = answer.and_then(|reference| reference.strip_prefix("#/components/schemas/"));
    let root = answer.and_then(|name| schema.type_named(name)).map(|t| t.id());
    let types = definitions::closure(schema, root).into_iter().map(|(name, ty)| (name, (schema, ty))).collect();
    Some(written(vec![(path, item)], types))
}

/// Changes with the layout of documents.
const LAYOUT: &str = concat!(env!("CARGO_PKG_VERSION"), " 2");

/// A hash that changes whenever the group version's document does: what stands behind `?hash=`, and the ETag.
pub fn hash(schemas: &[&Schema], group: &str, version: &str) -> String {
    // The built-in documents are a function of the table and of this crate: hashing those saves writing every document for the index.
    let mut of = crate::table::fingerprint();
    let mut mix = |text: &str| of = fnv(of, text.as_bytes());
    mix(LAYOUT);
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

/// Where FNV begins.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

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
    let mut all = Vec::new();
    if schemas
        .iter()
        .any(|schema| std::ptr::eq(*schema, Schema::builtin()) && served(schema, group, version).next().is_some())
    {
        all.push(paths::discovery(group, version, Dialect::V3));
    }
    let mut types = BTreeMap::new();
    for (schema, resources) in &parts {
        all.extend(resources.iter().flat_map(|r| paths::of_resource(schema, r, Dialect::V3)));
        for (name, ty) in definitions::closure(schema, roots(schema, resources)) {
            types.entry(name).or_insert((*schema, ty));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Some(written(all, types))
}

/// A document of these paths and types.
fn written(paths: Vec<(String, Value)>, types: BTreeMap<&str, (&Schema, &Type)>) -> Vec<u8> {
    let texts = Texts::load();
    let mut out = br#"{"openapi":"3.0.0","info":{"title":"Kubernetes","version":""#.to_vec();
    out.extend_from_slice(Schema::builtin().minor().as_bytes());
    out.extend_from_slice(br#""},"paths":{"#);
    entries(&mut out, paths.into_iter());
    out.extend_from_slice(br#"},"components":{"schemas":{"#);
    let definitions = types.into_iter().map(|(name, (schema, ty))| {
        (name.to_owned(), Writer { schema, texts: &texts, dialect: Dialect::V3 }.definition(ty))
    });
    entries(&mut out, definitions);
    out.extend_from_slice(br#"},"securitySchemes":{"BearerToken":{"type":"apiKey","description":"Bearer Token authentication","name":"authorization","in":"header"}}}}"#);
    out
}

/// The types that the documents of no version refer to.
pub(super) fn general_roots(schema: &Schema) -> Vec<crate::TypeId> {
    paths::general_answers().iter().filter_map(|name| schema.type_named(name)).map(|t| t.id()).collect()
}

/// The document that says what a [`part`](super::v2::part) of another server's v2 document does, and its hash.
pub fn converted(part: &Value) -> (Vec<u8>, String) {
    let document = super::convert::convert(part).to_string().into_bytes();
    let hash = format!("{:016X}", fnv(FNV_BASIS, &document));
    (document, hash)
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
    roots.extend(paths::answers(resources).iter().filter_map(|name| schema.type_named(name)).map(|t| t.id()));
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
