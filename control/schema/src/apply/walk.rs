//! Walks over values by their type: which fields a value has, what differs, what a merge and a removal make of it.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::set::{Element, FieldSet};
use crate::{Field, ListTopology, ListType, Schema, Ty, Type};

/// Why a value has no set of fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// An element of a list does not say which one it is.
    #[error("associative list with keys has an element that omits all key fields {0:?}")]
    NoKey(Vec<String>),
    /// Two elements of a list are the same one.
    #[error("duplicate entries for key {0}")]
    Duplicate(String),
}

/// How a value is owned.
pub(super) enum Shape<'a> {
    /// As a whole.
    Atomic,
    /// Field by field.
    Struct(&'a Type),
    /// Key by key.
    Map(&'a Ty),
    /// Element by element.
    List(&'a ListType),
    /// As what it looks like: an object key by key, all else as a whole. So is what no schema knows and is yet kept.
    Deduced,
}

/// Knows the types.
#[derive(Clone, Copy)]
pub(super) struct Walker<'a> {
    pub(super) schema: &'a Schema,
}

impl<'a> Walker<'a> {
    pub(super) fn shape(self, ty: &'a Ty, atomic: bool) -> Shape<'a> {
        match ty {
            _ if atomic => Shape::Atomic,
            Ty::Ref(id) => match self.schema.get(*id).map(|t| t.get()) {
                Some(ty) if ty.special.is_none() && !ty.atomic => Shape::Struct(ty),
                _ => Shape::Atomic,
            },
            Ty::Map(map) if !map.atomic => Shape::Map(&map.value),
            Ty::List(list) if list.topology != ListTopology::Atomic => Shape::List(list),
            _ => Shape::Atomic,
        }
    }

    /// How the fields of a type are owned that it does not know.
    pub(super) fn unknown(ty: &Type) -> Shape<'a> {
        if ty.preserve_unknown { Shape::Deduced } else { Shape::Atomic }
    }

    /// How a member of an object is owned.
    fn member(self, shape: &Shape<'a>, name: &str) -> Shape<'a> {
        match shape {
            Shape::Struct(ty) => ty.field(name).map_or_else(|| Self::unknown(ty), |field| self.field(field)),
            Shape::Map(ty) => self.shape(ty, false),
            Shape::Deduced => Shape::Deduced,
            _ => Shape::Atomic,
        }
    }

    pub(super) fn field(self, field: &'a Field) -> Shape<'a> {
        self.shape(&field.ty, field.atomic)
    }

    /// What an element of a list is called. Key fields that are left out have their default.
    pub(super) fn element(self, list: &ListType, item: &Value) -> Result<Element, ApplyError> {
        let ListTopology::Map(keys) = &list.topology else { return Ok(Element::Value(item.to_string())) };
        let ty = match &list.item {
            Ty::Ref(id) => self.schema.get(*id),
            _ => None,
        };
        let mut found = Map::new();
        for key in keys {
            let default = || ty.and_then(|t| t.get().field(key)).and_then(|f| f.default.as_ref());
            if let Some(value) = item.get(&**key).filter(|v| !v.is_null()).or_else(default) {
                found.insert(key.to_string(), value.clone());
            }
        }
        if found.is_empty() {
            return Err(ApplyError::NoKey(keys.iter().map(ToString::to_string).collect()));
        }
        found.sort_keys();
        Ok(Element::Key(Value::Object(found).to_string()))
    }

    pub(super) fn elements(self, list: &ListType, items: &[Value]) -> Result<Vec<Element>, ApplyError> {
        items.iter().map(|item| self.element(list, item)).collect()
    }

    /// The fields that a value has.
    pub(super) fn fields(self, shape: &Shape<'a>, value: &Value) -> Result<FieldSet, ApplyError> {
        let mut out = FieldSet::default();
        match (shape, value) {
            (Shape::Struct(ty), Value::Object(map)) => {
                for (name, value) in map {
                    let (shape, known) = match ty.field(name) {
                        Some(field) => (self.field(field), true),
                        None => (Self::unknown(ty), false),
                    };
                    let mut node = self.fields(&shape, value)?;
                    node.here |= !known || value.is_null() || value.as_object().is_some_and(Map::is_empty);
                    if !node.is_empty() {
                        out.below.insert(Element::Field(name.clone()), node);
                    }
                }
            }
            (Shape::Map(_) | Shape::Deduced, Value::Object(map)) => {
                for (name, value) in map {
                    let mut node = self.fields(&self.member(shape, name), value)?;
                    node.here = true;
                    out.below.insert(Element::Field(name.clone()), node);
                }
            }
            (Shape::List(list), Value::Array(items)) => {
                for item in items {
                    let mut node = self.fields(&self.shape(&list.item, false), item)?;
                    node.here = true;
                    out.below.insert(self.element(list, item)?, node);
                }
            }
            _ => out.here = true,
        }
        Ok(out)
    }

    /// `live` with what `config` says.
    pub(super) fn merge(self, shape: &Shape<'a>, live: &Value, config: &Value) -> Result<Value, ApplyError> {
        Ok(match (shape, live, config) {
            (Shape::Struct(_) | Shape::Map(_) | Shape::Deduced, Value::Object(live), Value::Object(config)) => {
                let mut out = live.clone();
                for (name, value) in config {
                    let shape = self.member(shape, name);
                    let merged = match live.get(name) {
                        Some(live) => self.merge(&shape, live, value)?,
                        None => value.clone(),
                    };
                    out.insert(name.clone(), merged);
                }
                Value::Object(out)
            }
            (Shape::List(list), Value::Array(live), Value::Array(config)) => {
                Value::Array(self.merge_lists(list, live, config)?)
            }
            // A null says nothing of what is owned piece by piece.
            (Shape::Struct(_) | Shape::Map(_) | Shape::Deduced, Value::Object(map), Value::Null) if !map.is_empty() => {
                live.clone()
            }
            (Shape::List(_), Value::Array(items), Value::Null) if !items.is_empty() => live.clone(),
            _ => config.clone(),
        })
    }

    /// Elements of both lists as structured-merge-diff orders them: what both have in `config`'s order, what only `live` has where it
    /// stood, what only `config` has behind that.
    fn merge_lists(self, list: &ListType, live: &[Value], config: &[Value]) -> Result<Vec<Value>, ApplyError>
    where
        Self: 'a,
    {
        let (lives, configs) = (self.elements(list, live)?, self.elements(list, config)?);
        let (of_live, of_config) = (places(&lives), places(&configs));
        if let Some((_, twice)) = configs.iter().enumerate().find(|(at, element)| of_config[element] != Some(*at)) {
            return Err(ApplyError::Duplicate(twice.to_string()));
        }
        let mut shared = configs.iter().filter(|element| of_live.contains_key(element));
        let mut next = shared.next();
        let mut merged = HashSet::new();
        let mut out = Vec::with_capacity(live.len().max(config.len()));
        let (mut l, mut r) = (0, 0);
        while l < lives.len() || r < configs.len() {
            if let (Some(left), Some(right)) = (lives.get(l), configs.get(r)) {
                if left == right {
                    // Elements that `live` has twice are not merged.
                    out.push(match of_live[left] {
                        Some(at) => self.merge_item(list, &live[at], &config[r])?,
                        None => config[r].clone(),
                    });
                    merged.insert(left);
                    (l, r, next) = (l + 1, r + 1, shared.next());
                    continue;
                }
                if of_config.contains_key(left) && next.is_some_and(|next| next != left) {
                    l += 1;
                    continue;
                }
            }
            if let Some(left) = lives.get(l) {
                if !of_config.contains_key(left) {
                    out.push(live[l].clone());
                    l += 1;
                    continue;
                }
                if merged.contains(left) {
                    l += 1;
                }
            }
            if let Some(right) = configs.get(r) {
                out.push(match of_live.get(right) {
                    Some(Some(at)) => self.merge_item(list, &live[*at], &config[r])?,
                    _ => config[r].clone(),
                });
                merged.insert(right);
                r += 1;
                if next == Some(right) {
                    next = shared.next();
                }
            }
        }
        Ok(out)
    }

    fn merge_item(self, list: &ListType, live: &Value, config: &Value) -> Result<Value, ApplyError> {
        // The item's type lives as long as the schema; the reference to the list does not matter.
        match &list.item {
            Ty::Ref(id) => match self.schema.get(*id).map(|t| t.get()) {
                Some(ty) if ty.special.is_none() && !ty.atomic => self.merge(&Shape::Struct(ty), live, config),
                _ => Ok(config.clone()),
            },
            _ => Ok(config.clone()),
        }
    }

    /// `value` without the members of `set`; lists and maps that become empty by it go too.
    pub(super) fn remove(self, shape: &Shape<'a>, value: &mut Value, set: &FieldSet) -> Result<(), ApplyError> {
        match (shape, value) {
            (Shape::Struct(_) | Shape::Map(_) | Shape::Deduced, Value::Object(map)) => {
                for (element, node) in &set.below {
                    let Element::Field(name) = element else { continue };
                    let Some(value) = map.get_mut(name) else { continue };
                    if node.here {
                        map.shift_remove(name);
                        continue;
                    }
                    let shape = self.member(shape, name);
                    self.remove(&shape, value, node)?;
                    if is_hollow(value) {
                        map.shift_remove(name);
                    }
                }
            }
            (Shape::List(list), Value::Array(items)) => {
                let mut kept = Vec::with_capacity(items.len());
                for mut item in std::mem::take(items) {
                    match set.below.get(&self.element(list, &item)?) {
                        Some(node) if node.here => {}
                        Some(node) => {
                            self.remove(&self.shape(&list.item, false), &mut item, node)?;
                            kept.push(item);
                        }
                        None => kept.push(item),
                    }
                }
                *items = kept;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Where each element stands; nowhere if it stands in several places.
fn places(elements: &[Element]) -> HashMap<&Element, Option<usize>> {
    let mut places = HashMap::with_capacity(elements.len());
    for (at, element) in elements.iter().enumerate() {
        places.entry(element).and_modify(|place| *place = None).or_insert(Some(at));
    }
    places
}

fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
