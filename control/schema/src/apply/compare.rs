//! What differs between two objects, as `sigs.k8s.io/structured-merge-diff` compares them (`typed/compare.go`): an object, map or list that
//! is new is a new field itself, beside those in it. What Go's structs always have is never new: structs that are no pointers, and
//! lists, maps and scalars that are written even when they are empty.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

use super::set::{Element, FieldSet};
use super::walk::{ApplyError, Shape, Walker};
use crate::{Field, Ty};

/// What differs.
#[derive(Default)]
pub(super) struct Compared {
    /// New, or with another value.
    pub(super) changed: FieldSet,
    /// Gone.
    pub(super) removed: FieldSet,
}

impl Compared {
    fn put(&mut self, element: &Element, below: Self) {
        if !below.changed.is_empty() {
            self.changed.below.insert(element.clone(), below.changed);
        }
        if !below.removed.is_empty() {
            self.removed.below.insert(element.clone(), below.removed);
        }
    }
}

impl<'a> Walker<'a> {
    /// Compares two values of one shape; `None` is none.
    pub(super) fn compare(
        self,
        shape: &Shape<'a>,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<Compared, ApplyError> {
        let mut out = Compared::default();
        out.changed.here = old.is_none() && new.is_some();
        out.removed.here = old.is_some() && new.is_none();
        if matches!(shape, Shape::Atomic) || (is_hollow(old) && is_hollow(new) && !matches!(shape, Shape::Struct(_))) {
            out.changed.here |= old.is_some() && new.is_some() && old != new;
            return Ok(out);
        }
        match shape {
            Shape::Struct(ty) => {
                for field in &ty.fields {
                    let (old, new) = (self.field_of(field, old), self.field_of(field, new));
                    let below = self.compare(&self.field(field), old.as_deref(), new.as_deref())?;
                    out.put(&Element::Field(field.name.to_string()), below);
                }
                for name in keys(old, new).filter(|name| ty.field(name).is_none()) {
                    let below = self.compare(&Self::unknown(ty), of(old, name), of(new, name))?;
                    out.put(&Element::Field(name.clone()), below);
                }
            }
            Shape::Map(ty) => {
                for name in keys(old, new) {
                    let below = self.compare(&self.shape(ty, false), of(old, name), of(new, name))?;
                    out.put(&Element::Field(name.clone()), below);
                }
            }
            Shape::List(list) => {
                let (olds, news) = (items(old), items(new));
                let (named, renamed) = (self.elements(list, olds)?, self.elements(list, news)?);
                let shape = self.shape(&list.item, false);
                let mut rest: HashMap<&Element, &Value> = HashMap::with_capacity(news.len());
                for (element, new) in renamed.iter().zip(news) {
                    rest.entry(element).or_insert(new);
                }
                for (element, old) in named.iter().zip(olds) {
                    let new = rest.get(element).copied();
                    out.put(element, self.compare(&shape, Some(old), new)?);
                }
                for element in &named {
                    rest.remove(element);
                }
                for (element, new) in rest {
                    out.put(element, self.compare(&shape, None, Some(new))?);
                }
            }
            Shape::Deduced => {
                let apart = |value: Option<&Value>| value.is_none_or(Value::is_object);
                if !(apart(old) && apart(new)) {
                    out.changed.here |= old.is_some() && new.is_some() && old != new;
                    return Ok(out);
                }
                for name in keys(old, new) {
                    let below = self.compare(&Shape::Deduced, of(old, name), of(new, name))?;
                    out.put(&Element::Field(name.clone()), below);
                }
            }
            Shape::Atomic => {}
        }
        Ok(out)
    }

    /// A field of an object that is there, with what Go would write of one that is not given.
    fn field_of<'v>(self, field: &'a Field, object: Option<&'v Value>) -> Option<Cow<'v, Value>> {
        let object = object?;
        match object.get(&*field.name) {
            // Go's structs know no null.
            Some(Value::Null) if field.wire.tag != 0 && !field.null_when_zero => self.implied(field).map(Cow::Owned),
            Some(value) => Some(Cow::Borrowed(value)),
            None => self.implied(field).map(Cow::Owned),
        }
    }

    fn implied(self, field: &Field) -> Option<Value> {
        // Custom resources have no Go structs, nor tags.
        if field.wire.tag == 0 || field.omit_zero {
            return None;
        }
        if field.null_when_zero {
            return Some(Value::Null);
        }
        match &field.ty {
            Ty::Ref(id) => {
                let written = field.default.as_ref().is_some_and(|default| *default == Value::Object(Map::new()));
                let ty = self.schema.get(*id).map(|found| found.get());
                (written && ty.is_some_and(|ty| ty.special.is_none())).then(|| Value::Object(Map::new()))
            }
            Ty::List(_) | Ty::Map(_) => Some(Value::Null),
            // No text as default: it is always written.
            Ty::String if field.default.as_ref().is_some_and(|default| default == "") => Some("".into()),
            _ if !field.required => None,
            Ty::String => Some("".into()),
            Ty::Bool => Some(false.into()),
            Ty::Int32 | Ty::Int64 => Some(0.into()),
            _ => None,
        }
    }
}

fn is_hollow(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => false,
    }
}

/// The keys of two objects, each once: what is below a key is walked once.
fn keys<'v>(old: Option<&'v Value>, new: Option<&'v Value>) -> impl Iterator<Item = &'v String> {
    let of_one = |value: Option<&'v Value>| value.and_then(Value::as_object).into_iter().flat_map(Map::keys);
    of_one(old).chain(of_one(new).filter(move |name| of(old, name).is_none()))
}

fn of<'v>(value: Option<&'v Value>, name: &str) -> Option<&'v Value> {
    value.and_then(|value| value.get(name))
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
