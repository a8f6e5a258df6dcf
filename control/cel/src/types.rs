//! Types as the check sees them, and how errors print them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// What a part that is wrong has; fits everywhere, so that one error is told once.
    Error,
    /// Known only when evaluated.
    Dyn,
    /// `null`
    Null,
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `uint`
    Uint,
    /// `double`
    Double,
    /// `string`
    String,
    /// `bytes`
    Bytes,
    /// `google.protobuf.Duration`
    Duration,
    /// `google.protobuf.Timestamp`
    Timestamp,
    /// `list(T)`
    List(Arc<Type>),
    /// `map(K, V)`
    Map(Arc<Type>, Arc<Type>),
    /// `optional_type(T)`
    Optional(Arc<Type>),
    /// `type(T)`
    Type(Arc<Type>),
    /// An object with named fields, which the [`Fields`] know, or an opaque type of a library.
    Object(Arc<str>),
    /// A type parameter of a declaration.
    Param(char),
    /// A type that is still to be found.
    Var(u32),
}

/// The fields of objects.
pub trait Fields: Send + Sync {
    /// The type of a field, `None` if the object has none of that name.
    fn field(&self, object: &str, field: &str) -> Option<Type>;

    /// Whether objects of that name can be written as `Name{…}`.
    fn constructs(&self, _object: &str) -> bool {
        false
    }
}

/// No objects.
impl Fields for () {
    fn field(&self, _: &str, _: &str) -> Option<Type> {
        None
    }
}

impl Fields for HashMap<Arc<str>, HashMap<String, Type>> {
    fn field(&self, object: &str, field: &str) -> Option<Type> {
        self.get(object)?.get(field).cloned()
    }
}

impl Type {
    /// `list(item)`
    pub fn list(item: Type) -> Self {
        Self::List(Arc::new(item))
    }

    /// `map(key, value)`
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    /// `optional_type(inner)`
    pub fn optional(inner: Type) -> Self {
        Self::Optional(Arc::new(inner))
    }

    /// An object or an opaque type.
    pub fn object(name: &str) -> Self {
        Self::Object(name.into())
    }

    /// Whether nothing is known of it before evaluation.
    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// From its form in a declaration.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Some((head, rest)) = text.split_once('(') {
            let inner = rest.strip_suffix(')').unwrap_or(rest);
            return match head {
                "list" => Self::list(Self::parse(inner)),
                "optional_type" => Self::optional(Self::parse(inner)),
                "type" => Self::Type(Arc::new(Self::parse(inner))),
                _ => {
                    let (key, value) = inner.split_once(',').unwrap_or((inner, "dyn"));
                    Self::map(Self::parse(key), Self::parse(value))
                }
            };
        }
        match text {
            "dyn" => Self::Dyn,
            "null" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "duration" => Self::Duration,
            "timestamp" => Self::Timestamp,
            _ => match text.chars().next() {
                Some(c) if c.is_ascii_uppercase() && text.len() == 1 => Self::Param(c),
                _ => Self::object(text),
            },
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error => f.write_str("!error!"),
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Type(inner) => write!(f, "type({inner})"),
            Self::Object(name) => f.write_str(name),
            Self::Param(name) => write!(f, "{name}"),
            Self::Var(n) => write!(f, "_var{n}"),
        }
    }
}
