//! JSON to protobuf.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{MAX_DEPTH, ProtobufError, special};
use crate::wire::Writer;
use crate::{Field, Schema, Ty, Type};

pub(super) struct Encoder<'a> {
    pub(super) schema: &'a Schema,
    depth: usize,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self { schema, depth: 0 }
    }

    /// Writes the fields of a value's message.
    pub(super) fn value_of(&mut self, ty: &Type, value: &Value, out: &mut Writer) -> Result<(), ProtobufError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ProtobufError::TooDeep);
        }
        match (ty.special, value) {
            (Some(special), _) => special::encode(self, special, ty, value, out)?,
            (None, Value::Object(map)) => self.fields(ty, &ty.fields, 0, map, out)?,
            (None, _) => return Err(wrong(ty.short_name(), value)),
        }
        self.depth -= 1;
        Ok(())
    }

    /// Writes those fields that stand `level` embedded messages deep; runs of deeper ones are messages of their own.
    fn fields(
        &mut self,
        ty: &Type,
        mut fields: &[Field],
        level: usize,
        map: &Map<String, Value>,
        out: &mut Writer,
    ) -> Result<(), ProtobufError> {
        while let Some((field, rest)) = fields.split_first() {
            let Some(embedded) = field.wire.embedded.get(level) else {
                fields = rest;
                if field.wire.tag != 0
                    && let Some(value) = map.get(&*field.name).filter(|v| !v.is_null())
                {
                    self.field(ty, field, value, out)?;
                }
                continue;
            };
            let run = fields.iter().take_while(|f| f.wire.embedded.get(level) == Some(embedded)).count();
            let (inner, rest) = fields.split_at(run);
            fields = rest;
            if inner.iter().any(|f| map.contains_key(&*f.name)) {
                out.message(*embedded, |out| self.fields(ty, inner, level + 1, map, out))?;
            }
        }
        Ok(())
    }

    fn field(&mut self, ty: &Type, field: &Field, value: &Value, out: &mut Writer) -> Result<(), ProtobufError> {
        let tag = field.wire.tag;
        let wrong = || wrong(&format!("{}.{}", ty.short_name(), field.name), value);
        match (&field.ty, value) {
            (Ty::List(list), Value::Array(items)) if field.wire.list_message => out.message(tag, |out| {
                items.iter().try_for_each(|item| self.value(&list.item, tag_of_items(), item, out).ok_or_else(wrong)?)
            }),
            (Ty::List(list), Value::Array(items)) => {
                items.iter().try_for_each(|item| self.value(&list.item, tag, item, out).ok_or_else(wrong)?)
            }
            (Ty::Map(map), Value::Object(entries)) => entries.iter().try_for_each(|(key, entry)| {
                out.message(tag, |out| {
                    out.string(1, key);
                    match (&map.value, entry) {
                        // A list as a map's value (ExtraValue) is a message.
                        (Ty::List(list), Value::Array(items)) => out.message(2, |out| {
                            items.iter().try_for_each(|item| {
                                self.value(&list.item, tag_of_items(), item, out).ok_or_else(wrong)?
                            })
                        }),
                        (value, entry) => self.value(value, 2, entry, out).ok_or_else(wrong)?,
                    }
                })
            }),
            (Ty::List(_) | Ty::Map(_), _) => Err(wrong()),
            (ty, value) => self.value(ty, tag, value, out).ok_or_else(wrong)?,
        }
    }

    /// Writes one value under a tag; none if the value does not fit the type.
    pub(super) fn value(
        &mut self,
        ty: &Ty,
        tag: u32,
        value: &Value,
        out: &mut Writer,
    ) -> Option<Result<(), ProtobufError>> {
        match ty {
            Ty::String => out.string(tag, value.as_str()?),
            Ty::Bytes => out.bytes(tag, &STANDARD.decode(value.as_str()?).ok()?),
            Ty::Bool => out.int(tag, value.as_bool()?.into()),
            Ty::Int32 => out.int(tag, value.as_i64().filter(|i| i32::try_from(*i).is_ok())?),
            Ty::Int64 => out.int(tag, value.as_i64()?),
            Ty::Double => out.double(tag, value.as_f64()?),
            Ty::Ref(id) => {
                let ty = self.schema.get(*id)?;
                return Some(out.message(tag, |out| self.value_of(ty.get(), value, out)));
            }
            Ty::Any | Ty::List(_) | Ty::Map(_) => return None,
        }
        Some(Ok(()))
    }
}

/// A list that is a message repeats its field 1, `items`.
fn tag_of_items() -> u32 {
    1
}

pub(super) fn wrong(field: &str, value: &Value) -> ProtobufError {
    ProtobufError::Type { field: field.to_owned(), value: value.to_string() }
}
