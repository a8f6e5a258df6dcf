//! Walks a value along its type: prunes, checks, and rewrites to canonical form.

use std::fmt::Write;
use std::mem;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::{DecodeError, is_zero};
use crate::quantity::Quantity;
use crate::{ListType, MapType, Schema, Special, Ty, Type, time};

/// As Go's `StdEncoding` reads it: bits that are left over at the end are nobody's business.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// One walk; gathers what it drops.
pub(super) struct Walk<'a> {
    schema: &'a Schema,
    path: Vec<Step<'a>>,
    pub(super) strict: Vec<String>,
}

enum Step<'a> {
    Field(&'a Type, &'a str),
    Key(String),
    Index(usize),
}

impl<'a> Walk<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self { schema, path: Vec::new(), strict: Vec::new() }
    }

    pub(super) fn value(&mut self, ty: &'a Ty, value: &mut Value) -> Result<(), DecodeError> {
        match ty {
            Ty::Any => Ok(()),
            Ty::String => match value {
                Value::String(_) => Ok(()),
                other => Err(self.wrong(ty, other)),
            },
            Ty::Bool => match value {
                Value::Bool(_) => Ok(()),
                other => Err(self.wrong(ty, other)),
            },
            Ty::Int32 => self.integer(ty, value, i64::from(i32::MIN)..=i64::from(i32::MAX)),
            Ty::Int64 => self.integer(ty, value, i64::MIN..=i64::MAX),
            Ty::Double => match value {
                Value::Number(_) => Ok(()),
                other => Err(self.wrong(ty, other)),
            },
            Ty::Bytes => self.bytes(ty, value),
            Ty::List(list) => self.list(ty, list, value),
            Ty::Map(map) => self.map(ty, map, value),
            Ty::Ref(id) => match self.schema.get(*id) {
                Some(found) => self.object(ty, found.get(), value),
                None => Ok(()),
            },
        }
    }

    fn integer(&self, ty: &Ty, value: &mut Value, range: std::ops::RangeInclusive<i64>) -> Result<(), DecodeError> {
        match value {
            Value::Number(n) => match n.as_i64() {
                Some(i) if range.contains(&i) => Ok(()),
                _ => Err(self.wrong_text(format!("number {n}"), self.go_type(ty))),
            },
            other => Err(self.wrong(ty, other)),
        }
    }

    fn bytes(&self, ty: &Ty, value: &mut Value) -> Result<(), DecodeError> {
        let Value::String(text) = value else { return Err(self.wrong(ty, value)) };
        // Go's decoder skips line breaks.
        if text.contains(['\n', '\r']) {
            text.retain(|c| c != '\n' && c != '\r');
        }
        match BASE64.decode(text.as_bytes()) {
            Ok(_) => Ok(()),
            Err(error) => {
                let at = match error {
                    base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                    _ => text.len() / 4 * 4,
                };
                Err(DecodeError::Form(format!("illegal base64 data at input byte {at}")))
            }
        }
    }

    fn list(&mut self, ty: &'a Ty, list: &'a ListType, value: &mut Value) -> Result<(), DecodeError> {
        let Value::Array(items) = value else { return Err(self.wrong(ty, value)) };
        for (at, item) in items.iter_mut().enumerate() {
            if item.is_null() {
                *item = self.zero(&list.item);
                continue;
            }
            self.path.push(Step::Index(at));
            self.value(&list.item, item)?;
            self.path.pop();
        }
        Ok(())
    }

    fn map(&mut self, ty: &'a Ty, map: &'a MapType, value: &mut Value) -> Result<(), DecodeError> {
        let Value::Object(entries) = value else { return Err(self.wrong(ty, value)) };
        for (key, entry) in entries.iter_mut() {
            if entry.is_null() {
                *entry = self.zero(&map.value);
                continue;
            }
            self.path.push(Step::Key(key.clone()));
            self.value(&map.value, entry)?;
            self.path.pop();
        }
        if !entries.keys().is_sorted() {
            entries.sort_keys();
        }
        Ok(())
    }

    fn object(&mut self, ty: &'a Ty, found: &'a Type, value: &mut Value) -> Result<(), DecodeError> {
        if let Some(special) = found.special {
            return self.special(ty, special, value);
        }
        let Value::Object(map) = value else { return Err(self.wrong(ty, value)) };
        let mut known: Vec<Option<(String, Value)>> = Vec::new();
        known.resize_with(found.fields.len(), || None);
        let mut kept = Map::new();
        for (key, mut entry) in mem::take(map) {
            let Some(at) = found.fields.iter().position(|f| *f.name == key) else {
                if found.preserve_unknown {
                    kept.insert(key, entry);
                } else {
                    self.unknown(&key);
                }
                continue;
            };
            if entry.is_null() {
                continue;
            }
            let field = &found.fields[at];
            self.path.push(Step::Field(found, &field.name));
            self.value(&field.ty, &mut entry)?;
            self.path.pop();
            if field.omit_zero && is_zero(&entry) {
                continue;
            }
            known[at] = Some((key, entry));
        }
        for (field, found) in found.fields.iter().zip(&mut known) {
            if field.null_when_zero && found.is_none() {
                *found = Some((field.name.to_string(), Value::Null));
            }
        }
        map.extend(known.into_iter().flatten());
        map.extend(kept);
        Ok(())
    }

    fn special(&mut self, ty: &'a Ty, special: Special, value: &mut Value) -> Result<(), DecodeError> {
        match (special, &mut *value) {
            (Special::Time, Value::String(text)) => canonical(text, time::canonical_seconds),
            (Special::MicroTime, Value::String(text)) => canonical(text, time::canonical_micros),
            (Special::Quantity, Value::String(text)) => canonical(text, canonical_quantity),
            (Special::Quantity, Value::Number(number)) => {
                let mut text = number.to_string();
                canonical(&mut text, canonical_quantity)?;
                *value = Value::String(text);
                Ok(())
            }
            (Special::Quantity, _) => Err(DecodeError::Form(crate::quantity::QuantityError::Format.to_string())),
            (Special::IntOrString, Value::String(_)) => Ok(()),
            (Special::IntOrString, other) => {
                let fits = other.as_i64().is_some_and(|i| i32::try_from(i).is_ok());
                if fits {
                    Ok(())
                } else {
                    Err(DecodeError::Type {
                        value: describe_number(other),
                        target: "Go value".into(),
                        go_type: "int32".into(),
                    })
                }
            }
            (Special::Time | Special::MicroTime, other) => Err(DecodeError::Type {
                value: describe(other).into(),
                target: "Go value".into(),
                go_type: "string".into(),
            }),
            (Special::JsonSchemaPropsOrArray, Value::Array(items)) => {
                let mut items = mem::take(items);
                for (at, item) in items.iter_mut().enumerate() {
                    self.path.push(Step::Index(at));
                    self.json_schema_props(ty, item)?;
                    self.path.pop();
                }
                *value = Value::Array(items);
                Ok(())
            }
            (
                Special::JsonSchemaPropsOrArray
                | Special::JsonSchemaPropsOrBool
                | Special::JsonSchemaPropsOrStringArray,
                Value::Object(_),
            ) => self.json_schema_props(ty, value),
            _ => Ok(()),
        }
    }

    /// A schema within one of the `JSONSchemaPropsOr…` types: the type of the same package without the suffix.
    fn json_schema_props(&mut self, ty: &'a Ty, value: &mut Value) -> Result<(), DecodeError> {
        let Ty::Ref(id) = ty else { return Ok(()) };
        let Some(name) = self
            .schema
            .get(*id)
            .and_then(|t| t.get().name.split_once("PropsOr").map(|(stem, _)| format!("{stem}Props")))
        else {
            return Ok(());
        };
        match self.schema.type_named(&name) {
            Some(props) => self.object(ty, props.get(), value),
            None => Ok(()),
        }
    }

    /// Go's zero value, which a `null` in a list or map becomes.
    fn zero(&self, ty: &Ty) -> Value {
        match ty {
            Ty::Any => Value::Null,
            Ty::String | Ty::Bytes => Value::String(String::new()),
            Ty::Bool => Value::Bool(false),
            Ty::Int32 | Ty::Int64 | Ty::Double => Value::from(0),
            Ty::List(_) | Ty::Map(_) => Value::Null,
            Ty::Ref(id) => match self.schema.get(*id).and_then(|t| t.get().special) {
                None => Value::Object(Map::new()),
                Some(Special::Quantity) => Value::String("0".into()),
                Some(Special::IntOrString) => Value::from(0),
                Some(_) => Value::Null,
            },
        }
    }

    fn unknown(&mut self, key: &str) {
        // Go's decoder stops gathering at 100.
        if self.strict.len() >= 100 {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Index(at) => {
                    let _ = write!(path, "[{at}]");
                }
                Step::Field(_, name) => push(&mut path, name),
                Step::Key(name) => push(&mut path, name),
            }
        }
        push(&mut path, key);
        if self.strict.len() < super::parse::MAX_STRICT {
            self.strict.push(format!("unknown field {path:?}"));
        }
    }

    fn wrong(&self, ty: &Ty, value: &Value) -> DecodeError {
        self.wrong_text(describe(value).to_owned(), self.go_type(ty))
    }

    fn wrong_text(&self, value: String, go_type: String) -> DecodeError {
        let mut fields = String::new();
        let mut holder = None;
        for step in &self.path {
            if let Step::Field(ty, name) = step {
                push(&mut fields, name);
                holder = Some(*ty);
            }
        }
        let target =
            holder.map_or_else(|| "Go value".to_owned(), |ty| format!("Go struct field {}.{fields}", ty.short_name()));
        DecodeError::Type { value, target, go_type }
    }

    /// The type as Go prints it. String types with names of their own (`v1.Protocol`) are not known to the table and print as `string`.
    fn go_type(&self, ty: &Ty) -> String {
        match ty {
            Ty::Any => "interface {}".into(),
            Ty::String => "string".into(),
            Ty::Bytes => "[]uint8".into(),
            Ty::Bool => "bool".into(),
            Ty::Int32 => "int32".into(),
            Ty::Int64 => "int64".into(),
            Ty::Double => "float64".into(),
            Ty::List(list) => format!("[]{}", self.go_type(&list.item)),
            Ty::Map(map) => format!("map[string]{}", self.go_type(&map.value)),
            Ty::Ref(id) => self.schema.get(*id).map_or_else(String::new, |t| t.get().go_name().to_owned()),
        }
    }
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn canonical(text: &mut String, rewrite: impl Fn(&str) -> Result<Option<String>, String>) -> Result<(), DecodeError> {
    if let Some(new) = rewrite(text).map_err(DecodeError::Form)? {
        *text = new;
    }
    Ok(())
}

/// The canonical form if it differs.
fn canonical_quantity(text: &str) -> Result<Option<String>, String> {
    let new = text.parse::<Quantity>().map_err(|e| e.to_string())?.to_string();
    Ok((new != text).then_some(new))
}

/// What Go's decoder calls a JSON value.
fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn describe_number(value: &Value) -> String {
    match value {
        Value::Number(n) => format!("number {n}"),
        other => describe(other).into(),
    }
}
