//! The types whose protobuf form is not that of their JSON.

use jiff::Timestamp;
use serde_json::Value;

use super::decode::Decoder;
use super::encode::{Encoder, wrong};
use super::{MAGIC, ProtobufError, malformed, utf8};
use crate::wire::{Raw, Reader, Writer};
use crate::{Schema, Special, Ty, Type, TypeRef, time};

/// Writes the message of a special value.
pub(super) fn encode(
    encoder: &mut Encoder<'_>,
    special: Special,
    ty: &Type,
    value: &Value,
    out: &mut Writer,
) -> Result<(), ProtobufError> {
    let wrong = || wrong(ty.short_name(), value);
    match (special, value) {
        (Special::Time | Special::MicroTime, Value::String(text)) => {
            let time: Timestamp = text.parse().map_err(|_| wrong())?;
            out.int(1, time.as_second());
            let nanos = if special == Special::Time { 0 } else { i64::from(time.subsec_nanosecond()) / 1000 * 1000 };
            out.int(2, nanos);
        }
        (Special::Quantity, Value::String(text)) => out.string(1, text),
        (Special::Quantity, Value::Number(number)) => out.string(1, &number.to_string()),
        (Special::IntOrString, Value::Number(number)) => {
            out.int(1, 0);
            out.int(2, number.as_i64().filter(|i| i32::try_from(*i).is_ok()).ok_or_else(wrong)?);
            out.string(3, "");
        }
        (Special::IntOrString, Value::String(text)) => {
            out.int(1, 1);
            out.int(2, 0);
            out.string(3, text);
        }
        (Special::RawExtension | Special::FieldsV1 | Special::Json, value) => {
            out.bytes(1, value.to_string().as_bytes())
        }
        (Special::JsonSchemaPropsOrArray, Value::Array(items)) => {
            items.iter().try_for_each(|item| schema_props(encoder, ty, 2, item, out))?;
        }
        (Special::JsonSchemaPropsOrArray | Special::JsonSchemaPropsOrStringArray, Value::Object(_)) => {
            schema_props(encoder, ty, 1, value, out)?
        }
        (Special::JsonSchemaPropsOrBool, Value::Bool(allows)) => out.int(1, i64::from(*allows)),
        (Special::JsonSchemaPropsOrBool, Value::Object(_)) => {
            out.int(1, 1);
            schema_props(encoder, ty, 2, value, out)?;
        }
        (Special::JsonSchemaPropsOrStringArray, Value::Array(items)) => {
            items.iter().try_for_each(|item| encoder.value(&Ty::String, 2, item, out).ok_or_else(wrong)?)?;
        }
        (Special::Patch, _) => return Err(ProtobufError::NoForm(ty.short_name().to_owned())),
        _ => return Err(wrong()),
    }
    Ok(())
}

/// The value of a special message.
pub(super) fn decode(
    decoder: &Decoder<'_>,
    special: Special,
    ty: &Type,
    message: &[u8],
    depth: usize,
) -> Result<Value, ProtobufError> {
    let bad = || ProtobufError::Malformed(ty.short_name().to_owned());
    let (mut ints, mut bytes): ([i64; 3], [Vec<&[u8]>; 4]) = ([0; 3], Default::default());
    let mut reader = Reader(message);
    while let Some((tag, raw)) = reader.field().map_err(malformed(ty.short_name()))? {
        match (tag as usize, raw) {
            (tag @ 1..=2, Raw::Varint(value)) => ints[tag] = value as i64,
            (tag @ 1..=3, Raw::Bytes(value)) => bytes[tag].push(value),
            _ => {}
        }
    }
    let [_, first, second, third] = bytes;
    let props = |message: &[u8]| match related_props(decoder.schema, ty) {
        Some(props) => decoder.value_of(props.get(), message, depth + 1),
        None => Err(bad()),
    };
    Ok(match special {
        // Go's zero time is the empty message.
        Special::Time | Special::MicroTime if message.is_empty() => Value::Null,
        Special::Time | Special::MicroTime => {
            let time = Timestamp::new(ints[1], i32::try_from(ints[2]).map_err(|_| bad())?).map_err(|_| bad())?;
            let text = if special == Special::Time { time::seconds(time) } else { time::micros(time) };
            text.into()
        }
        Special::Quantity => match first.last().map(|text| utf8(text)).transpose()?.unwrap_or("") {
            "" => "0".into(),
            text => text.into(),
        },
        Special::IntOrString if ints[1] == 0 => Value::from(ints[2]),
        Special::IntOrString => third.last().map(|text| utf8(text)).transpose()?.unwrap_or("").into(),
        Special::RawExtension => match first.last() {
            None | Some([]) => Value::Null,
            Some(raw) if raw.starts_with(MAGIC) => decoder.schema.decode_protobuf(raw)?,
            Some(raw) => serde_json::from_slice(raw).map_err(|_| bad())?,
        },
        Special::FieldsV1 | Special::Json => match first.last() {
            None | Some([]) => Value::Null,
            Some(raw) => serde_json::from_slice(raw).map_err(|_| bad())?,
        },
        Special::JsonSchemaPropsOrArray | Special::JsonSchemaPropsOrStringArray if !first.is_empty() => {
            props(first[first.len() - 1])?
        }
        Special::JsonSchemaPropsOrArray => Value::Array(second.into_iter().map(props).collect::<Result<_, _>>()?),
        Special::JsonSchemaPropsOrStringArray => {
            Value::Array(second.into_iter().map(|text| utf8(text).map(Value::from)).collect::<Result<_, _>>()?)
        }
        Special::JsonSchemaPropsOrBool => match second.last() {
            Some(message) => props(message)?,
            None => Value::Bool(ints[1] != 0),
        },
        Special::Patch => return Err(ProtobufError::NoForm(ty.short_name().to_owned())),
    })
}

fn schema_props(
    encoder: &mut Encoder<'_>,
    ty: &Type,
    tag: u32,
    value: &Value,
    out: &mut Writer,
) -> Result<(), ProtobufError> {
    let props = related_props(encoder.schema, ty).ok_or_else(|| ProtobufError::NoForm(ty.short_name().to_owned()))?;
    out.message(tag, |out| encoder.value_of(props.get(), value, out))
}

/// `JSONSchemaProps` beside a `JSONSchemaPropsOr…`.
fn related_props<'a>(schema: &'a Schema, ty: &Type) -> Option<TypeRef<'a>> {
    let (stem, _) = ty.name.split_once("PropsOr")?;
    schema.type_named(&format!("{stem}Props"))
}
