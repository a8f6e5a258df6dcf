//! Parses JSON into a value and reports the fields that an object holds twice.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{DecodeError, Decoded, syntax};

/// So many findings are told; no request needs more to be mended.
pub(crate) const MAX_STRICT: usize = 100;
/// Findings with longer texts are told in any order.
const MAX_ORDERED: usize = 1000;

pub(super) fn parse(json: &[u8]) -> Result<Decoded, DecodeError> {
    let mut seen = Seen::default();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let object = Node { path: &mut String::new(), seen: &mut seen }
        .deserialize(&mut reader)
        .map_err(|error| syntax(json, &error))?;
    reader.end().map_err(|error| syntax(json, &error))?;
    Ok(Decoded { object, strict: seen.duplicates })
}

/// Brings what was found in JSON that [`parse`] has read into the order in which it stands there, as Go's decoder finds it in one pass.
pub(super) fn order(json: &[u8], strict: &mut [String]) {
    // Paths of fields that people write are short; nobody else waits for the comparison of long ones.
    if strict.iter().any(|text| text.len() > MAX_ORDERED) {
        return;
    }
    let mut seen = Seen { wanted: strict.iter().map(|text| (text.clone(), usize::MAX)).collect(), ..Seen::default() };
    let mut reader = serde_json::Deserializer::from_slice(json);
    if (Node { path: &mut String::new(), seen: &mut seen }).deserialize(&mut reader).is_ok() {
        strict.sort_by_key(|text| seen.wanted.get(text).copied());
    }
}

/// What a reading has met.
#[derive(Default)]
struct Seen {
    duplicates: Vec<String>,
    /// How many fields.
    fields: usize,
    /// Texts of which the place is wanted, and the number of the field that they are about.
    wanted: HashMap<String, usize>,
}

impl Seen {
    fn field(&mut self, path: &str, duplicate: bool) {
        self.fields += 1;
        if duplicate && self.duplicates.len() < MAX_STRICT {
            let text = format!("duplicate field {path:?}");
            if !self.duplicates.contains(&text) {
                self.duplicates.push(text);
            }
        }
        if !self.wanted.is_empty() && path.len() < MAX_ORDERED {
            let field = self.fields;
            let kinds: &[&str] = if duplicate { &["duplicate", "unknown"] } else { &["unknown"] };
            for kind in kinds {
                if let Some(place) = self.wanted.get_mut(&format!("{kind} field {path:?}")) {
                    *place = field.min(*place);
                }
            }
        }
    }
}

fn syntax(json: &[u8], error: &serde_json::Error) -> DecodeError {
    // What is JSON to Go has another fault: it nests too deep, or is no text.
    DecodeError::Syntax(syntax::complaint(json).unwrap_or_else(|| error.to_string()))
}

struct Node<'a> {
    path: &'a mut String,
    seen: &'a mut Seen,
}

impl Node<'_> {
    fn child(&mut self) -> Node<'_> {
        Node { path: self.path, seen: self.seen }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        let length = self.path.len();
        loop {
            use std::fmt::Write;
            let _ = write!(self.path, "[{}]", list.len());
            let item = items.next_element_seed(self.child())?;
            self.path.truncate(length);
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let length = self.path.len();
        while let Some(key) = entries.next_key::<String>()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            self.seen.field(self.path, map.contains_key(&key));
            let value = entries.next_value_seed(self.child())?;
            self.path.truncate(length);
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
