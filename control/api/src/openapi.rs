//! `/openapi/v2` and `/openapi/v3`: the schema's documents, made when first asked for and compressed by the client's wish.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use orlop_schema::Schema;
use orlop_schema::openapi::{v2, v3};
use serde_json::Value;

use crate::catalog::Catalog;
use crate::custom::Custom;
use crate::request::Query;
use crate::status::Status;
use crate::wire::{self, Body};

/// Answers a path below `/openapi/`. `others` are aggregated servers' parts of the v2 document.
pub async fn answer(
    catalog: &Catalog,
    segments: &[&str],
    query: &Query,
    headers: &HeaderMap,
    others: impl FnOnce() -> Vec<Arc<Value>>,
) -> Result<Response<Body>, Status> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match segments {
        ["v3"] => Ok(wire::respond(200, "application/json", index(catalog))),
        ["v3", path @ ..] => {
            let path = path.join("/");
            let Some(document) = documents(catalog).find(|document| document.path() == path) else {
                // Not a word, as kube-apiserver has none here.
                let mut nothing = wire::respond(404, "application/json", "");
                nothing.headers_mut().remove(CONTENT_TYPE);
                return Ok(nothing);
            };
            let schemas = schemas(catalog);
            let hash = document.hash(&schemas.refs());
            let tag = format!("\"{hash}\"");
            if headers.get(IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == tag.as_bytes()) {
                let mut response = wire::respond(304, "application/json", "");
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                return Ok(response);
            }
            let document =
                blocking(move || document.written(&schemas.refs())).await?.ok_or_else(Status::no_such_path)?;
            let mut response = wire::respond(200, "application/json", document);
            if let Ok(tag) = HeaderValue::from_str(&tag) {
                response.headers_mut().insert(ETAG, tag);
            }
            // A document under its hash never changes.
            let forever = query.get("hash").is_some_and(|asked| asked == hash);
            let caching = if forever { "public, immutable" } else { "no-cache, private" };
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(caching));
            Ok(response)
        }
        ["v2"] if accept.contains("proto-openapi.spec.v2") => {
            let (schemas, others) = (schemas(catalog), others());
            Ok(wire::respond(200, v2::PROTOBUF, blocking(move || v2::protobuf(&schemas.refs(), &others)).await?))
        }
        ["v2"] => {
            let (schemas, others) = (schemas(catalog), others());
            Ok(wire::respond(200, "application/json", blocking(move || v2::json(&schemas.refs(), &others)).await?))
        }
        _ => Ok(crate::handle::nothing()),
    }
}

/// The built-in schema and those of custom resources.
struct Schemas(Vec<Arc<Custom>>);

impl Schemas {
    fn refs(&self) -> Vec<&Schema> {
        std::iter::once(Schema::builtin()).chain(self.0.iter().map(|custom| custom.schema())).collect()
    }
}

fn schemas(catalog: &Catalog) -> Schemas {
    Schemas(catalog.iter().filter_map(|r| r.custom.clone()).collect())
}

/// Those that are served and that a schema describes.
fn group_versions(catalog: &Catalog) -> impl Iterator<Item = (String, String)> {
    let mut found: Vec<_> = v3::group_versions(Schema::builtin())
        .into_iter()
        .filter(|(g, v)| catalog.of(g, v).next().is_some())
        .chain(catalog.iter().filter(|r| r.custom.is_some()).map(|r| (r.group.clone(), r.version.clone())))
        .collect();
    found.sort();
    found.dedup();
    found.into_iter()
}

/// A document of OpenAPI v3.
enum Document {
    /// Of a group and version.
    Version(String, String),
    /// Of what belongs to no version.
    General(String),
}

impl Document {
    fn path(&self) -> String {
        match self {
            Self::Version(group, version) => v3::path(group, version),
            Self::General(path) => path.clone(),
        }
    }

    fn hash(&self, schemas: &[&Schema]) -> String {
        match self {
            Self::Version(group, version) => v3::hash(schemas, group, version),
            Self::General(path) => v3::general_hash(path),
        }
    }

    fn written(&self, schemas: &[&Schema]) -> Option<Vec<u8>> {
        match self {
            Self::Version(group, version) => v3::document(schemas, group, version),
            Self::General(path) => v3::general_document(path),
        }
    }
}

/// All documents. Groups of custom resources have none of their own.
fn documents(catalog: &Catalog) -> impl Iterator<Item = Document> {
    let builtin = v3::group_versions(Schema::builtin()).into_iter();
    let groups: BTreeSet<String> =
        builtin.filter(|(g, v)| catalog.of(g, v).next().is_some()).map(|(group, _)| group).collect();
    let general = v3::general_paths(groups.iter().map(String::as_str)).into_iter().map(Document::General);
    general.chain(group_versions(catalog).map(|(group, version)| Document::Version(group, version)))
}

fn index(catalog: &Catalog) -> Vec<u8> {
    let schemas = schemas(catalog);
    let refs = schemas.refs();
    let mut documents: Vec<(String, String)> =
        documents(catalog).map(|document| (document.path(), document.hash(&refs))).collect();
    documents.sort();
    v3::index(documents.iter().map(|(path, hash)| (path.as_str(), hash.as_str())))
}

/// Megabytes of text are not made on a thread that serves others.
async fn blocking<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(make).await.map_err(Status::internal)
}
