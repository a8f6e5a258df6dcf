//! Label and field selectors: parsed once per request, matched against an object's index without touching its bytes.

mod field;
mod label;

pub use field::FieldSelector;
pub use label::LabelSelector;

use crate::object::Object;
use crate::status::Status;

/// Both selectors of a list, watch or deletecollection.
#[derive(Debug, Clone, Default)]
pub struct Selectors {
    /// `labelSelector`.
    pub labels: LabelSelector,
    /// `fieldSelector`.
    pub fields: FieldSelector,
}

impl Selectors {
    /// Parses both.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Status> {
        Ok(Self { labels: LabelSelector::parse(labels)?, fields: FieldSelector::parse(fields)? })
    }

    /// Without what is asked of fields.
    pub fn labels_only(&self) -> Self {
        Self { labels: self.labels.clone(), fields: FieldSelector::default() }
    }

    /// Whether every object matches.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object matches.
    pub fn matches(&self, object: &Object) -> bool {
        self.labels.matches(|key| object.label(key)) && self.fields.matches(|path| object.field(path))
    }
}
