//! Protobuf to JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::{MAX_DEPTH, ProtobufError, malformed, special, utf8};
use crate::decode::is_zero;
use crate::wire::{Raw, Reader};
use crate::{Field, Schema, Ty, Type};

pub(super) struct Decoder<'a> {
    pub(super) schema: &'a Schema,
}

impl Decoder<'_> {
    /// The value of a type's message.
    pub(super) fn value_of(&self, ty: &Type, message: &[u8], depth: usize) -> Result<Value, ProtobufError> {
        if depth > MAX_DEPTH {
            return Err(ProtobufError::TooDeep);
        }
        if let Some(special) = ty.special {
            return special::decode(self, special, ty, message, depth);
        }
        let mut slots: Vec<Option<Value>> = vec![None; ty.fields.len()];
        self.fields(ty, &mut Vec::new(), message, &mut slots, depth)?;
        let mut out = Map::new();
        for (field, value) in ty.fields.iter().zip(slots) {
            let Some(mut value) = value.filter(|v| !(v.is_null() || field.omit_zero && is_zero(v))) else { continue };
            if let (Ty::Map(_), Value::Object(entries)) = (&field.ty, &mut value) {
                entries.sort_keys();
            }
            out.insert(field.name.to_string(), value);
        }
        Ok(Value::Object(out))
    }

    /// Reads a message's fields into the slots of the type; `path` holds the tags of the embedded messages it stands in.
    fn fields(
        &self,
        ty: &Type,
        path: &mut Vec<u32>,
        message: &[u8],
        slots: &mut [Option<Value>],
        depth: usize,
    ) -> Result<(), ProtobufError> {
        let mut reader = Reader(message);
        while let Some((tag, raw)) = reader.field().map_err(malformed(ty.short_name()))? {
            let at = ty.fields.iter().position(|f| f.wire.tag == tag && *f.wire.embedded == **path);
            if let Some(at) = at {
                self.field(ty, &ty.fields[at], raw, &mut slots[at], depth)?;
                continue;
            }
            path.push(tag);
            if let Raw::Bytes(inner) = raw
                && ty.fields.iter().any(|f| f.wire.embedded.starts_with(path))
            {
                self.fields(ty, path, inner, slots, depth)?;
            }
            path.pop();
        }
        Ok(())
    }

    fn field(
        &self,
        ty: &Type,
        field: &Field,
        raw: Raw<'_>,
        slot: &mut Option<Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        let wrong = || ProtobufError::Malformed(format!("{}.{}", ty.short_name(), field.name));
        match &field.ty {
            Ty::List(list) => {
                let Value::Array(items) = slot.get_or_insert_with(|| Value::Array(Vec::new())) else { return Ok(()) };
                match raw {
                    Raw::Bytes(message) if field.wire.list_message => {
                        items.extend(self.items(&list.item, message, depth)?)
                    }
                    Raw::Bytes(packed) if matches!(list.item, Ty::Int32 | Ty::Int64 | Ty::Bool) => {
                        let mut reader = Reader(packed);
                        while !reader.0.is_empty() {
                            let value = Raw::Varint(reader.varint().map_err(malformed(ty.short_name()))?);
                            items.push(self.value(&list.item, value, depth)?.ok_or_else(wrong)?);
                        }
                    }
                    raw => items.push(self.value(&list.item, raw, depth)?.ok_or_else(wrong)?),
                }
            }
            Ty::Map(map) => {
                let Raw::Bytes(entry) = raw else { return Err(wrong()) };
                let Value::Object(entries) = slot.get_or_insert_with(|| Value::Object(Map::new())) else {
                    return Ok(());
                };
                let (mut key, mut value) = ("", None);
                let mut reader = Reader(entry);
                while let Some((tag, raw)) = reader.field().map_err(malformed(ty.short_name()))? {
                    match (tag, raw, &map.value) {
                        (1, Raw::Bytes(text), _) => key = utf8(text)?,
                        (2, Raw::Bytes(message), Ty::List(list)) => {
                            value = Some(self.items(&list.item, message, depth)?.into())
                        }
                        (2, raw, ty) => value = Some(self.value(ty, raw, depth)?.ok_or_else(wrong)?),
                        _ => {}
                    }
                }
                let value = value.map_or_else(|| self.absent(&map.value, depth), Ok)?;
                entries.insert(key.to_owned(), value);
            }
            ty => *slot = Some(self.value(ty, raw, depth)?.ok_or_else(wrong)?),
        }
        Ok(())
    }

    /// A list that is a message: its field 1 repeats.
    fn items(&self, item: &Ty, message: &[u8], depth: usize) -> Result<Vec<Value>, ProtobufError> {
        let mut items = Vec::new();
        let mut reader = Reader(message);
        while let Some((tag, raw)) = reader.field().map_err(malformed("a list"))? {
            if tag == 1 {
                items.extend(self.value(item, raw, depth)?);
            }
        }
        Ok(items)
    }

    /// The value of a map's entry that has none on the wire.
    fn absent(&self, ty: &Ty, depth: usize) -> Result<Value, ProtobufError> {
        let raw = match ty {
            Ty::Bool | Ty::Int32 | Ty::Int64 => Raw::Varint(0),
            Ty::Double => Raw::Fixed64(0),
            _ => Raw::Bytes(&[]),
        };
        Ok(self.value(ty, raw, depth)?.unwrap_or(Value::Null))
    }

    /// One value; none if the wire type does not fit.
    fn value(&self, ty: &Ty, raw: Raw<'_>, depth: usize) -> Result<Option<Value>, ProtobufError> {
        Ok(Some(match (ty, raw) {
            (Ty::String, Raw::Bytes(text)) => utf8(text)?.into(),
            (Ty::Bytes, Raw::Bytes(bytes)) => STANDARD.encode(bytes).into(),
            (Ty::Bool, Raw::Varint(value)) => (value != 0).into(),
            (Ty::Int32, Raw::Varint(value)) => (value as i32).into(),
            (Ty::Int64, Raw::Varint(value)) => (value as i64).into(),
            (Ty::Double, Raw::Fixed64(bits)) => {
                Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number)
            }
            (Ty::Ref(id), Raw::Bytes(message)) => match self.schema.get(*id) {
                Some(ty) => self.value_of(ty.get(), message, depth + 1)?,
                None => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }
}
