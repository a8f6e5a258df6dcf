//! Types as OpenAPI schemas.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Dialect;
use super::texts::Texts;
use crate::{Field, ListTopology, Schema, Special, Ty, Type, TypeId};

/// The named types that these types consist of, themselves included, by name.
pub(super) fn closure(schema: &Schema, roots: impl IntoIterator<Item = TypeId>) -> BTreeMap<&str, &Type> {
    let mut found = BTreeMap::new();
    let mut open: Vec<TypeId> = roots.into_iter().collect();
    let mut seen = std::collections::HashSet::new();
    while let Some(id) = open.pop() {
        let Some(ty) = schema.get(id).map(|t| t.get()).filter(|_| seen.insert(id)) else { continue };
        if !ty.name.is_empty() {
            found.insert(&*ty.name, ty);
        }
        open.extend(ty.fields.iter().filter_map(|f| referred(&f.ty)));
    }
    found
}

fn referred(ty: &Ty) -> Option<TypeId> {
    match ty {
        Ty::Ref(id) => Some(*id),
        Ty::List(list) => referred(&list.item),
        Ty::Map(map) => referred(&map.value),
        _ => None,
    }
}

/// Writes schemas.
pub(super) struct Writer<'a> {
    pub(super) schema: &'a Schema,
    pub(super) texts: &'a Texts,
    pub(super) dialect: Dialect,
}

impl Writer<'_> {
    /// The schema of a type.
    pub(super) fn definition(&self, ty: &Type) -> Value {
        if let Some(published) = self.schema.definition(self.dialect, &ty.name) {
            return published.clone();
        }
        let mut out = match ty.special {
            Some(special) => self.special(special),
            None => self.object(ty),
        };
        if let Some(text) = self.texts.of_type(&ty.name) {
            out.insert("description".into(), text.into());
        }
        Value::Object(out)
    }

    fn object(&self, ty: &Type) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("type".into(), "object".into());
        let required: Vec<_> = ty.fields.iter().filter(|f| f.required).map(|f| Value::from(&*f.name)).collect();
        if !ty.fields.is_empty() {
            let properties: Map<_, _> = ty.fields.iter().map(|f| (f.name.to_string(), self.field(ty, f))).collect();
            out.insert("properties".into(), properties.into());
        }
        if !required.is_empty() {
            out.insert("required".into(), required.into());
        }
        if !ty.kinds.is_empty() {
            let kinds =
                ty.kinds.iter().map(|k| json!({ "group": &*k.group, "kind": &*k.kind, "version": &*k.version }));
            out.insert("x-kubernetes-group-version-kind".into(), kinds.collect());
        }
        if ty.atomic {
            out.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if ty.preserve_unknown {
            out.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        }
        if let Some(unions) = &ty.unions {
            out.insert("x-kubernetes-unions".into(), unions.clone());
        }
        out
    }

    fn field(&self, of: &Type, field: &Field) -> Value {
        let text = self.texts.of_field(&of.name, &field.name);
        let mut out = self.value(&field.ty);
        if self.dialect == Dialect::V3 && out.contains_key("$ref") && (text.is_some() || field.default.is_some()) {
            // v3 ignores what stands beside a $ref.
            out = Map::from_iter([("allOf".to_owned(), json!([out]))]);
        }
        let mut put = |key: &str, value: Value| {
            out.insert(key.to_owned(), value);
        };
        if let Some(text) = text {
            put("description", text.into());
        }
        // v2 ignores what stands beside a $ref.
        if let Some(default) =
            field.default.as_ref().filter(|_| self.dialect == Dialect::V3 || !matches!(field.ty, Ty::Ref(_)))
        {
            put("default", default.clone());
        }
        if !field.values.is_empty() {
            put("enum", field.values.to_vec().into());
        }
        if field.atomic && !matches!(field.ty, Ty::Map(_)) {
            let of = if matches!(field.ty, Ty::List(_)) { "list" } else { "map" };
            put(&format!("x-kubernetes-{of}-type"), "atomic".into());
        }
        if let Some(key) = &field.patch_merge_key {
            put("x-kubernetes-patch-merge-key", (&**key).into());
        }
        let strategies =
            [(field.patch.merge, "merge"), (field.patch.retain_keys, "retainKeys"), (field.patch.replace, "replace")];
        let strategies: Vec<_> = strategies.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
        if !strategies.is_empty() {
            put("x-kubernetes-patch-strategy", strategies.join(",").into());
        }
        Value::Object(out)
    }

    fn value(&self, ty: &Ty) -> Map<String, Value> {
        let value = match ty {
            Ty::Any => json!({}),
            Ty::String => json!({ "type": "string" }),
            Ty::Bytes => json!({ "type": "string", "format": "byte" }),
            Ty::Bool => json!({ "type": "boolean" }),
            Ty::Int32 => json!({ "type": "integer", "format": "int32" }),
            Ty::Int64 => json!({ "type": "integer", "format": "int64" }),
            Ty::Double => json!({ "type": "number", "format": "double" }),
            Ty::Ref(id) => match self.schema.get(*id).map(|t| t.get()) {
                Some(found) if found.name.is_empty() => self.definition(found),
                Some(found) => self.dialect.reference(&found.name),
                None => json!({}),
            },
            Ty::List(list) => {
                let mut out = json!({ "type": "array", "items": self.value(&list.item) });
                match &list.topology {
                    ListTopology::Atomic => {}
                    ListTopology::Set => out["x-kubernetes-list-type"] = "set".into(),
                    ListTopology::Map(keys) => {
                        out["x-kubernetes-list-type"] = "map".into();
                        out["x-kubernetes-list-map-keys"] = keys.iter().map(|k| Value::from(&**k)).collect();
                    }
                }
                out
            }
            Ty::Map(map) => {
                let mut out = json!({ "type": "object", "additionalProperties": self.value(&map.value) });
                if map.atomic {
                    out["x-kubernetes-map-type"] = "atomic".into();
                }
                out
            }
        };
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    fn special(&self, special: Special) -> Map<String, Value> {
        let v3 = self.dialect == Dialect::V3;
        let value = match special {
            Special::Time | Special::MicroTime => json!({ "type": "string", "format": "date-time" }),
            Special::Quantity if v3 => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
            Special::Quantity => json!({ "type": "string" }),
            Special::IntOrString if v3 => {
                json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] })
            }
            Special::IntOrString => json!({ "type": "string", "format": "int-or-string" }),
            Special::RawExtension | Special::FieldsV1 | Special::Patch => json!({ "type": "object" }),
            Special::Json
            | Special::JsonSchemaPropsOrArray
            | Special::JsonSchemaPropsOrBool
            | Special::JsonSchemaPropsOrStringArray => json!({}),
        };
        match value {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}
