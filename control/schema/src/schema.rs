//! The schema: types and resources with their indexes, and overlays that add a custom resource's types to the built-in ones.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::LazyLock;

use serde_json::Value;

use crate::openapi::Dialect;
use crate::table::{self, Table};
use crate::{Field, GroupVersionKind, Resource, Str, Ty, Type, TypeId};

static BUILTIN: LazyLock<Schema> = LazyLock::new(|| match table::builtin() {
    Ok(table) => Schema::new(None, table),
    // The table is part of the binary and the crate's tests read it: this cannot happen to a build that passed them.
    Err(error) => panic!("the built-in schema table is broken: {error}"),
});

/// Types and resources of one Kubernetes minor, or of one custom resource on top of it.
#[derive(Debug)]
pub struct Schema {
    base: Option<&'static Schema>,
    minor: Str,
    types: Vec<Type>,
    resources: Vec<Resource>,
    by_name: HashMap<Str, TypeId>,
    by_kind: HashMap<GroupVersionKind, TypeId>,
    by_plural: HashMap<(Str, Str, Str), usize>,
    definitions: HashMap<(Dialect, Str), Value>,
}

/// A type together with the schema that resolves its references. Dereferences to the [`Type`].
#[derive(Clone, Copy, Debug)]
pub struct TypeRef<'a> {
    schema: &'a Schema,
    id: TypeId,
    ty: &'a Type,
}

impl Schema {
    /// The built-in types and resources of v1.36. Read on first use, then shared by the whole process.
    pub fn builtin() -> &'static Schema {
        &BUILTIN
    }

    /// A schema that adds types and resources to the built-in ones. References to built-in types keep their meaning.
    pub fn overlay(&'static self, types: Vec<Type>, resources: Vec<Resource>) -> Schema {
        Schema::new(Some(self), Table { minor: self.minor.clone(), types, resources })
    }

    /// The id that the `n`th type of an overlay's `types` will have.
    pub fn overlay_id(&self, n: usize) -> TypeId {
        TypeId((self.len() + n) as u32)
    }

    fn new(base: Option<&'static Schema>, table: Table) -> Schema {
        let first = base.map_or(0, Schema::len);
        let mut by_name = HashMap::with_capacity(table.types.len());
        let mut by_kind = HashMap::new();
        for (at, ty) in table.types.iter().enumerate() {
            let id = TypeId((first + at) as u32);
            if !ty.name.is_empty() {
                by_name.insert(ty.name.clone(), id);
            }
            for kind in &ty.kinds {
                by_kind.insert(kind.clone(), id);
            }
        }
        let by_plural = table
            .resources
            .iter()
            .enumerate()
            .map(|(at, r)| ((r.group.clone(), r.version.clone(), r.plural.clone()), at))
            .collect();
        Schema {
            base,
            minor: table.minor,
            types: table.types,
            resources: table.resources,
            by_name,
            by_kind,
            by_plural,
            definitions: HashMap::new(),
        }
    }

    /// The same with OpenAPI definitions, by type name, that are published as they stand.
    pub(crate) fn with_definitions(mut self, definitions: HashMap<(Dialect, Str), Value>) -> Schema {
        self.definitions = definitions;
        self
    }

    /// The definition that is published for a type, if it does not follow from the type.
    pub(crate) fn definition(&self, dialect: Dialect, name: &str) -> Option<&Value> {
        self.definitions.get(&(dialect, name.into()))
    }

    /// The Kubernetes minor the table describes, such as `v1.36`.
    pub fn minor(&self) -> &str {
        &self.minor
    }

    /// How many types there are, the base's included.
    fn len(&self) -> usize {
        self.base.map_or(0, Schema::len) + self.types.len()
    }

    /// The resources that are served by default (stable versions), by group, version and plural. An overlay answers its own only.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(|r| r.enabled_by_default)
    }

    /// Every resource the minor knows, alpha and beta versions included.
    pub fn all_resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The resource of that plural name, also when it is not served by default.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        let own = self.by_plural.get(&(group.into(), version.into(), plural.into())).map(|at| &self.resources[*at]);
        own.or_else(|| self.base.and_then(|b| b.resource(group, version, plural)))
    }

    /// The resource whose objects are of that kind.
    pub fn resource_by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Resource> {
        let own = self.resources.iter().find(|r| &*r.kind == kind && &*r.group == group && &*r.version == version);
        own.or_else(|| self.base.and_then(|b| b.resource_by_kind(group, version, kind)))
    }

    /// The type of a kind. `DeleteOptions`, `ListOptions`, `Status` and `WatchEvent` are found under the groups that declare them.
    pub fn type_by_kind(&self, gvk: &GroupVersionKind) -> Option<TypeRef<'_>> {
        match self.by_kind.get(gvk) {
            Some(id) => self.get(*id),
            None => self.base.and_then(|b| b.type_by_kind(gvk)),
        }
    }

    /// The type of that OpenAPI v2 name, such as `io.k8s.api.core.v1.Pod`.
    pub fn type_named(&self, name: &str) -> Option<TypeRef<'_>> {
        match self.by_name.get(name) {
            Some(id) => self.get(*id),
            None => self.base.and_then(|b| b.type_named(name)),
        }
    }

    /// The type of a resource's objects.
    pub fn type_of(&self, resource: &Resource) -> Option<TypeRef<'_>> {
        self.get(resource.ty)
    }

    /// All types with names, the base's not included.
    pub fn types(&self) -> impl Iterator<Item = TypeRef<'_>> {
        let first = self.base.map_or(0, Schema::len);
        self.types.iter().enumerate().map(move |(at, ty)| TypeRef { schema: self, id: TypeId((first + at) as u32), ty })
    }

    /// The type of an id that this schema or its base gave out.
    pub fn get(&self, id: TypeId) -> Option<TypeRef<'_>> {
        let at = id.0 as usize;
        let first = self.base.map_or(0, Schema::len);
        let ty = if at >= first { self.types.get(at - first)? } else { self.base?.get(id)?.ty };
        Some(TypeRef { schema: self, id, ty })
    }
}

impl<'a> TypeRef<'a> {
    /// The id within the schema.
    pub fn id(self) -> TypeId {
        self.id
    }

    /// The schema that resolves references.
    pub fn schema(self) -> &'a Schema {
        self.schema
    }

    /// The type with the schema's lifetime.
    pub fn get(self) -> &'a Type {
        self.ty
    }

    /// The field at a path of JSON names; lists and maps on the way stand for their elements.
    pub fn at(self, path: &[&str]) -> Option<&'a Field> {
        let (first, rest) = path.split_first()?;
        let field = self.ty.field(first)?;
        if rest.is_empty() {
            return Some(field);
        }
        self.element(&field.ty)?.at(rest)
    }

    /// The object type that a value of `ty` consists of, through lists and maps.
    fn element(self, ty: &Ty) -> Option<TypeRef<'a>> {
        match ty {
            Ty::Ref(id) => self.schema.get(*id),
            Ty::List(list) => self.element(&list.item),
            Ty::Map(map) => self.element(&map.value),
            _ => None,
        }
    }
}

impl Deref for TypeRef<'_> {
    type Target = Type;

    fn deref(&self) -> &Type {
        self.ty
    }
}

#[cfg(test)]
mod tests;
