//! Values. JSON is looked at where it lies: an object is never copied to be asked about.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use orlop_schema::quantity::Quantity;
use serde_json::Value as Json;

use crate::authorizer::Handle;
use crate::decl::{DeclKind, DeclType};
use crate::library::format::NamedFormat;
use crate::library::url::Url;
use crate::work;

mod equality;
mod joined;

pub(crate) use equality::Index;
pub use joined::Joined;

/// What a value may cost, in units of work, that is written as JSON.
const LARGEST: u64 = 100_000;

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The expression failed on this input.
    #[error("{0}")]
    Failed(String),
    /// It cost more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
}

/// What an evaluation comes to.
pub type Evaluated<T> = Result<T, EvalError>;

/// A failure with a text.
pub fn failed<T>(message: impl Into<String>) -> Evaluated<T> {
    Err(EvalError::Failed(message.into()))
}

/// `no such overload`
pub fn no_overload<T>() -> Evaluated<T> {
    failed("no such overload")
}

/// A string, in a JSON value or shared.
#[derive(Clone)]
pub enum Str<'a> {
    /// In a JSON value.
    Borrowed(&'a str),
    /// Made here.
    Shared(Arc<str>),
}

impl Deref for Str<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(s) => s,
            Self::Shared(s) => s,
        }
    }
}

impl fmt::Debug for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &**self)
    }
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A bool.
    Bool(bool),
    /// An int or a uint.
    Int(i128),
    /// A string.
    String(Arc<str>),
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `uint`
    Uint(u64),
    /// `double`
    Double(f64),
    /// `string`
    String(Str<'a>),
    /// `bytes`
    Bytes(Arc<[u8]>),
    /// A span of time.
    Duration(SignedDuration),
    /// A point in time.
    Timestamp(Timestamp),
    /// A list made here.
    List(Arc<Vec<Value<'a>>>),
    /// Two lists, one after the other.
    Joined(Arc<Joined<'a>>),
    /// A map made here.
    Map(Arc<IndexMap<Key, Value<'a>>>),
    /// A list or an object in JSON, and what is known of its type.
    Json(&'a Json, &'a DeclType),
    /// `Name{…}`
    Struct(Arc<str>, Arc<IndexMap<String, Value<'a>>>),
    /// A value or none.
    Optional(Option<Arc<Value<'a>>>),
    /// A type.
    Type(Arc<str>),
    /// `quantity('1Gi')`
    Quantity(Quantity),
    /// `ip('::1')`
    Ip(IpAddr),
    /// `cidr('10.0.0.0/8')`
    Cidr(IpAddr, u8),
    /// `url('https://…')`
    Url(Arc<Url>),
    /// `semver('1.2.3')`
    Semver(Arc<semver::Version>),
    /// `format.dns1123Label()`
    Format(&'static NamedFormat),
    /// What `authorizer` leads to.
    Authorizer(Arc<Handle<'a>>),
    /// The variables of a policy, evaluated when first asked for.
    Variables,
    /// What `all` and `exists` remember of an element that failed, until another decides.
    Failed(Arc<str>),
}

impl<'a> Value<'a> {
    /// A string made here.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(Str::Shared(text.into()))
    }

    /// A list made here.
    pub fn list(items: Vec<Value<'a>>) -> Self {
        Self::List(Arc::new(items))
    }

    /// An optional with a value.
    pub fn some(value: Value<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// JSON of which nothing is known.
    pub fn from_json(json: &'a Json) -> Self {
        // The dynamic type takes every value.
        Self::of(json, DeclType::dynamic()).unwrap_or(Self::Null)
    }

    /// JSON of a declared type.
    pub fn of(json: &'a Json, decl: &'a DeclType) -> Evaluated<Self> {
        let unexpected = |expected: &str| failed(format!("invalid data, expected {expected}, got {}", go_type(json)));
        if json.is_null() {
            return match decl.nullable || matches!(decl.kind, DeclKind::Dyn) {
                true => Ok(Self::Null),
                false => failed("invalid data, got null for schema with nullable=false"),
            };
        }
        let text = |expected: &str| match json {
            Json::String(s) => Ok(s.as_str()),
            _ => failed(format!("invalid data, expected {expected}, got {}", go_type(json))),
        };
        Ok(match &decl.kind {
            DeclKind::Dyn => match json {
                Json::Null => Self::Null,
                Json::Bool(b) => Self::Bool(*b),
                Json::Number(n) => match (n.as_i64(), n.as_u64()) {
                    (Some(i), _) => Self::Int(i),
                    (_, Some(u)) => Self::Uint(u),
                    _ => Self::Double(n.as_f64().unwrap_or(f64::NAN)),
                },
                Json::String(s) => Self::String(Str::Borrowed(s)),
                Json::Array(_) | Json::Object(_) => Self::Json(json, decl),
            },
            DeclKind::Bool => match json {
                Json::Bool(b) => Self::Bool(*b),
                _ => return unexpected("boolean"),
            },
            DeclKind::Int => {
                match json.as_i64().or_else(|| json.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64)) {
                    Some(i) => Self::Int(i),
                    None => return unexpected("int"),
                }
            }
            DeclKind::Double => match json.as_f64() {
                Some(f) => Self::Double(f),
                None => return unexpected("double"),
            },
            DeclKind::String => Self::String(Str::Borrowed(text("string")?)),
            DeclKind::Bytes => {
                use base64::Engine;
                match base64::engine::general_purpose::STANDARD.decode(text("byte")?) {
                    Ok(bytes) => Self::Bytes(bytes.into()),
                    Err(e) => return failed(format!("invalid byte formatted string {json}: {e}")),
                }
            }
            DeclKind::Duration => match crate::library::time::parse_duration(text("duration")?) {
                Some(d) => Self::Duration(d),
                None => return failed(format!("Invalid duration {json}, expected value convertible to duration")),
            },
            DeclKind::Date => match text("date")?.parse::<jiff::civil::Date>() {
                Ok(date) => match date.to_zoned(jiff::tz::TimeZone::UTC) {
                    Ok(zoned) => Self::Timestamp(zoned.timestamp()),
                    Err(e) => return failed(format!("Invalid date formatted string {json}: {e}")),
                },
                Err(e) => return failed(format!("Invalid date formatted string {json}: {e}")),
            },
            DeclKind::Timestamp => match text("date-time")?.parse::<Timestamp>() {
                Ok(t) => Self::Timestamp(t),
                Err(e) => return failed(format!("Invalid date-time formatted string {json}: {e}")),
            },
            DeclKind::List { .. } => match json {
                Json::Array(_) => Self::Json(json, decl),
                _ => return unexpected("array"),
            },
            DeclKind::Map(_) | DeclKind::Object { .. } => match json {
                Json::Object(_) => Self::Json(json, decl),
                _ => return unexpected("map"),
            },
        })
    }

    /// Its type's name.
    pub fn type_name(&self) -> Arc<str> {
        match self {
            Self::Null => "null_type".into(),
            Self::Bool(_) => "bool".into(),
            Self::Int(_) => "int".into(),
            Self::Uint(_) => "uint".into(),
            Self::Double(_) => "double".into(),
            Self::String(_) => "string".into(),
            Self::Bytes(_) => "bytes".into(),
            Self::Duration(_) => "google.protobuf.Duration".into(),
            Self::Timestamp(_) => "google.protobuf.Timestamp".into(),
            Self::List(_) | Self::Joined(_) | Self::Json(Json::Array(_), _) => "list".into(),
            Self::Json(_, DeclType { kind: DeclKind::Object { name, .. }, .. }) => name.clone(),
            Self::Map(_) | Self::Json(..) | Self::Variables | Self::Failed(_) => "map".into(),
            Self::Struct(name, _) => name.clone(),
            Self::Optional(_) => "optional_type".into(),
            Self::Type(_) => "type".into(),
            Self::Quantity(_) => "kubernetes.Quantity".into(),
            Self::Ip(_) => "net.IP".into(),
            Self::Cidr(..) => "net.CIDR".into(),
            Self::Url(_) => "kubernetes.URL".into(),
            Self::Semver(_) => "kubernetes.Semver".into(),
            Self::Format(_) => "kubernetes.NamedFormat".into(),
            Self::Authorizer(handle) => handle.type_name().into(),
        }
    }

    /// Characters, bytes, elements or entries; 1 of what has none.
    pub fn size(&self) -> u64 {
        (match self {
            Self::String(s) => s.chars().count(),
            Self::Bytes(b) => b.len(),
            Self::List(items) => items.len(),
            Self::Joined(lists) => lists.len(),
            Self::Map(entries) => entries.len(),
            Self::Json(Json::Array(items), _) => items.len(),
            Self::Json(Json::Object(map), decl) => match &decl.kind {
                DeclKind::Object { .. } => 1,
                _ => map.len(),
            },
            Self::Optional(Some(value)) => return value.size(),
            Self::Struct(_, fields) => fields.len(),
            Self::Ip(ip) => {
                if ip.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Self::Cidr(ip, bits) => usize::from(*bits).div_ceil(8).min(if ip.is_ipv4() { 4 } else { 16 }),
            _ => 1,
        }) as u64
    }

    /// The elements, if it is a list.
    pub fn items(&self) -> Option<Items<'a, '_>> {
        match self {
            Self::List(items) => Some(Items::Made(items)),
            Self::Joined(lists) => Some(Items::Joined(lists)),
            Self::Json(Json::Array(items), decl) => Some(Items::Json(items, decl.item())),
            _ => None,
        }
    }

    /// The entries, if it is a map or an object.
    pub fn entries(&self) -> Option<Evaluated<Vec<(Value<'a>, Value<'a>)>>> {
        match self {
            Self::Map(map) => Some(Ok(map.iter().map(|(k, v)| (k.value(), v.clone())).collect())),
            Self::Json(Json::Object(map), decl) => Some(
                map.iter()
                    .filter_map(|(k, v)| {
                        let (name, decl) = match &decl.kind {
                            DeclKind::Object { fields, .. } => {
                                let name = crate::decl::escape(k)?;
                                let field = fields.get(&name)?;
                                (Self::string(name), &*field.decl)
                            }
                            _ => (Self::String(Str::Borrowed(k)), decl.item()),
                        };
                        Some(Self::of(v, decl).map(|v| (name, v)))
                    })
                    .collect(),
            ),
            Self::Struct(_, fields) => {
                Some(Ok(fields.iter().map(|(k, v)| (Self::string(k.as_str()), v.clone())).collect()))
            }
            _ => None,
        }
    }

    /// The keys, if it is a map or an object.
    pub fn keys(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Self::Map(map) => Some(map.keys().map(Key::value).collect()),
            Self::Json(Json::Object(map), decl) if !matches!(decl.kind, DeclKind::Object { .. }) => {
                Some(map.keys().map(|k| Self::String(Str::Borrowed(k))).collect())
            }
            _ => Some(self.entries()?.ok()?.into_iter().map(|(k, _)| k).collect()),
        }
    }

    /// A field or an entry by name, if it is there.
    pub fn field(&self, name: &str) -> Evaluated<Option<Value<'a>>> {
        Ok(match self {
            Self::Map(map) => map.get(&Key::String(name.into())).cloned(),
            Self::Json(Json::Object(map), decl) => match &decl.kind {
                DeclKind::Object { fields, .. } => match fields.get(name) {
                    Some(field) => match map.get(&field.json) {
                        Some(json) => Some(Self::of(json, &field.decl)?),
                        None => None,
                    },
                    None => None,
                },
                _ => match map.get(name) {
                    Some(json) => Some(Self::of(json, decl.item())?),
                    None => None,
                },
            },
            Self::Struct(_, fields) => fields.get(name).cloned(),
            Self::Optional(Some(inner)) => return Ok(inner.field(name)?.map(Self::some)),
            _ => return no_overload(),
        })
    }

    /// As JSON, as mutations and audit annotations need it.
    pub fn to_json(&self) -> Evaluated<Json> {
        let (json, cost) = work::metered(LARGEST, || self.json());
        if cost > LARGEST { failed("the value is too large") } else { json }
    }

    fn json(&self) -> Evaluated<Json> {
        if !work::spend(work::VISIT) {
            return Ok(Json::Null);
        }
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(i) => Json::from(*i),
            Self::Uint(u) => Json::from(*u),
            Self::Double(d) => Json::from(*d),
            Self::String(s) => Json::from(&**s),
            Self::Bytes(b) => {
                use base64::Engine;
                Json::from(base64::engine::general_purpose::STANDARD.encode(b))
            }
            Self::Duration(d) => Json::from(crate::library::time::show_duration(*d)),
            Self::Timestamp(t) => Json::from(t.to_string()),
            Self::List(items) => Json::Array(items.iter().map(Self::json).collect::<Evaluated<_>>()?),
            Self::Joined(lists) => Json::Array(lists.all()?.iter().map(Self::json).collect::<Evaluated<_>>()?),
            Self::Map(map) => {
                Json::Object(map.iter().map(|(k, v)| Ok((k.text(), v.json()?))).collect::<Evaluated<_>>()?)
            }
            Self::Struct(_, fields) => {
                Json::Object(fields.iter().map(|(k, v)| Ok((k.clone(), v.json()?))).collect::<Evaluated<_>>()?)
            }
            Self::Json(json, _) => (*json).clone(),
            Self::Optional(Some(inner)) => inner.json()?,
            Self::Optional(None) => Json::Null,
            other => return failed(format!("type conversion error from '{}' to JSON", other.type_name())),
        })
    }

    /// An entry of a map or object by any key.
    pub fn get(&self, key: &Value<'a>) -> Evaluated<Option<Value<'a>>> {
        match (self, key) {
            (Self::Map(map), _) => Ok(Key::of(key).and_then(|k| map.get(&k).cloned())),
            (_, Self::String(name)) => self.field(name),
            (Self::Json(Json::Object(_), _), _) => Ok(None),
            _ => no_overload(),
        }
    }

    /// Order, where there is one.
    pub fn compare(&self, other: &Value<'a>) -> Option<std::cmp::Ordering> {
        use std::cmp::Ordering;
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Int(a), Self::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Uint(a), Self::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Int(a), Self::Double(b)) => compare_to_double(i128::from(*a), *b),
            (Self::Uint(a), Self::Double(b)) => compare_to_double(i128::from(*a), *b),
            (Self::Double(a), Self::Int(b)) => compare_to_double(i128::from(*b), *a).map(Ordering::reverse),
            (Self::Double(a), Self::Uint(b)) => compare_to_double(i128::from(*b), *a).map(Ordering::reverse),
            (Self::String(a), Self::String(b)) => Some((**a).cmp(&**b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

fn compare_to_double(a: i128, b: f64) -> Option<std::cmp::Ordering> {
    if b.is_nan() {
        return None;
    }
    if b >= 1.0e30 {
        return Some(std::cmp::Ordering::Less);
    }
    if b <= -1.0e30 {
        return Some(std::cmp::Ordering::Greater);
    }
    let whole = b.floor();
    Some(a.cmp(&(whole as i128)).then(if b > whole { std::cmp::Ordering::Less } else { std::cmp::Ordering::Equal }))
}

fn go_type(json: &Json) -> &'static str {
    match json {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(n) if n.is_f64() => "float64",
        Json::Number(_) => "int64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}

/// The elements of a list.
pub enum Items<'a, 'b> {
    /// Of a list made here.
    Made(&'b [Value<'a>]),
    /// Of two lists.
    Joined(&'b Joined<'a>),
    /// In JSON, with their type.
    Json(&'a [Json], &'a DeclType),
}

impl<'a> Items<'a, '_> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Made(items) => items.len(),
            Self::Joined(lists) => lists.len(),
            Self::Json(items, _) => items.len(),
        }
    }

    /// One of them.
    pub fn get(&self, at: usize) -> Option<Evaluated<Value<'a>>> {
        match self {
            Self::Made(items) => items.get(at).cloned().map(Ok),
            Self::Joined(lists) => lists.get(at),
            Self::Json(items, decl) => items.get(at).map(|json| Value::of(json, decl)),
        }
    }

    /// All of them.
    pub fn all(&self) -> Evaluated<Vec<Value<'a>>> {
        match self {
            Self::Made(items) => Ok(items.to_vec()),
            Self::Joined(lists) => lists.all(),
            Self::Json(items, decl) => items.iter().map(|json| Value::of(json, decl)).collect(),
        }
    }
}

impl Key {
    /// A key, if the value can be one.
    pub fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(i) => Self::Int(i128::from(*i)),
            Value::Uint(u) => Self::Int(i128::from(*u)),
            Value::Double(d) if d.fract() == 0.0 && d.abs() < 1.0e19 => Self::Int(*d as i128),
            Value::String(Str::Shared(s)) => Self::String(s.clone()),
            Value::String(s) => Self::String((&**s).into()),
            _ => return None,
        })
    }

    /// As a value.
    pub fn value<'a>(&self) -> Value<'a> {
        match self {
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(i) => i64::try_from(*i).map_or_else(|_| Value::Uint(*i as u64), Value::Int),
            Self::String(s) => Value::string(s.clone()),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Bool(b) => b.to_string(),
            Self::Int(i) => i.to_string(),
            Self::String(s) => s.to_string(),
        }
    }
}
