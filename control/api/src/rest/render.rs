//! Objects into answers: the version asked for, the shape asked for (object, Table, metadata only), the encoding asked for.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use http::Response;
use serde_json::{Value, json};

use super::{Call, list::Page};
use crate::convert;
use crate::object::Object;
use crate::status::Status;
use crate::table;
use crate::wire::{self, Body, Encoding, Shape};

impl Call {
    /// One object as the answer.
    pub async fn render_object(&self, code: u16, object: Arc<Object>) -> Result<Response<Body>, Status> {
        let object = &*self.present_one(object).await?;
        if self.accept.shape == Shape::Object
            && self.accept.encoding == Encoding::Json
            && self.resource.is_storage_version()
        {
            return Ok(wire::respond(code, "application/json", object.json()));
        }
        self.render_value(code, self.shaped(object)?)
    }

    /// Any value as the answer.
    pub fn render_value(&self, code: u16, value: Value) -> Result<Response<Body>, Status> {
        wire::value(code, self.accept.encoding, &value)
    }

    /// The object in the version and shape that the client gets.
    pub(super) fn shaped(&self, object: &Object) -> Result<Value, Status> {
        let value = self.value_of(object);
        Ok(match self.accept.shape {
            Shape::Object => value,
            Shape::Metadata => partial(&value),
            Shape::Table => {
                let version = value["metadata"]["resourceVersion"].clone();
                let include = table::Include::parse(self.query.text("includeObject"))?;
                let mut table = table::head(&self.resource, json!({"resourceVersion": version}), true);
                table["rows"] = json!([table::row(&self.resource, &value, include)]);
                table
            }
        })
    }

    /// The object in the version of the request.
    pub fn value_of(&self, object: &Object) -> Value {
        let mut value = object.value();
        convert::from_storage(&self.resource, &mut value);
        value
    }

    pub(super) fn render_list(&self, page: Page) -> Result<Response<Body>, Status> {
        let mut metadata = json!({"resourceVersion": page.revision.to_string()});
        if self.resource.custom.is_some() && self.accept.shape != Shape::Table {
            // Lists of objects without a Go type always say it.
            metadata["continue"] = "".into();
        }
        if let Some(next) = &page.next {
            metadata["continue"] = next.as_str().into();
        }
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        if self.accept.shape == Shape::Table {
            let include = table::Include::parse(self.query.text("includeObject"))?;
            let mut table = table::head(&self.resource, metadata, true);
            let rows = page.objects.iter().map(|o| table::row(&self.resource, &self.value_of(o), include)).collect();
            table["rows"] = Value::Array(rows);
            return self.render_value(200, table);
        }
        let (kind, api_version) = match self.accept.shape {
            Shape::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
            _ => (self.resource.list_kind(), self.resource.api_version()),
        };
        if self.accept.encoding == Encoding::Yaml {
            let items = page.objects.iter().map(|o| self.shaped(o)).collect::<Result<Vec<_>, _>>()?;
            return self.render_value(
                200,
                json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items}),
            );
        }
        if self.accept.encoding == Encoding::Protobuf {
            let message = |o: &std::sync::Arc<Object>| wire::protobuf::message(&self.shaped(o)?);
            let items = page.objects.iter().map(message).collect::<Result<Vec<_>, _>>()?;
            let bytes = wire::protobuf::list(&api_version, &kind, &metadata, &items)?;
            return Ok(wire::respond(200, Encoding::Protobuf.content_type(), bytes));
        }
        let size = page.objects.iter().map(|o| o.size() + 1).sum::<usize>();
        let mut bytes = BytesMut::with_capacity(size + 256);
        let head = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata}).to_string();
        bytes.put_slice(&head.as_bytes()[..head.len() - 1]);
        bytes.put_slice(b",\"items\":[");
        let as_stored = self.resource.is_storage_version();
        let raw = self.accept.shape == Shape::Object && as_stored;
        // As kube-apiserver writes them: what the list says of all is not said again of each, but of custom resources.
        let said = self.accept.shape == Shape::Object && self.resource.custom.is_none();
        for (i, object) in page.objects.iter().enumerate() {
            if i > 0 {
                bytes.put_u8(b',');
            }
            match (raw, said) {
                _ if as_stored && self.accept.shape == Shape::Metadata => object.write_metadata(&mut bytes),
                (true, true) => object.write_item(&mut bytes),
                (true, false) => object.write(&mut bytes),
                (false, said) => {
                    let mut shaped = self.shaped(object)?;
                    if let Some(fields) = shaped.as_object_mut().filter(|_| said) {
                        fields.shift_remove("kind");
                        fields.shift_remove("apiVersion");
                    }
                    bytes.put_slice(shaped.to_string().as_bytes());
                }
            }
        }
        bytes.put_slice(b"]}");
        Ok(wire::respond(200, "application/json", bytes.freeze()))
    }
}

/// `PartialObjectMetadata` of an object.
pub fn partial(value: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]})
}
