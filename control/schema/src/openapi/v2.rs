//! `/openapi/v2`: one document for everything, in JSON or in the protobuf form of gnostic.

use serde_json::{Map, Value};

use super::definitions::{self, Writer};
use super::texts::Texts;
use super::{Dialect, gnostic, paths, v3};
use crate::{Resource, Schema};

/// The media type kubectl asks for. An `@` in it would break Go's parser.
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The document in JSON.
pub fn json(schema: &Schema) -> Vec<u8> {
    let mut out =
        format!(r#"{{"swagger":"2.0","info":{{"title":"Kubernetes","version":"{}"}},"paths":{{"#, schema.minor())
            .into_bytes();
    let mut parts = Parts::new(schema);
    v3::entries(&mut out, parts.paths());
    out.extend_from_slice(br#"},"definitions":{"#);
    v3::entries(&mut out, parts.definitions());
    out.extend_from_slice(br#"},"securityDefinitions":{"BearerToken":{"type":"apiKey","description":"Bearer Token authentication","name":"authorization","in":"header"}},"security":[{"BearerToken":[]}]}"#);
    out
}

/// The document in the form of [`PROTOBUF`].
pub fn protobuf(schema: &Schema) -> Vec<u8> {
    let mut parts = Parts::new(schema);
    let mut out = gnostic::Document::new("Kubernetes", schema.minor());
    for (path, item) in parts.paths() {
        out.path(&path, &item);
    }
    for (name, definition) in parts.definitions() {
        out.definition(&name, &definition);
    }
    out.finish()
}

/// The parts of the document, made one at a time.
struct Parts<'a> {
    schema: &'a Schema,
    resources: Vec<&'a Resource>,
    texts: Texts,
}

impl<'a> Parts<'a> {
    fn new(schema: &'a Schema) -> Self {
        Self { schema, resources: schema.resources().collect(), texts: Texts::load() }
    }

    fn paths(&mut self) -> impl Iterator<Item = (String, Value)> {
        let schema = self.schema;
        let discovery = v3::group_versions(schema).into_iter().map(|(g, v)| paths::discovery(&g, &v, Dialect::V2));
        let resources = self.resources.clone();
        // Resources of one name under two versions have paths of their own: no path comes twice.
        discovery.chain(resources.into_iter().flat_map(|r| paths::of_resource(schema, r, Dialect::V2)))
    }

    fn definitions(&mut self) -> impl Iterator<Item = (String, Value)> {
        let writer = Writer { schema: self.schema, texts: &self.texts, dialect: Dialect::V2 };
        let types = definitions::closure(self.schema, v3::roots(self.schema, &self.resources));
        types.into_iter().map(move |(name, ty)| (name.to_owned(), sorted(writer.definition(ty))))
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
