//! Sets of fields, as `metadata.managedFields` keeps them (`FieldsV1`): a tree of path elements in which a node may be a member.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// A field, or a key of a map: `f:name`.
    Field(String),
    /// The element of a list with these key fields, canonical JSON: `k:{"name":"a"}`.
    Key(String),
    /// The element of a set with this value, JSON: `v:"a"`.
    Value(String),
    /// The element at this place: `i:0`.
    Index(usize),
}

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// The path that leads here is a member.
    pub(super) here: bool,
    pub(super) below: BTreeMap<Element, FieldSet>,
}

impl FieldSet {
    /// Without members.
    pub fn is_empty(&self) -> bool {
        !self.here && self.below.values().all(Self::is_empty)
    }

    /// Makes a path a member.
    pub fn insert(&mut self, path: &[Element]) {
        let mut node = self;
        for element in path {
            node = node.below.entry(element.clone()).or_default();
        }
        node.here = true;
    }

    /// Whether this field itself is a member.
    pub fn has(&self, path: &Path) -> bool {
        let found = path.0.iter().try_fold(self, |set, element| set.below.get(element));
        found.is_some_and(|set| set.here)
    }

    /// The members of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.add(other.clone());
        out
    }

    /// Takes in the members of `other`.
    pub fn add(&mut self, other: Self) {
        self.here |= other.here;
        for (element, theirs) in other.below {
            self.below.entry(element).or_default().add(theirs);
        }
    }

    /// The members that `other` does not have.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.select(Some(other), &|own, theirs| own && !theirs)
    }

    /// The members of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.select(Some(other), &|own, theirs| own && theirs)
    }

    fn select(&self, other: Option<&Self>, keep: &dyn Fn(bool, bool) -> bool) -> Self {
        let mut out = Self { here: keep(self.here, other.is_some_and(|o| o.here)), below: BTreeMap::new() };
        for (element, own) in &self.below {
            let kept = own.select(other.and_then(|o| o.below.get(element)), keep);
            if !kept.is_empty() {
                out.below.insert(element.clone(), kept);
            }
        }
        out
    }

    /// Without everything at and below a path of fields.
    pub fn remove_field(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let element = Element::Field((*first).to_owned());
        if rest.is_empty() {
            self.below.remove(&element);
        } else if let Some(node) = self.below.get_mut(&element) {
            node.remove_field(rest);
            if node.is_empty() {
                self.below.remove(&element);
            }
        }
    }

    /// Every member.
    pub fn members(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut Vec<Element>, out: &mut Vec<Path>) {
        if self.here {
            out.push(Path(path.clone()));
        }
        for (element, node) in &self.below {
            path.push(element.clone());
            node.collect(path, out);
            path.pop();
        }
    }

    /// `FieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        if self.here && !self.below.is_empty() {
            out.insert(".".into(), Value::Object(Map::new()));
        }
        for (element, node) in &self.below {
            out.insert(element.to_string(), node.to_value());
        }
        Value::Object(out)
    }

    /// From `FieldsV1`; elements of unknown form are left out.
    pub fn from_value(value: &Value) -> Self {
        let mut root = Self::from_node(value);
        root.here = false;
        root
    }

    fn from_node(value: &Value) -> Self {
        let entries = value.as_object();
        let mut out = Self { here: entries.is_none_or(Map::is_empty), below: BTreeMap::new() };
        for (key, node) in entries.into_iter().flatten() {
            if key == "." {
                out.here = true;
            } else if let Some(element) = Element::parse(key) {
                out.below.insert(element, Self::from_node(node));
            }
        }
        out
    }
}

impl Element {
    fn parse(text: &str) -> Option<Self> {
        let (form, rest) = text.split_once(':')?;
        Some(match form {
            "f" => Self::Field(rest.to_owned()),
            "k" => {
                let mut key: Value = serde_json::from_str(rest).ok()?;
                key.as_object_mut()?.sort_keys();
                Self::Key(key.to_string())
            }
            "v" => Self::Value(serde_json::from_str::<Value>(rest).ok()?.to_string()),
            "i" => Self::Index(rest.parse().ok()?),
            _ => return None,
        })
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, "f:{name}"),
            Self::Key(key) => write!(f, "k:{key}"),
            Self::Value(value) => write!(f, "v:{value}"),
            Self::Index(index) => write!(f, "i:{index}"),
        }
    }
}

/// A path as people read it: `.spec.containers[name="web"].image`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<Element>);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for element in &self.0 {
            match element {
                Element::Field(name) => write!(f, ".{name}")?,
                Element::Value(value) => write!(f, "[={value}]")?,
                Element::Index(index) => write!(f, "[{index}]")?,
                Element::Key(key) => {
                    let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                    let parts: Vec<String> = key.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    write!(f, "[{}]", parts.join(","))?;
                }
            }
        }
        Ok(())
    }
}
