//! Objects as protobuf, as client-go's components send and ask for them: single objects in the `k8s\0` envelope, lists put
//! together from their items' messages, watch events as frames with their length in front.

use bytes::Bytes;
use orlop_schema::protobuf::{self, ProtobufError, Unknown};
use orlop_schema::{GroupVersionKind, Schema, TypeRef};
use serde_json::{Map, Value};

use crate::status::Status;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// One object in its envelope.
pub fn encode(object: &Value) -> Result<Bytes, Status> {
    let (api_version, kind) = (text(object, "apiVersion"), text(object, "kind"));
    Ok(protobuf::seal(api_version, kind, &message(object)?).into())
}

/// One object's message, without the envelope.
pub fn message(object: &Value) -> Result<Vec<u8>, Status> {
    let (api_version, kind) = (text(object, "apiVersion"), text(object, "kind"));
    if (api_version, kind) == ("meta.k8s.io/v1", "PartialObjectMetadata") {
        // One field, in the place where a list has its metadata.
        return Ok(protobuf::list(&metadata(OBJECT_META, &object["metadata"])?, []));
    }
    typed(api_version, kind)?.to_protobuf(object).map_err(unencodable)
}

/// A list in its envelope, from the messages of its items.
pub fn list(api_version: &str, kind: &str, meta: &Value, items: &[Vec<u8>]) -> Result<Bytes, Status> {
    let message = protobuf::list(&metadata(LIST_META, meta)?, items.iter().map(Vec::as_slice));
    Ok(protobuf::seal(api_version, kind, &message).into())
}

/// One frame of a watch.
pub fn event(event: &str, object: &Value) -> Result<Bytes, Status> {
    Ok(protobuf::frame(&protobuf::watch_event(event, &encode(object)?)).into())
}

/// The object in an envelope; one that does not say what it is is taken for the kind that is expected.
pub fn decode(bytes: &[u8], api_version: &str, kind: &str) -> Result<Value, Status> {
    let Unknown { api_version: said_version, kind: said_kind, raw, content_type } =
        protobuf::open(bytes).map_err(undecodable)?;
    if content_type == "application/json" {
        return serde_json::from_slice(raw).map_err(|e| Status::bad_request(e.to_string()));
    }
    let or = |said: &str, expected: &str| if said.is_empty() { expected.to_owned() } else { said.to_owned() };
    let (api_version, kind) = (or(said_version, api_version), or(said_kind, kind));
    let mut object = Map::new();
    object.insert("kind".into(), kind.as_str().into());
    object.insert("apiVersion".into(), api_version.as_str().into());
    if let Value::Object(fields) = typed(&api_version, &kind)?.from_protobuf(raw).map_err(undecodable)? {
        object.extend(fields);
    }
    Ok(Value::Object(object))
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

fn typed(api_version: &str, kind: &str) -> Result<TypeRef<'static>, Status> {
    Schema::builtin()
        .type_by_kind(&GroupVersionKind::from_api_version(api_version, kind))
        .ok_or_else(|| undecodable(ProtobufError::UnknownKind { kind: kind.into(), version: api_version.into() }))
}

fn metadata(ty: &str, value: &Value) -> Result<Vec<u8>, Status> {
    let ty = Schema::builtin().type_named(ty).ok_or_else(|| Status::internal(format!("the schema has no {ty}")))?;
    ty.to_protobuf(value).map_err(unencodable)
}

fn unencodable(error: ProtobufError) -> Status {
    Status::internal(format!("object cannot be encoded: {error}"))
}

fn undecodable(error: ProtobufError) -> Status {
    Status::bad_request(error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_comes_back_as_it_went() {
        let map = json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "a", "namespace": "b"}, "data": {"k": "v"},
        });
        assert_eq!(decode(&encode(&map).unwrap(), "", "").unwrap(), map);
    }

    #[test]
    fn an_envelope_without_a_kind_holds_the_kind_expected() {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
        let bytes = protobuf::seal("", "", &message(&options).unwrap());
        assert_eq!(decode(&bytes, "v1", "DeleteOptions").unwrap(), options);
        let of_apps = protobuf::seal("apps/v1", "DeleteOptions", &message(&options).unwrap());
        assert_eq!(decode(&of_apps, "v1", "DeleteOptions").unwrap()["gracePeriodSeconds"], 0);
    }

    #[test]
    fn what_is_no_protobuf_is_a_bad_request() {
        assert_eq!(decode(b"{}", "v1", "Pod").unwrap_err().code, 400);
        assert_eq!(decode(&protobuf::seal("v1", "Nothing", &[]), "v1", "Pod").unwrap_err().code, 400);
    }

    #[test]
    fn metadata_alone_has_a_message_of_its_own() {
        let partial = json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"},
        });
        // ObjectMeta in field 1, its name in field 1.
        assert_eq!(message(&partial).unwrap(), [0x0a, 3, 0x0a, 1, b'a']);
    }
}
