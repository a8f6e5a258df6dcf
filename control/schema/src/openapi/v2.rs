//! `/openapi/v2`: one document for everything, in JSON or in the protobuf form of gnostic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::definitions::{self, Writer};
use super::merge::Others;
pub use super::merge::part;
use super::share::{self, Shared};
use super::texts::Texts;
use super::{Dialect, gnostic, paths, v3};
use crate::{Resource, Schema, Type};

/// The media type kubectl asks for. An `@` in it would break Go's parser.
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The document in JSON, of the built-in schema and its overlays, and of what `others` serve: a [`part`] of each one's document,
/// those first that are to be believed first, of group versions that the schemas know nothing of.
pub fn json(schemas: &[&Schema], others: &[Arc<Value>]) -> Vec<u8> {
    let minor = Schema::builtin().minor();
    let mut out =
        format!(r#"{{"swagger":"2.0","info":{{"title":"Kubernetes","version":"{minor}"}},"paths":{{"#).into_bytes();
    let parts = Parts::new(schemas, others);
    let mut shared = parts.others.parameters.clone();
    v3::entries(&mut out, parts.paths(&mut shared));
    out.extend_from_slice(br#"},"definitions":{"#);
    v3::entries(&mut out, parts.definitions());
    out.extend_from_slice(br#"},"parameters":{"#);
    v3::entries(&mut out, shared.into_iter());
    out.extend_from_slice(br#"},"securityDefinitions":{"BearerToken":{"type":"apiKey","description":"Bearer Token authentication","name":"authorization","in":"header"}},"security":[{"BearerToken":[]}]}"#);
    out
}

/// The document in the form of [`PROTOBUF`].
pub fn protobuf(schemas: &[&Schema], others: &[Arc<Value>]) -> Vec<u8> {
    let parts = Parts::new(schemas, others);
    let mut out = gnostic::Document::new("Kubernetes", Schema::builtin().minor());
    let mut shared = parts.others.parameters.clone();
    for (path, item) in parts.paths(&mut shared) {
        out.path(&path, &item);
    }
    for (name, definition) in parts.definitions() {
        out.definition(&name, &definition);
    }
    for (name, parameter) in &shared {
        out.named_parameter(name, parameter);
    }
    out.finish()
}

/// The parts of the document, made one at a time.
struct Parts<'a> {
    schemas: &'a [&'a Schema],
    texts: Texts,
    types: BTreeMap<&'a str, (&'a Schema, &'a Type)>,
    others: Others,
}

impl<'a> Parts<'a> {
    fn new(schemas: &'a [&'a Schema], others: &[Arc<Value>]) -> Self {
        let mut types = BTreeMap::new();
        for schema in schemas {
            let resources: Vec<&Resource> = schema.resources().collect();
            for (name, ty) in definitions::closure(schema, v3::roots(schema, &resources)) {
                types.entry(name).or_insert((*schema, ty));
            }
        }
        for (name, ty) in definitions::closure(Schema::builtin(), v3::general_roots(Schema::builtin())) {
            types.entry(name).or_insert((Schema::builtin(), ty));
        }
        let mut parts = Self { schemas, texts: Texts::load(), types, others: Others::default() };
        let mut merged = Others::default();
        others.iter().for_each(|document| merged.add(document, |name| parts.own(name)));
        parts.others = merged;
        parts
    }

    /// What is left in `shared` afterwards belongs to the document, too.
    fn paths(&self, shared: &mut Shared) -> impl Iterator<Item = (String, Value)> {
        let group_versions: BTreeSet<_> = v3::group_versions(Schema::builtin()).into_iter().collect();
        let groups: BTreeSet<&str> = group_versions.iter().map(|(group, _)| &**group).collect();
        let general = paths::general(groups, Dialect::V2);
        let discovery = group_versions.into_iter().map(|(g, v)| paths::discovery(&g, &v, Dialect::V2));
        let resources = self.schemas.iter().flat_map(|schema| schema.resources().map(move |r| (*schema, r)));
        // Resources of one name under two versions have paths of their own: no path comes twice.
        let own = resources.flat_map(|(schema, r)| paths::of_resource(schema, r, Dialect::V2));
        let own = general.into_iter().chain(discovery).chain(own).map(|(path, mut item)| {
            share::share(&mut item, shared);
            (path, item)
        });
        own.chain(self.others.paths.iter().map(|(path, item)| (path.clone(), item.clone())))
    }

    fn definitions(&self) -> impl Iterator<Item = (String, Value)> {
        let others = self.others.definitions.keys().map(String::as_str);
        let names: BTreeSet<&str> = self.types.keys().copied().chain(others).collect();
        names.into_iter().filter_map(|name| {
            let definition = self.others.definitions.get(name).cloned().or_else(|| self.own(name))?;
            Some((name.to_owned(), definition))
        })
    }

    /// A definition of ours.
    fn own(&self, name: &str) -> Option<Value> {
        let (schema, ty) = self.types.get(name)?;
        let writer = Writer { schema, texts: &self.texts, dialect: Dialect::V2 };
        Some(sorted(writer.definition(ty)))
    }
}

/// Go's documents have sorted properties; explain prints them in the order given.
fn sorted(mut definition: Value) -> Value {
    if let Some(properties) = definition.get_mut("properties").and_then(Value::as_object_mut) {
        properties.sort_keys();
    }
    let empty = definition.as_object().is_some_and(Map::is_empty);
    if empty { Value::Object(Map::new()) } else { definition }
}
