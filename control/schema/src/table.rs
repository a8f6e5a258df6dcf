//! Reads the generated table. The form is written down in `table/README.md`; the short keys keep it small.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Field, GroupVersionKind, ListTopology, ListType, MapType, PatchStrategy, Resource, Special, Str, Subresource, Ty,
    Type, TypeId, WireTag,
};

static BUILTIN: &[u8] = include_bytes!("../table/v1.36.json.zst");

/// Why a table cannot be read. For the built-in table this is a broken build, which the crate's tests exclude.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("decompress the schema table: {0}")]
    Compression(#[from] std::io::Error),
    #[error("parse the schema table: {0}")]
    Json(#[from] serde_json::Error),
    #[error("type {name}: unreadable type expression {expression:?}")]
    Expression { name: String, expression: String },
    #[error("type {name}: unknown special form {special:?}")]
    Special { name: String, special: String },
    #[error("resource {plural}: no type for kind {kind}")]
    Kind { plural: String, kind: GroupVersionKind },
}

#[derive(Deserialize)]
struct TableRow<'a> {
    minor: String,
    #[serde(borrow)]
    types: Vec<TypeRow<'a>>,
    resources: Vec<ResourceRow<'a>>,
}

#[derive(Deserialize)]
struct TypeRow<'a> {
    n: &'a str,
    #[serde(default, borrow)]
    g: Vec<[&'a str; 3]>,
    s: Option<&'a str>,
    mt: Option<&'a str>,
    u: Option<Value>,
    #[serde(default)]
    f: Vec<FieldRow<'a>>,
}

#[derive(Deserialize)]
struct FieldRow<'a> {
    n: &'a str,
    t: &'a str,
    #[serde(default)]
    r: bool,
    lt: Option<&'a str>,
    #[serde(default, borrow)]
    lk: Vec<&'a str>,
    mt: Option<&'a str>,
    ps: Option<&'a str>,
    mk: Option<&'a str>,
    #[serde(default)]
    e: Vec<Value>,
    d: Option<Value>,
    #[serde(default)]
    p: u32,
    #[serde(default)]
    pe: Vec<u32>,
    #[serde(default)]
    pw: bool,
    #[serde(default)]
    z: bool,
    #[serde(default)]
    nz: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceRow<'a> {
    g: &'a str,
    v: &'a str,
    kind: &'a str,
    plural: &'a str,
    singular: String,
    ns: bool,
    #[serde(borrow)]
    verbs: Vec<&'a str>,
    sub: Vec<SubresourceRow<'a>>,
    #[serde(default)]
    short_names: Vec<&'a str>,
    #[serde(default)]
    categories: Vec<&'a str>,
}

#[derive(Deserialize)]
struct SubresourceRow<'a> {
    name: &'a str,
    g: &'a str,
    v: &'a str,
    kind: &'a str,
    #[serde(borrow)]
    verbs: Vec<&'a str>,
    #[serde(default)]
    connect: bool,
}

/// What a table holds, before it is indexed.
#[derive(Default)]
pub(crate) struct Table {
    pub minor: Str,
    pub types: Vec<Type>,
    pub resources: Vec<Resource>,
}

/// The table compiled into the crate.
pub(crate) fn builtin() -> Result<Table, TableError> {
    read(&zstd::decode_all(BUILTIN)?)
}

/// A number that changes with the table.
pub(crate) fn fingerprint() -> u64 {
    BUILTIN.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// Shares equal strings.
#[derive(Default)]
pub(crate) struct Interner(HashSet<Str>);

impl Interner {
    pub(crate) fn intern(&mut self, text: &str) -> Str {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new: Str = Arc::from(text);
        self.0.insert(new.clone());
        new
    }

    fn all(&mut self, texts: &[&str]) -> Box<[Str]> {
        texts.iter().map(|t| self.intern(t)).collect()
    }

    fn gvk(&mut self, [group, version, kind]: [&str; 3]) -> GroupVersionKind {
        GroupVersionKind { group: self.intern(group), version: self.intern(version), kind: self.intern(kind) }
    }
}

fn read(json: &[u8]) -> Result<Table, TableError> {
    let rows: TableRow<'_> = serde_json::from_slice(json)?;
    let mut names = Interner::default();
    let types = rows.types.into_iter().map(|row| read_type(row, &mut names)).collect::<Result<Vec<_>, _>>()?;
    let mut kinds = HashMap::new();
    for (at, ty) in types.iter().enumerate() {
        for kind in &ty.kinds {
            kinds.insert(kind.clone(), TypeId(at as u32));
        }
    }
    let resources =
        rows.resources.into_iter().map(|row| read_resource(row, &kinds, &mut names)).collect::<Result<Vec<_>, _>>()?;
    Ok(Table { minor: rows.minor.into(), types, resources })
}

fn read_type(row: TypeRow<'_>, names: &mut Interner) -> Result<Type, TableError> {
    let special = row
        .s
        .map(|s| special(s).ok_or_else(|| TableError::Special { name: row.n.into(), special: s.into() }))
        .transpose()?;
    Ok(Type {
        name: names.intern(row.n),
        kinds: row.g.into_iter().map(|g| names.gvk(g)).collect(),
        special,
        atomic: row.mt == Some("atomic"),
        preserve_unknown: false,
        unions: row.u,
        fields: row.f.into_iter().map(|f| read_field(f, row.n, names)).collect::<Result<_, _>>()?,
    })
}

fn read_field(row: FieldRow<'_>, of: &str, names: &mut Interner) -> Result<Field, TableError> {
    let mut ty =
        expression(row.t).ok_or_else(|| TableError::Expression { name: of.into(), expression: row.t.into() })?;
    let atomic = row.mt == Some("atomic") || row.lt == Some("atomic");
    match &mut ty {
        Ty::List(list) => {
            list.topology = match row.lt {
                Some("set") => ListTopology::Set,
                Some("map") => ListTopology::Map(names.all(&row.lk)),
                _ => ListTopology::Atomic,
            }
        }
        Ty::Map(map) => map.atomic = atomic,
        _ => {}
    }
    let strategy = |name: &str| row.ps.is_some_and(|ps| ps.split(',').any(|s| s == name));
    Ok(Field {
        name: names.intern(row.n),
        ty,
        required: row.r,
        atomic,
        patch: PatchStrategy {
            merge: strategy("merge"),
            retain_keys: strategy("retainKeys"),
            replace: strategy("replace"),
        },
        patch_merge_key: row.mk.map(|k| names.intern(k)),
        wire: WireTag { embedded: row.pe.into(), tag: row.p, list_message: row.pw },
        omit_zero: row.z,
        null_when_zero: row.nz,
        values: row.e.into(),
        default: row.d,
    })
}

fn read_resource(
    row: ResourceRow<'_>,
    kinds: &HashMap<GroupVersionKind, TypeId>,
    names: &mut Interner,
) -> Result<Resource, TableError> {
    let gvk = names.gvk([row.g, row.v, row.kind]);
    let ty = *kinds.get(&gvk).ok_or_else(|| TableError::Kind { plural: row.plural.into(), kind: gvk.clone() })?;
    let list_kind = format!("{}List", row.kind);
    let list_kind = if kinds.contains_key(&names.gvk([row.g, row.v, &list_kind])) {
        names.intern(&list_kind)
    } else {
        names.intern("")
    };
    let subresources = row.sub.into_iter().map(|s| {
        let kind = names.gvk([s.g, s.v, s.kind]);
        Subresource {
            name: names.intern(s.name),
            ty: kinds.get(&kind).copied(),
            kind,
            verbs: names.all(&s.verbs),
            connect: s.connect,
        }
    });
    let subresources = subresources.collect();
    Ok(Resource {
        group: gvk.group,
        enabled_by_default: !row.v.contains("alpha") && !row.v.contains("beta"),
        version: gvk.version,
        kind: gvk.kind,
        list_kind,
        plural: names.intern(row.plural),
        singular: names.intern(&row.singular),
        short_names: names.all(&row.short_names),
        categories: names.all(&row.categories),
        namespaced: row.ns,
        verbs: names.all(&row.verbs),
        subresources,
        ty,
    })
}

/// `string`, `@12`, `[]string`, `{}@12`.
fn expression(text: &str) -> Option<Ty> {
    if let Some(item) = text.strip_prefix("[]") {
        return Some(Ty::List(Box::new(ListType { item: expression(item)?, topology: ListTopology::Atomic })));
    }
    if let Some(value) = text.strip_prefix("{}") {
        return Some(Ty::Map(Box::new(MapType { value: expression(value)?, atomic: false })));
    }
    if let Some(index) = text.strip_prefix('@') {
        return index.parse().ok().map(|i| Ty::Ref(TypeId(i)));
    }
    Some(match text {
        "any" => Ty::Any,
        "string" => Ty::String,
        "bytes" => Ty::Bytes,
        "bool" => Ty::Bool,
        "int32" => Ty::Int32,
        "int64" => Ty::Int64,
        "double" => Ty::Double,
        _ => return None,
    })
}

fn special(name: &str) -> Option<Special> {
    Some(match name {
        "Time" => Special::Time,
        "MicroTime" => Special::MicroTime,
        "Quantity" => Special::Quantity,
        "IntOrString" => Special::IntOrString,
        "RawExtension" => Special::RawExtension,
        "FieldsV1" => Special::FieldsV1,
        "Patch" => Special::Patch,
        "JSON" => Special::Json,
        "JSONSchemaPropsOrArray" => Special::JsonSchemaPropsOrArray,
        "JSONSchemaPropsOrBool" => Special::JsonSchemaPropsOrBool,
        "JSONSchemaPropsOrStringArray" => Special::JsonSchemaPropsOrStringArray,
        _ => return None,
    })
}
