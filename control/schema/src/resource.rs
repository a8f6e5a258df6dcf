//! Resources: what can be asked for by URL, as opposed to the kinds that are answered.

use crate::{GroupVersionKind, Str, TypeId, gvk};

/// A resource with its names, scope and verbs.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The API group, empty for the core group.
    pub group: Str,
    /// The version.
    pub version: Str,
    /// The kind of its objects.
    pub kind: Str,
    /// The kind of its lists; empty if it cannot be listed.
    pub list_kind: Str,
    /// The name in URLs.
    pub plural: Str,
    /// The name of one object.
    pub singular: Str,
    /// `kubectl`'s abbreviations.
    pub short_names: Box<[Str]>,
    /// `all`, `api-extensions`.
    pub categories: Box<[Str]>,
    /// Objects live in a namespace.
    pub namespaced: bool,
    /// The verbs, sorted.
    pub verbs: Box<[Str]>,
    /// The subresources, sorted by name.
    pub subresources: Box<[Subresource]>,
    /// The type of its objects.
    pub ty: TypeId,
    /// Served without `--runtime-config`: all stable versions, no alpha or beta one.
    pub enabled_by_default: bool,
}

/// A part of an object with a URL of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Subresource {
    /// The last segment of the URL.
    pub name: Str,
    /// The kind that is sent and answered: `autoscaling/v1 Scale` for scale, the parent's own for status.
    pub kind: GroupVersionKind,
    /// The verbs, sorted.
    pub verbs: Box<[Str]>,
    /// The request becomes a connection (exec, attach, portforward, proxy); `kind` is then that of the query's options.
    pub connect: bool,
    /// The type of `kind`.
    pub ty: Option<TypeId>,
}

impl Resource {
    /// The kind with group and version.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind { group: self.group.clone(), version: self.version.clone(), kind: self.kind.clone() }
    }

    /// `group/version`, or the version alone in the core group.
    pub fn api_version(&self) -> String {
        gvk::join(&self.group, &self.version)
    }

    /// `/api/v1` or `/apis/GROUP/VERSION`.
    pub fn url_prefix(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    /// Whether the verb is served.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| &**v == verb)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| &*s.name == name)
    }
}
