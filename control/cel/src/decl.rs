//! Declared types: what an OpenAPI schema says of a value, with the bounds that costs are estimated from (`DeclType` of
//! k8s.io/apiserver/pkg/cel).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use serde_json::{Value as Json, json};

use crate::types::{Fields, Type};

/// `MaxRequestSizeBytes`
pub const MAX_REQUEST_SIZE: i64 = 3 * 1024 * 1024;

/// A declared type.
#[derive(Clone, Debug)]
pub struct DeclType {
    /// What it is.
    pub kind: DeclKind,
    /// Most characters, elements or entries; 0 of what has none.
    pub max_elements: i64,
    /// The least bytes a value takes in JSON.
    pub min_size: i64,
    /// Whether null is a value.
    pub nullable: bool,
}

/// What a declared type is.
#[derive(Clone, Debug)]
pub enum DeclKind {
    /// Anything.
    Dyn,
    /// `boolean`
    Bool,
    /// `integer`
    Int,
    /// `number`
    Double,
    /// `string`
    String,
    /// `string` of format `byte`
    Bytes,
    /// `string` of format `duration`
    Duration,
    /// `string` of format `date`
    Date,
    /// `string` of format `date-time`
    Timestamp,
    /// `array`
    List {
        /// Its elements.
        item: Arc<DeclType>,
        /// What makes two lists equal.
        kind: ListKind,
    },
    /// `object` with `additionalProperties`
    Map(Arc<DeclType>),
    /// `object` with `properties`
    Object {
        /// A name within the expression.
        name: Arc<str>,
        /// Its fields by escaped name.
        fields: BTreeMap<String, DeclField>,
    },
}

/// A field of an object.
#[derive(Clone, Debug)]
pub struct DeclField {
    /// Its name in JSON.
    pub json: String,
    /// Its type.
    pub decl: Arc<DeclType>,
}

/// `x-kubernetes-list-type`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Order counts.
    Atomic,
    /// Order does not count.
    Set,
    /// Order does not count; elements are told apart by these keys.
    Map(Vec<String>),
}

static DYNAMIC: LazyLock<DeclType> = LazyLock::new(|| DeclType::scalar(DeclKind::Dyn, 1));

impl DeclType {
    fn scalar(kind: DeclKind, min_size: i64) -> Self {
        Self { kind, max_elements: 0, min_size, nullable: false }
    }

    /// Of which nothing is known.
    pub fn dynamic() -> &'static Self {
        &DYNAMIC
    }

    /// The type of a list's elements or a map's values.
    pub fn item(&self) -> &Self {
        match &self.kind {
            DeclKind::List { item, .. } | DeclKind::Map(item) => item,
            _ => Self::dynamic(),
        }
    }

    /// From an OpenAPI v3 schema; `None` where nothing can be declared. At the root of a resource `apiVersion`, `kind` and the
    /// names in `metadata` are added.
    pub fn from_schema(schema: &Json, is_root: bool) -> Option<Self> {
        Self::named(schema, is_root, "selfType")
    }

    fn named(schema: &Json, is_root: bool, name: &str) -> Option<Self> {
        let bound = |key: &str| schema[key].as_i64().map(|n| n.max(0));
        let nullable = schema["nullable"] == true;
        let with = |kind, max_elements, min_size| Some(Self { kind, max_elements, min_size, nullable });
        if schema["x-kubernetes-int-or-string"] == true {
            let most = bound("maxLength").map_or(MAX_REQUEST_SIZE - 2, |n| n.saturating_mul(4));
            return with(DeclKind::Dyn, most, 1);
        }
        match schema["type"].as_str()? {
            "array" => {
                let items = schema.get("items")?;
                let item =
                    Self::named(items, items["x-kubernetes-embedded-resource"] == true, &format!("{name}.@idx"))?;
                let most = bound("maxItems").unwrap_or((MAX_REQUEST_SIZE - 2) / (item.min_size + 1));
                let kind = match schema["x-kubernetes-list-type"].as_str() {
                    Some("set") => ListKind::Set,
                    Some("map") => ListKind::Map(strings(&schema["x-kubernetes-list-map-keys"])),
                    _ => ListKind::Atomic,
                };
                with(DeclKind::List { item: Arc::new(item), kind }, most, 2)
            }
            "object" => {
                if let Some(values) = schema.get("additionalProperties").filter(|v| v.is_object()) {
                    let embedded = values["x-kubernetes-embedded-resource"] == true;
                    let value = Self::named(values, embedded, &format!("{name}.@elem"))?;
                    let most = bound("maxProperties").unwrap_or((MAX_REQUEST_SIZE - 2) / (value.min_size + 6));
                    return with(DeclKind::Map(Arc::new(value)), most, 2);
                }
                let (fields, min_size) = fields(schema, is_root, name);
                with(DeclKind::Object { name: name.into(), fields }, 0, min_size)
            }
            "string" => match schema["format"].as_str() {
                Some("byte") => with(DeclKind::Bytes, bound("maxLength").unwrap_or(MAX_REQUEST_SIZE - 2), 2),
                Some("duration") => with(DeclKind::Duration, 32, 3),
                Some("date") => with(DeclKind::Date, 12, 12),
                Some("date-time") => with(DeclKind::Timestamp, 32, 21),
                _ => {
                    let longest = schema["enum"]
                        .as_array()
                        .filter(|e| !e.is_empty())
                        .map(|e| e.iter().filter_map(|v| v.as_str().map(|s| s.len() as i64)).max().unwrap_or(0));
                    let most = bound("maxLength").map(|n| n.saturating_mul(4)).or(longest);
                    with(DeclKind::String, most.unwrap_or(MAX_REQUEST_SIZE - 2), 2)
                }
            },
            "boolean" => Some(Self { nullable, ..Self::scalar(DeclKind::Bool, 4) }),
            "number" => Some(Self { nullable, ..Self::scalar(DeclKind::Double, 1) }),
            "integer" => Some(Self { nullable, ..Self::scalar(DeclKind::Int, 1) }),
            _ => None,
        }
    }

    /// The type that the check sees.
    pub fn to_type(&self) -> Type {
        match &self.kind {
            DeclKind::Dyn => Type::Dyn,
            DeclKind::Bool => Type::Bool,
            DeclKind::Int => Type::Int,
            DeclKind::Double => Type::Double,
            DeclKind::String => Type::String,
            DeclKind::Bytes => Type::Bytes,
            DeclKind::Duration => Type::Duration,
            DeclKind::Date | DeclKind::Timestamp => Type::Timestamp,
            DeclKind::List { item, .. } => Type::list(item.to_type()),
            DeclKind::Map(value) => Type::map(Type::String, value.to_type()),
            DeclKind::Object { name, .. } => Type::Object(name.clone()),
        }
    }

    /// The fields of every object within.
    pub fn object_fields(&self) -> HashMap<Arc<str>, HashMap<String, Type>> {
        let mut found = HashMap::new();
        self.collect(&mut found);
        found
    }

    fn collect(&self, found: &mut HashMap<Arc<str>, HashMap<String, Type>>) {
        match &self.kind {
            DeclKind::List { item, .. } | DeclKind::Map(item) => item.collect(found),
            DeclKind::Object { name, fields } => {
                found.insert(name.clone(), fields.iter().map(|(n, f)| (n.clone(), f.decl.to_type())).collect());
                fields.values().for_each(|f| f.decl.collect(found));
            }
            _ => {}
        }
    }
}

fn fields(schema: &Json, is_root: bool, name: &str) -> (BTreeMap<String, DeclField>, i64) {
    let required = strings(&schema["required"]);
    let mut fields = BTreeMap::new();
    let mut min_size = 2;
    let mut add = |property: &str, schema: &Json| {
        let embedded = schema["x-kubernetes-embedded-resource"] == true;
        let Some(escaped) = escape(property) else { return };
        let Some(decl) = DeclType::named(schema, embedded, &format!("{name}.{escaped}")) else { return };
        if required.iter().any(|r| r == property) && schema.get("default").is_none() {
            min_size += property.len() as i64 + decl.min_size + 4;
        }
        fields.insert(escaped, DeclField { json: property.to_owned(), decl: Arc::new(decl) });
    };
    for (property, schema) in schema["properties"].as_object().into_iter().flatten() {
        add(property, schema);
    }
    if is_root {
        let text = json!({"type": "string"});
        add("kind", &text);
        add("apiVersion", &text);
        add("metadata", &json!({"type": "object", "properties": {"name": text, "generateName": text}}));
    }
    (fields, min_size)
}

fn strings(json: &Json) -> Vec<String> {
    json.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(Into::into)).collect()
}

/// A property's name as expressions write it (`cel.Escape`); `None` if it cannot be written.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || name == "__" {
        return None;
    }
    if crate::is_keyword(name) {
        return Some(format!("__{name}__"));
    }
    let mut escaped = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            escaped.push_str("__underscores__");
            rest = after;
            continue;
        }
        match c {
            '.' => escaped.push_str("__dot__"),
            '-' => escaped.push_str("__dash__"),
            '/' => escaped.push_str("__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => escaped.push(c),
            _ => return None,
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(escaped)
}

/// The objects of several declared types.
#[derive(Default)]
pub struct Declared(HashMap<Arc<str>, HashMap<String, Type>>);

impl Declared {
    /// Those within a type.
    pub fn of(decl: &DeclType) -> Self {
        Self(decl.object_fields())
    }
}

impl Fields for Declared {
    fn field(&self, object: &str, field: &str) -> Option<Type> {
        self.0.field(object, field)
    }
}
