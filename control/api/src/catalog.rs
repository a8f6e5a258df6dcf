//! What this server serves: every resource with its names, scope, verbs and subresources, and where its objects lie in the
//! store. Discovery, routing and the generic path all read this one catalog.

use std::collections::HashMap;
use std::sync::Arc;

use crate::custom::Custom;

mod table;
mod versions;

pub use versions::newest_first;

/// One resource in one API version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resource {
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural, as in the path.
    pub plural: String,
    /// Singular, as `kubectl` accepts it.
    pub singular: String,
    /// Kind of one object.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories, for example `all`.
    pub categories: Vec<String>,
    /// Verbs served.
    pub verbs: Vec<String>,
    /// Subresources served.
    pub subresources: Vec<Subresource>,
    /// Path below `/registry/` where kube-apiserver keeps these objects, without slashes at the ends.
    pub storage: String,
    /// `apiVersion` in which objects are stored.
    pub storage_version: String,
    /// What its CustomResourceDefinition says, if it has one.
    pub custom: Option<Arc<Custom>>,
}

/// A subresource of a [`Resource`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// For example `scale`.
    pub name: String,
    /// Group of the kind that it speaks.
    pub group: String,
    /// Version of the kind that it speaks.
    pub version: String,
    /// The kind that it speaks.
    pub kind: String,
    /// Verbs served.
    pub verbs: Vec<String>,
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether objects are served in the version that is stored.
    pub fn is_storage_version(&self) -> bool {
        self.api_version() == self.storage_version
    }

    /// The key of one object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("/registry/{}/{namespace}/{name}", self.storage)
        } else {
            format!("/registry/{}/{name}", self.storage)
        }
    }

    /// Kind of a list of these objects.
    pub fn list_kind(&self) -> String {
        self.custom.as_ref().map_or_else(|| format!("{}List", self.kind), |custom| custom.list_kind.clone())
    }

    /// Whether a verb is served.
    pub fn serves(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// A subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
}

/// All resources, in discovery order.
#[derive(Debug, Default)]
pub struct Catalog {
    resources: Vec<Arc<Resource>>,
    by_path: HashMap<(String, String, String), Arc<Resource>>,
    by_kind: HashMap<(String, String), Arc<Resource>>,
}

impl Catalog {
    /// The built-in resources.
    pub fn builtin() -> Self {
        Self::new(table::resources())
    }

    /// A catalog of the resources given.
    pub fn new(resources: impl IntoIterator<Item = Resource>) -> Self {
        let mut catalog = Self::default();
        for resource in resources {
            let resource = Arc::new(resource);
            let path = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
            catalog.by_path.insert(path, resource.clone());
            catalog.by_kind.entry((resource.api_version(), resource.kind.clone())).or_insert_with(|| resource.clone());
            catalog.resources.push(resource);
        }
        catalog
    }

    /// The built-in resources with custom ones behind them; what is built in is not replaced.
    pub fn with(custom: &[Arc<Resource>]) -> Self {
        let mut catalog = Self::builtin();
        for resource in custom {
            let path = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
            if catalog.by_path.contains_key(&path) {
                continue;
            }
            catalog.by_path.insert(path, resource.clone());
            catalog.by_kind.entry((resource.api_version(), resource.kind.clone())).or_insert_with(|| resource.clone());
            catalog.resources.push(resource.clone());
        }
        catalog
    }

    /// Every resource.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter()
    }

    /// By group, version and plural.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_path.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// By `apiVersion` and kind.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.by_kind.get(&(api_version.to_owned(), kind.to_owned()))
    }

    /// Groups with their versions, in order of preference; core first as the empty group.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for resource in &self.resources {
            match groups.iter_mut().find(|(g, _)| *g == resource.group) {
                Some((_, versions)) if versions.contains(&resource.version) => {}
                Some((_, versions)) => versions.push(resource.version.clone()),
                None => groups.push((resource.group.clone(), vec![resource.version.clone()])),
            }
        }
        groups
    }

    /// Resources of one group version.
    pub fn of<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.resources.iter().filter(move |r| r.group == group && r.version == version)
    }
}
