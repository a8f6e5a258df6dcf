//! Which resources the server has, in the shape that the controllers over all of them need.

use std::collections::HashMap;
use std::sync::Arc;

use kube::core::discovery::{ApiResource, Scope, verbs};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::{Api, Client, Discovery};

/// One resource, at its most stable version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResourceType {
    pub(crate) api: ApiResource,
    pub(crate) namespaced: bool,
    verbs: Vec<String>,
}

impl ResourceType {
    pub(crate) fn new(api: ApiResource, namespaced: bool, verbs: &[&str]) -> Self {
        Self { api, namespaced, verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect() }
    }

    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// Group and plural, which name a resource whatever its version.
    pub(crate) fn id(&self) -> (&str, &str) {
        (&self.api.group, &self.api.plural)
    }

    /// The metadata of these objects, in one namespace or (with an empty one) wherever they live.
    pub(crate) fn metadata(&self, client: &Client, namespace: &str) -> Api<PartialObjectMeta<DynamicObject>> {
        if self.namespaced && !namespace.is_empty() {
            Api::namespaced_with(client.clone(), namespace, &self.api)
        } else {
            Api::all_with(client.clone(), &self.api)
        }
    }

    /// These objects.
    pub(crate) fn objects(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        if self.namespaced && !namespace.is_empty() {
            Api::namespaced_with(client.clone(), namespace, &self.api)
        } else {
            Api::all_with(client.clone(), &self.api)
        }
    }
}

/// Everything that can be listed and deleted.
pub(crate) async fn deletable(client: &Client) -> Result<Vec<ResourceType>, kube::Error> {
    let discovery = Discovery::new(client.clone()).run_aggregated().await?;
    let resources = discovery.groups().flat_map(|group| group.resources_by_stability());
    let resources = resources.map(|(api, capabilities)| {
        let verbs: Vec<&str> = capabilities.operations.iter().map(String::as_str).collect();
        ResourceType::new(api, capabilities.scope == Scope::Namespaced, &verbs)
    });
    let mut resources: Vec<_> = resources.filter(|r| r.can(verbs::LIST) && r.can(verbs::DELETE)).collect();
    resources.sort_by(|a, b| a.id().cmp(&b.id()));
    Ok(resources)
}

/// Resources by group and kind, as owner references name them.
pub(crate) type ByKind = HashMap<(String, String), Arc<ResourceType>>;
