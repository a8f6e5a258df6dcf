//! Strategic merge patch: Kubernetes' own merge, in which lists merge by the key that the type declares.
//!
//! Semantics, directives (`$patch`, `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`) and error texts are those of
//! `k8s.io/apimachinery/pkg/util/strategicpatch` as kube-apiserver calls it: a `null` deletes, and is dropped where there is nothing to delete.

mod directives;
mod order;

use serde_json::{Map, Value};

use crate::{Schema, Ty, TypeRef};
use directives::{DELETE, DELETE_FROM, PATCH, REPLACE, RETAIN_KEYS, SET_ORDER};

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// The patch or the object is no JSON object.
    #[error("invalid JSON document")]
    BadJsonDoc,
    /// An element of a merging list lacks the key it is merged by.
    #[error("map: {map} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The element.
        map: String,
        /// The key.
        key: String,
    },
    /// The value of a `$patch` directive is unknown.
    #[error("unknown patch type: {directive} in map: {map}")]
    BadPatchType {
        /// The directive's value.
        directive: String,
        /// The object it stands in.
        map: String,
    },
    /// `$patch: merge` in a list.
    #[error("merging lists cannot yet be specified in the patch")]
    MergeInList,
    /// Elements of a list are of different types.
    #[error("list element types are not identical: {0}")]
    MixedList(String),
    /// A list within a list would have to be merged.
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// A merging list of objects whose type declares no key.
    #[error("cannot merge lists without merge key for {0}")]
    NoKeyDeclared(String),
    /// `$retainKeys` is no list.
    #[error("invalid patch format of retainKeys")]
    BadRetainKeys,
    /// A field of the patch is not in `$retainKeys`.
    #[error("patch content doesn't match retainKeys list")]
    RetainKeysMismatch,
    /// `$setElementOrder` is no list, or lacks an element of the patch.
    #[error("invalid patch format of setElementOrder list")]
    BadSetElementOrder,
    /// The elements of the patch and of `$setElementOrder` come in different orders.
    #[error("The order in patch list:\n{patch}\n doesn't match {directive} list:\n{order}\n")]
    OrderMismatch {
        /// The patch's list.
        patch: String,
        /// `$setElementOrder`.
        directive: &'static str,
        /// The directive's list.
        order: String,
    },
}

type Result<T> = std::result::Result<T, StrategicError>;

impl TypeRef<'_> {
    /// Applies a strategic merge patch to an object of this type.
    pub fn strategic_merge(self, original: &Value, patch: &Value) -> Result<Value> {
        let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
            return Err(StrategicError::BadJsonDoc);
        };
        let ty = Ty::Ref(self.id());
        merge_map(original.clone(), patch.clone(), Shape { schema: self.schema(), ty: Some(&ty) }).map(Value::Object)
    }
}

/// The type at a place of the object; `None` where the table knows nothing more.
#[derive(Clone, Copy)]
struct Shape<'a> {
    schema: &'a Schema,
    ty: Option<&'a Ty>,
}

/// What the type says about merging one field.
struct Meta<'a> {
    /// The shape of the field's value, or of its elements if it is a list.
    shape: Shape<'a>,
    merge: bool,
    replace: bool,
    key: Option<&'a str>,
}

impl<'a> Shape<'a> {
    fn field(self, name: &str) -> Meta<'a> {
        let plain = |ty| Meta { shape: Shape { schema: self.schema, ty }, merge: false, replace: false, key: None };
        match self.ty {
            Some(Ty::Ref(id)) => {
                let field = self.schema.get(*id).and_then(|t| t.get().field(name));
                let Some(field) = field else { return plain(None) };
                let ty = match &field.ty {
                    Ty::List(list) => &list.item,
                    other => other,
                };
                Meta {
                    shape: Shape { schema: self.schema, ty: Some(ty) },
                    merge: field.patch.merge,
                    replace: field.patch.replace,
                    key: field.patch_merge_key.as_deref(),
                }
            }
            Some(Ty::Map(map)) => plain(Some(&map.value)),
            _ => plain(None),
        }
    }

    fn name(self) -> String {
        match self.ty {
            Some(Ty::Ref(id)) => self.schema.get(*id).map_or_else(String::new, |t| t.get().short_name().to_owned()),
            _ => String::new(),
        }
    }
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    shape: Shape<'_>,
) -> Result<Map<String, Value>> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some(REPLACE) => {
                patch.shift_remove(PATCH);
                Ok(patch)
            }
            Some(DELETE) => Ok(Map::new()),
            _ => Err(directives::bad_patch_type(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    ordered_lists(&mut original, &mut patch, shape)?;
    for (key, value) in patch {
        let (key, deleting) = match key.strip_prefix(DELETE_FROM) {
            Some(field) => (field.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            original.shift_remove(&key);
            continue;
        }
        let Some(old) = original.get_mut(&key) else {
            if !deleting {
                add(&mut original, key, value);
            }
            continue;
        };
        let meta = shape.field(&key);
        *old = match (old.take(), value) {
            (Value::Object(old), Value::Object(new)) if !meta.replace => {
                Value::Object(merge_map(old, new, meta.shape)?)
            }
            (Value::Array(old), Value::Array(new)) if meta.merge || deleting => {
                Value::Array(merge_list(old, new, &meta, deleting)?)
            }
            // Neither a list that replaces nor a value of another kind is merged.
            (old, _) if deleting => old,
            (_, new) => match directives::strip(new) {
                Some(new) => new,
                None => {
                    original.shift_remove(&key);
                    continue;
                }
            },
        };
    }
    Ok(original)
}

/// Takes a value that the object does not have yet, without its nulls and directives.
fn add(original: &mut Map<String, Value>, key: String, mut value: Value) {
    directives::drop_nulls(&mut value);
    if let Some(value) = directives::strip(value) {
        original.insert(key, value);
    }
}

/// `$retainKeys`: drops the fields of the object that the patch does not name.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<()> {
    let Some(keys) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(StrategicError::BadRetainKeys) };
    let kept = |name: &str| keys.iter().any(|k| k.as_str() == Some(name));
    for (name, value) in patch.iter() {
        if !value.is_null() && !name.starts_with(DELETE_FROM) && !name.starts_with(SET_ORDER) && !kept(name) {
            return Err(StrategicError::RetainKeysMismatch);
        }
    }
    original.retain(|name, _| kept(name));
    Ok(())
}

/// `$setElementOrder/FIELD`: merges the field's list and puts it into that order. The lists leave the patch.
fn ordered_lists(original: &mut Map<String, Value>, patch: &mut Map<String, Value>, shape: Shape<'_>) -> Result<()> {
    let keys: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for directive in keys {
        let field = &directive[SET_ORDER.len()..];
        let Some(Value::Array(order)) = patch.shift_remove(&directive) else {
            return Err(StrategicError::BadSetElementOrder);
        };
        let meta = shape.field(field);
        let list = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(StrategicError::BadSetElementOrder),
        };
        let in_patch = list(patch.shift_remove(field).filter(|v| !v.is_null()))?;
        let in_original = list(original.get(field).cloned())?;
        order::validate(in_patch.as_deref().unwrap_or(&[]), &order, meta.key)?;
        let server_order = in_original.clone().unwrap_or_default();
        let merged = match (in_original, in_patch) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => match directives::strip(Value::Array(new)) {
                Some(Value::Array(new)) => new,
                _ => continue,
            },
            (Some(old), Some(new)) if meta.merge => merge_list(old, new, &meta, false)?,
            (Some(_), Some(new)) => new,
        };
        let merged = order::enforce(merged, &order, &server_order, meta.key);
        original.insert(field.to_owned(), Value::Array(merged));
    }
    Ok(())
}

fn merge_list(old: Vec<Value>, new: Vec<Value>, meta: &Meta<'_>, deleting: bool) -> Result<Vec<Value>> {
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    let objects = element_kind(&old, &new)?;
    if !objects {
        if deleting {
            return Ok(old.into_iter().filter(|v| !new.contains(v)).collect());
        }
        let mut merged: Vec<Value> = Vec::with_capacity(old.len() + new.len());
        for item in old.iter().chain(&new) {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(order::enforce(merged, &new, &old, None));
    }
    let key = meta.key.ok_or_else(|| StrategicError::NoKeyDeclared(meta.shape.name()))?;
    let (mut merged, new) = special_elements(old, new, key)?;
    let server_order = merged.clone();
    for item in new.iter() {
        let Value::Object(item) = item else { continue };
        let value = item.get(key).ok_or_else(|| directives::no_merge_key(item, key))?;
        match merged.iter().position(|m| m.get(key) == Some(value)) {
            Some(at) => {
                if let Value::Object(found) = merged[at].take() {
                    merged[at] = Value::Object(merge_map(found, item.clone(), meta.shape)?);
                }
            }
            None => {
                let mut added = Value::Object(item.clone());
                directives::drop_nulls(&mut added);
                merged.extend(directives::strip(added));
            }
        }
    }
    Ok(order::enforce(merged, &new, &server_order, Some(key)))
}

/// Carries out the elements that are directives. Returns the list to merge into and the elements to merge.
fn special_elements(mut old: Vec<Value>, new: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut rest = Vec::with_capacity(new.len());
    let mut replace = false;
    for item in new {
        let Value::Object(map) = &item else { continue };
        match map.get(PATCH).map(|d| (d.as_str(), d)) {
            None => rest.push(item),
            Some((Some(DELETE), _)) => {
                let value = map.get(key).ok_or_else(|| directives::no_merge_key(map, key))?;
                old.retain(|o| o.get(key) != Some(value));
            }
            Some((Some(REPLACE), _)) => replace = true,
            Some((Some(directives::MERGE), _)) => return Err(StrategicError::MergeInList),
            Some((_, directive)) => return Err(directives::bad_patch_type(directive, map)),
        }
    }
    if replace { Ok((rest, Vec::new())) } else { Ok((old, rest)) }
}

/// Whether the elements are objects; all must be of one kind.
fn element_kind(old: &[Value], new: &[Value]) -> Result<bool> {
    let mut kinds = old.iter().chain(new).map(std::mem::discriminant);
    let first = old.iter().chain(new).next();
    if old.iter().chain(new).any(Value::is_array) {
        return Err(StrategicError::ListOfLists);
    }
    if let Some(kind) = kinds.next()
        && !kinds.all(|k| k == kind)
    {
        return Err(StrategicError::MixedList(Value::Array(old.iter().chain(new).cloned().collect()).to_string()));
    }
    Ok(first.is_some_and(Value::is_object))
}

#[cfg(test)]
mod tests;
