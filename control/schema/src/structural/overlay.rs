//! A custom resource in one version as a schema of its own on top of the built-in one: by it server-side apply merges, and the
//! OpenAPI documents are written.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Structural, publish};
use crate::openapi::Dialect;
use crate::{
    Field, GroupVersionKind, ListTopology, ListType, MapType, PatchStrategy, Resource, Schema, Str, Subresource, Ty,
    Type, WireTag,
};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// What makes a custom resource in one version.
#[derive(Clone, Debug)]
pub struct CustomType<'a> {
    /// Group, version and kind.
    pub kind: GroupVersionKind,
    /// Kind of its lists.
    pub list_kind: &'a str,
    /// Plural, as in the path.
    pub plural: &'a str,
    /// Singular.
    pub singular: &'a str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether there is a status subresource.
    pub status: bool,
    /// Whether there is a scale subresource.
    pub scale: bool,
    /// The paths that its objects can be selected by, without a leading dot.
    pub selectable: Vec<&'a str>,
    /// Its schema, if it has one.
    pub structural: Option<&'a Structural>,
    /// The same as JSON.
    pub schema: Option<&'a serde_json::Value>,
}

/// The overlay.
pub fn overlay(custom: &CustomType<'_>) -> Schema {
    let base = Schema::builtin();
    let model = model_name(&custom.kind);
    let list_kind = GroupVersionKind { kind: custom.list_kind.into(), ..custom.kind.clone() };
    let list_model = model_name(&list_kind);
    let mut types = Types { base, types: Vec::new() };
    let object = types.reserve();
    let list = types.reserve();
    let fallback = Structural { preserve_unknown: true, ..Structural::default() };
    types.fill(object, custom.structural.unwrap_or(&fallback), true);
    let meta = |name: &str| base.type_named(name).map_or(Ty::Any, |ty| Ty::Ref(ty.id()));
    {
        let ty = &mut types.types[object];
        ty.name = model.as_str().into();
        ty.kinds = [custom.kind.clone()].into();
    }
    types.types[list] = Type {
        name: list_model.as_str().into(),
        kinds: [list_kind].into(),
        special: None,
        atomic: false,
        preserve_unknown: false,
        unions: None,
        fields: [
            field("apiVersion", Ty::String),
            field("kind", Ty::String),
            field("metadata", meta(LIST_META)),
            field(
                "items",
                Ty::List(Box::new(ListType { item: Ty::Ref(base.overlay_id(object)), topology: ListTopology::Atomic })),
            ),
        ]
        .into(),
    };
    let mut subresources = Vec::new();
    let verbs: Box<[Str]> = ["get", "patch", "update"].map(Str::from).into();
    if custom.scale {
        subresources.push(Subresource {
            name: "scale".into(),
            kind: GroupVersionKind::new("autoscaling", "v1", "Scale"),
            verbs: verbs.clone(),
            connect: false,
            ty: base.type_named(SCALE).map(|ty| ty.id()),
        });
    }
    if custom.status {
        subresources.push(Subresource {
            name: "status".into(),
            kind: custom.kind.clone(),
            verbs,
            connect: false,
            ty: Some(base.overlay_id(object)),
        });
    }
    let resource = Resource {
        group: custom.kind.group.clone(),
        version: custom.kind.version.clone(),
        kind: custom.kind.kind.clone(),
        list_kind: custom.list_kind.into(),
        plural: custom.plural.into(),
        singular: custom.singular.into(),
        short_names: [].into(),
        categories: [].into(),
        namespaced: custom.namespaced,
        verbs: VERBS.map(Str::from).into(),
        subresources: subresources.into(),
        ty: base.overlay_id(object),
        enabled_by_default: true,
    };
    let mut definitions = HashMap::new();
    for dialect in [Dialect::V2, Dialect::V3] {
        let mut object = publish::publish(custom.schema, &custom.kind, dialect);
        let mut list = publish::publish_list(&custom.kind, custom.list_kind, custom.plural, &model, dialect);
        if !custom.selectable.is_empty() {
            let fields: Value = custom.selectable.iter().map(|path| json!({ "fieldPath": path })).collect();
            object["x-kubernetes-selectable-fields"] = fields.clone();
            list["x-kubernetes-selectable-fields"] = fields;
        }
        definitions.insert((dialect, Str::from(&*model)), object);
        definitions.insert((dialect, Str::from(&*list_model)), list);
    }
    base.overlay(types.types, vec![resource]).with_definitions(definitions)
}

/// `com.example.stable.v1.CronTab`
fn model_name(kind: &GroupVersionKind) -> String {
    let group: Vec<&str> = kind.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), kind.version, kind.kind)
}

fn field(name: &str, ty: Ty) -> Field {
    Field {
        name: name.into(),
        ty,
        required: false,
        omit_zero: false,
        null_when_zero: false,
        atomic: false,
        patch: PatchStrategy::default(),
        patch_merge_key: None,
        wire: WireTag::default(),
        values: [].into(),
        default: None,
    }
}

/// The types of an overlay as they are made.
struct Types {
    base: &'static Schema,
    types: Vec<Type>,
}

impl Types {
    /// A place for a type that others refer to before it is filled.
    fn reserve(&mut self) -> usize {
        self.types.push(Type {
            name: "".into(),
            kinds: [].into(),
            special: None,
            atomic: false,
            preserve_unknown: false,
            unions: None,
            fields: [].into(),
        });
        self.types.len() - 1
    }

    fn fill(&mut self, at: usize, node: &Structural, object_root: bool) {
        let mut fields = Vec::new();
        if object_root {
            let meta = self.base.type_named(OBJECT_META).map_or(Ty::Any, |ty| Ty::Ref(ty.id()));
            fields.extend([field("apiVersion", Ty::String), field("kind", Ty::String), field("metadata", meta)]);
        }
        for (name, property) in &node.properties {
            if object_root && super::META_FIELDS.contains(&name.as_str()) {
                continue;
            }
            let ty = self.ty(property);
            let default = property.default.clone();
            fields.push(Field { default, ..field(name, ty) });
        }
        self.types[at].preserve_unknown = node.preserve_unknown;
        self.types[at].atomic = node.map_type.as_deref() == Some("atomic");
        self.types[at].fields = fields.into();
    }

    fn ty(&mut self, node: &Structural) -> Ty {
        let atomic = node.map_type.as_deref() == Some("atomic");
        if node.int_or_string {
            return Ty::Any;
        }
        match node.ty.as_str() {
            "array" => {
                let item = node.items.as_deref().map_or(Ty::Any, |items| self.ty(items));
                let topology = match node.list_type.as_deref() {
                    Some("set") => ListTopology::Set,
                    Some("map") => ListTopology::Map(node.list_map_keys.iter().map(|k| k.as_str().into()).collect()),
                    _ => ListTopology::Atomic,
                };
                Ty::List(Box::new(ListType { item, topology }))
            }
            "object" => match node.additional_schema() {
                Some(value) if node.properties.is_empty() => {
                    let value = self.ty(value);
                    Ty::Map(Box::new(MapType { value, atomic }))
                }
                _ if node.properties.is_empty() && !node.embedded && !node.preserve_unknown => {
                    Ty::Map(Box::new(MapType { value: Ty::Any, atomic }))
                }
                _ => {
                    let at = self.reserve();
                    self.fill(at, node, node.embedded);
                    Ty::Ref(self.base.overlay_id(at))
                }
            },
            _ if node.preserve_unknown => {
                let at = self.reserve();
                self.fill(at, node, node.embedded);
                Ty::Ref(self.base.overlay_id(at))
            }
            _ => Ty::Any,
        }
    }
}
