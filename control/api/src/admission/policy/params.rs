//! The objects that parameterize a policy (`CollectParams`).

use std::sync::Arc;

use orlop_kinds::LabelSelector;
use serde_json::Value;

use super::{Binding, Policy};
use crate::admission::attributes::Attributes;
use crate::catalog::Resource;
use crate::registry::cache_key;

impl Policy {
    /// Whether the kind of its parameters is served.
    pub(super) fn params_exist(&self, attributes: &Attributes<'_>) -> Result<(), String> {
        match &self.param_kind {
            Some((api_version, kind)) => of_kind(api_version, kind, attributes).map(drop),
            None => Ok(()),
        }
    }
}

fn of_kind(api_version: &str, kind: &str, attributes: &Attributes<'_>) -> Result<Arc<Resource>, String> {
    let found = attributes.call.server.catalog().by_kind(api_version, kind).cloned();
    found.ok_or_else(|| format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'"))
}

/// The parameters for a request: none at all if the policy takes none, and an empty list if it need not be held.
pub(super) async fn collect(
    policy: &Policy,
    binding: &Binding,
    attributes: &Attributes<'_>,
) -> Result<Vec<Option<Value>>, String> {
    let (Some((api_version, kind)), false) = (&policy.param_kind, binding.param_ref.is_null()) else {
        return Ok(vec![None]);
    };
    let server = &attributes.call.server;
    let resource = of_kind(api_version, kind, attributes)?;
    let reference = &binding.param_ref;
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let namespace = match (resource.namespaced, text("namespace")) {
        (true, "") if attributes.namespace.is_empty() => {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into());
        }
        (true, "") => attributes.namespace.as_str(),
        (true, own) => own,
        (false, "") => "",
        (false, _) => return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()),
    };
    let hub = server.registry().hub();
    let cache = hub.cache(&resource).map_err(|status| status.message)?;
    hub.fresh(&cache).await.map_err(|status| status.message)?;
    let found: Vec<Option<Value>> = match text("name") {
        "" => {
            let selector = LabelSelector::from_object(&reference["selector"])?;
            let within = format!("{namespace}/");
            let objects = cache.snapshot().0;
            let own = objects.iter().filter(|(key, _)| !resource.namespaced || key.starts_with(&within));
            let values = own.map(|(_, object)| object.value());
            values.filter(|value| selector.matches(&value["metadata"]["labels"])).map(Some).collect()
        }
        name => {
            let object = cache.get(&cache_key(&resource, namespace, name));
            object.into_iter().map(|object| Some(object.value())).collect()
        }
    };
    if found.is_empty() && reference["parameterNotFoundAction"] != "Allow" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}
