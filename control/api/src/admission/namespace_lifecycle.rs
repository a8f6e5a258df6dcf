//! `NamespaceLifecycle`: nothing is created in a namespace that does not exist or is going away; the namespaces that the
//! system needs stay.

use serde_json::Value;

use crate::object::meta;
use crate::rest::Call;
use crate::status::Status;

const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

pub(super) async fn validate(call: &Call, object: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
    let resource = &call.resource;
    if resource.group.is_empty() && resource.plural == "namespaces" {
        let name = old.map(|o| meta(o, "name")).unwrap_or_default();
        if object.is_none() && IMMORTAL.contains(&name) {
            return Err(Status::forbidden("", "namespaces", name, "this namespace may not be deleted"));
        }
        return Ok(());
    }
    if !resource.namespaced || old.is_some() {
        return Ok(());
    }
    let namespace = call.namespace();
    let registry = call.server.registry();
    let found = match registry.hub().cache_at("namespaces") {
        Some(cache) => registry.get(&cache, "", namespace).await?,
        None => None,
    };
    let Some(found) = found else {
        return Err(Status::not_found_as("", "namespaces", namespace));
    };
    if found.field("status.phase") != Some("Terminating") {
        return Ok(());
    }
    let name = object.map(|o| meta(o, "name")).unwrap_or_default();
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    Err(Status::forbidden(&resource.group, &resource.plural, name, why).caused_by(
        "NamespaceTerminating",
        &format!("namespace {namespace} is being terminated"),
        "metadata.namespace",
    ))
}
