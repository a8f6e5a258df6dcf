//! CEL's equality: numbers across types, maps and sets without order. Lists of type set and map are compared by digests, so that the
//! time is that of reading them.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};

use super::{Evaluated, Items, Key, Value};
use crate::decl::{DeclKind, DeclType, ListKind};
use crate::work;

impl<'a> Value<'a> {
    /// Whether they are equal.
    pub fn equals(&self, other: &Value<'a>) -> bool {
        if !work::spend(work::VISIT) {
            return false;
        }
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(_) | Self::Uint(_) | Self::Double(_), Self::Int(_) | Self::Uint(_) | Self::Double(_)) => {
                self.compare(other) == Some(std::cmp::Ordering::Equal)
            }
            (Self::String(a), Self::String(b)) => **a == **b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, n), Self::Cidr(b, m)) => a == b && n == m,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.cmp_precedence(b).is_eq(),
            (Self::Format(a), Self::Format(b)) => std::ptr::eq(*a, *b),
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => a.equals(b),
                _ => false,
            },
            _ => match (self.items(), other.items()) {
                (Some(a), Some(b)) => lists_equal(self.declared_list(), &a, &b),
                (None, None) => self.maps_equal(other),
                _ => false,
            },
        }
    }

    /// What kind of list it is declared to be, and of what.
    pub(crate) fn declared_list(&self) -> Option<(&'a ListKind, &'a DeclType)> {
        match self {
            Self::Json(_, DeclType { kind: DeclKind::List { kind, item }, .. }) => Some((kind, item)),
            _ => None,
        }
    }

    fn maps_equal(&self, other: &Value<'a>) -> bool {
        let (Some(Ok(a)), Some(Ok(b))) = (self.entries(), other.entries()) else { return false };
        a.len() == b.len() && a.iter().all(|(k, v)| matches!(other.get(k), Ok(Some(found)) if v.equals(&found)))
    }
}

fn lists_equal<'a>(declared: Option<(&'a ListKind, &'a DeclType)>, a: &Items<'a, '_>, b: &Items<'a, '_>) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match declared {
        Some((ListKind::Set | ListKind::Map(_), item)) => {
            let (Ok(a), Ok(b)) = (a.all(), b.all()) else { return false };
            let mut index = Index::new(Some(item));
            b.into_iter().for_each(|value| index.push(value));
            a.iter().all(|value| index.contains(value))
        }
        _ => (0..a.len()).all(|n| match (a.get(n), b.get(n)) {
            (Some(Ok(x)), Some(Ok(y))) => x.equals(&y),
            _ => false,
        }),
    }
}

/// Values that are found by what they are equal to.
pub struct Index<'a> {
    values: Vec<Value<'a>>,
    places: HashMap<u64, Vec<usize>>,
    /// As what the values are compared; each as its own type if it is not said.
    decl: Option<&'a DeclType>,
    random: RandomState,
}

impl<'a> Index<'a> {
    /// Without values.
    pub fn new(decl: Option<&'a DeclType>) -> Self {
        Self { values: Vec::new(), places: HashMap::new(), decl, random: RandomState::new() }
    }

    /// Adds a value.
    pub fn push(&mut self, value: Value<'a>) {
        // Without a digest the work that may be done is done.
        if let Some(digest) = self.digest(&value, self.decl) {
            self.places.entry(digest).or_default().push(self.values.len());
        }
        self.values.push(value);
    }

    /// Adds a value that is not there yet.
    pub fn insert(&mut self, value: Value<'a>) {
        if self.place(&value).is_none() {
            self.push(value);
        }
    }

    /// Whether a value is there.
    pub fn contains(&self, value: &Value<'a>) -> bool {
        self.place(value).is_some()
    }

    /// Where a value is, counted in the order in which they were added.
    pub fn place(&self, value: &Value<'a>) -> Option<usize> {
        let places = self.places.get(&self.digest(value, self.decl)?)?;
        places.iter().copied().find(|at| value.equals(&self.values[*at]))
    }

    /// What was added, in its order.
    pub fn into_values(self) -> Vec<Value<'a>> {
        self.values
    }

    /// Equal values have equal digests; none if it would be more work than may be done.
    fn digest(&self, value: &Value<'_>, decl: Option<&DeclType>) -> Option<u64> {
        let mut hasher = self.random.build_hasher();
        if !work::spend(work::ELEMENT) {
            return None;
        }
        match value {
            Value::Int(_) | Value::Uint(_) | Value::Bool(_) => Key::of(value).hash(&mut hasher),
            Value::Double(d) if d.fract() == 0.0 && d.abs() < 1.0e30 => Some(Key::Int(*d as i128)).hash(&mut hasher),
            Value::Double(d) => d.to_bits().hash(&mut hasher),
            Value::String(s) => (**s).hash(&mut hasher),
            Value::Bytes(b) => b.hash(&mut hasher),
            Value::Duration(d) => d.hash(&mut hasher),
            Value::Timestamp(t) => t.hash(&mut hasher),
            Value::Type(name) => name.hash(&mut hasher),
            Value::Quantity(q) => q.nanos().hash(&mut hasher),
            Value::Ip(ip) => ip.hash(&mut hasher),
            Value::Cidr(ip, bits) => (ip, bits).hash(&mut hasher),
            Value::Url(url) => url.hash(&mut hasher),
            Value::Semver(v) => (v.major, v.minor, v.patch, &v.pre).hash(&mut hasher),
            Value::Optional(Some(inner)) => (1, self.digest(inner, None)?).hash(&mut hasher),
            _ => match value.items() {
                Some(items) => self.list(value, &items, decl)?.hash(&mut hasher),
                None => self.entries(value.entries(), decl)?.hash(&mut hasher),
            },
        }
        Some(hasher.finish())
    }

    fn list(&self, value: &Value<'_>, items: &Items<'_, '_>, decl: Option<&DeclType>) -> Option<u64> {
        let (kind, item) = match (decl.map(|d| &d.kind), value.declared_list()) {
            (Some(DeclKind::List { kind, item }), _) => (kind, Some(&**item)),
            (None, Some((kind, item))) => (kind, Some(item)),
            _ => (&ListKind::Atomic, None),
        };
        let ordered = matches!(kind, ListKind::Atomic);
        let mut sum = items.len() as u64;
        for at in 0..items.len() {
            let digest = match items.get(at) {
                Some(Ok(value)) => self.digest(&value, item)?,
                _ => 0,
            };
            sum = if ordered { self.random.hash_one((sum, digest)) } else { sum.wrapping_add(digest) };
        }
        Some(sum)
    }

    fn entries(&self, entries: Option<Evaluated<Vec<(Value<'_>, Value<'_>)>>>, decl: Option<&DeclType>) -> Option<u64> {
        let Some(Ok(entries)) = entries else { return Some(0) };
        entries.iter().try_fold(entries.len() as u64, |sum, (key, value)| {
            let inner = match (decl.map(|d| &d.kind), key) {
                (Some(DeclKind::Object { fields, .. }), Value::String(name)) => fields.get(&**name).map(|f| &*f.decl),
                (Some(DeclKind::Map(item)), _) => Some(&**item),
                _ => None,
            };
            Some(sum.wrapping_add(self.random.hash_one((self.digest(key, None)?, self.digest(value, inner)?))))
        })
    }
}
