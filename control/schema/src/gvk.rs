//! Group, version and kind: the name under which an object says what it is.

use std::fmt;

use crate::Str;

/// A kind within a group and version; the core group is the empty string.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// The API group, empty for the core group.
    pub group: Str,
    /// The version within the group.
    pub version: Str,
    /// The kind, as in an object's `kind` field.
    pub kind: Str,
}

impl GroupVersionKind {
    /// Builds one from its three names.
    pub fn new(group: impl Into<Str>, version: impl Into<Str>, kind: impl Into<Str>) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// Reads an object's `apiVersion` and `kind`.
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self::new(group, version, kind)
    }

    /// `group/version`, or the version alone in the core group: what stands in an object's `apiVersion`.
    pub fn api_version(&self) -> String {
        join(&self.group, &self.version)
    }
}

/// `group/version`, or the version alone in the core group.
pub(crate) fn join(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.api_version(), self.kind)
    }
}
