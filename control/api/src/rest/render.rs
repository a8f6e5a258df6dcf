//! Objects into answers: the version asked for, the shape asked for (object, Table, metadata only), the encoding asked for.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use http::Response;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::items::{Items, SHORT};
use super::{Call, list::Page};
use crate::convert;
use crate::object::Object;
use crate::status::Status;
use crate::wire::{self, Body, Encoding, Shape};
use crate::{strategy, table};

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
        self.accept.check_list(false, || self.go_type(&self.resource.kind))?;
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
            Shape::Metadata => self.partial(&value),
            Shape::Table => {
                let version = value["metadata"]["resourceVersion"].clone();
                let include = table::Include::parse(self.query.text("includeObject"))?;
                let mut table = table::head(&self.resource, json!({"resourceVersion": version}), true);
                table["apiVersion"] = self.accept.shape_version().into();
                table["rows"] = json!([self.row(&value, include)]);
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

    /// A row in the version that was asked for.
    pub(super) fn row(&self, value: &Value, include: table::Include) -> Value {
        let mut row = table::row(&self.resource, value, include);
        if self.accept.beta && include == table::Include::Metadata {
            row["object"]["apiVersion"] = self.accept.shape_version().into();
        }
        row
    }

    /// Whether a list says once for all items what they are.
    fn said_once(&self) -> bool {
        self.accept.shape == Shape::Object && self.resource.custom.is_none()
    }

    /// An object as an item of a list.
    fn item(&self, object: &Object) -> Result<Value, Status> {
        let mut shaped = self.shaped(object)?;
        if let Some(fields) = shaped.as_object_mut().filter(|_| self.said_once()) {
            fields.shift_remove("kind");
            fields.shift_remove("apiVersion");
        }
        Ok(shaped)
    }

    /// `PartialObjectMetadata` of an object, in the version that was asked for.
    pub fn partial(&self, value: &Value) -> Value {
        let version = self.accept.shape_version();
        json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": value["metadata"]})
    }

    /// What Go calls such a type within the server.
    fn go_type(&self, kind: &str) -> String {
        if self.resource.custom.is_some() {
            let list = if kind == self.resource.kind { "" } else { "List" };
            return format!("*unstructured.Unstructured{list}");
        }
        let package = match self.resource.group.split('.').next().unwrap_or_default() {
            "" => "core",
            group => group,
        };
        format!("*{package}.{kind}")
    }

    pub(super) fn render_list(&self, page: Page) -> Result<Response<Body>, Status> {
        self.accept.check_list(true, || self.go_type(&self.resource.list_kind()))?;
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
            table["apiVersion"] = self.accept.shape_version().into();
            let rows: Vec<Value> = page.objects.iter().map(|o| self.row(&self.value_of(o), include)).collect();
            // Kinds without a printer of their own have no list where there is nothing in it.
            let printed = self.resource.custom.is_some() || strategy::rules(&self.resource).has_printer();
            table["rows"] = if rows.is_empty() && !printed { Value::Null } else { Value::Array(rows) };
            return self.render_value(200, table);
        }
        let (kind, api_version) = match self.accept.shape {
            Shape::Metadata => ("PartialObjectMetadataList".to_owned(), self.accept.shape_version().to_owned()),
            _ => (self.resource.list_kind(), self.resource.api_version()),
        };
        if self.accept.encoding == Encoding::Yaml {
            let items = page.objects.iter().map(|o| self.item(o)).collect::<Result<Vec<_>, _>>()?;
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
        let head = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata}).to_string();
        let mut bytes = head.into_bytes();
        bytes.pop();
        bytes.extend_from_slice(b",\"items\":[");
        let as_stored = self.resource.is_storage_version();
        // As kube-apiserver writes them: what the list says of all is not said again of each, but of custom resources.
        if self.accept.shape == Shape::Object && as_stored {
            let mut items = Items::new(bytes, page.objects, !self.said_once());
            if items.left() > SHORT {
                return Ok(wire::respond_with(200, "application/json", items.boxed_unsync()));
            }
            return Ok(wire::respond(200, "application/json", items.next(usize::MAX).unwrap_or_default()));
        }
        let size = page.objects.iter().map(|o| o.size() + 1).sum::<usize>();
        let mut all = BytesMut::with_capacity(size + 256);
        all.put_slice(&bytes);
        for (i, object) in page.objects.iter().enumerate() {
            if i > 0 {
                all.put_u8(b',');
            }
            if as_stored && self.accept.shape == Shape::Metadata && !self.accept.beta {
                object.write_metadata(&mut all);
            } else {
                all.put_slice(self.item(object)?.to_string().as_bytes());
            }
        }
        all.put_slice(b"]}");
        Ok(wire::respond(200, "application/json", all.freeze()))
    }
}
