//! What every cluster has: the system namespaces, the default roles, the priority classes and the Service of the API server,
//! written at each start where they are missing.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::object::meta;
use crate::registry::Outcome;
use crate::rest::now;
use crate::server::{ApiError, ApiServer};
use crate::status::Status;

mod endpoint;
mod extension;
mod service_range;

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Writes what is missing.
pub async fn run(server: &Arc<ApiServer>) -> Result<(), ApiError> {
    for name in NAMESPACES {
        let object = json!({
            "kind": "Namespace", "apiVersion": "v1",
            "metadata": {
                "name": name, "labels": {"kubernetes.io/metadata.name": name},
                "managedFields": [{
                    "manager": "kube-apiserver", "operation": "Update", "apiVersion": "v1", "time": now(),
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:kubernetes.io/metadata.name": {}}}},
                }],
            },
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        ensure(server, object).await?;
    }
    for object in policy().chain(priority_classes()) {
        ensure(server, object).await?;
    }
    service_range::ensure(server)
        .await
        .map_err(|status| ApiError::Bootstrap { what: "ServiceCIDR kubernetes".into(), status })?;
    for object in extension::objects(server.config()) {
        ensure(server, object).await?;
    }
    crate::flow_control::keep::reconcile(server)
        .await
        .map_err(|status| ApiError::Bootstrap { what: "flow control".into(), status })?;
    crate::flow_control::keep::keep(server);
    endpoint::reconcile(server)
        .await
        .map_err(|status| ApiError::Bootstrap { what: "Service kubernetes".into(), status })?;
    endpoint::keep(server);
    Ok(())
}

/// The default roles and bindings.
fn policy() -> impl Iterator<Item = Value> {
    use orlop_auth::bootstrap::{bootstrap_policy, namespace_policy};
    bootstrap_policy().into_iter().chain(namespace_policy())
}

/// The two classes that system pods use.
fn priority_classes() -> impl Iterator<Item = Value> {
    let classes = [
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ];
    classes.into_iter().map(|(name, value, description)| {
        json!({
            "kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1",
            "metadata": {"name": name, "generation": 1},
            "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority",
        })
    })
}

/// Creates an object if there is none of its name; of a default role, restores rules that were taken away.
async fn ensure(server: &Arc<ApiServer>, mut object: Value) -> Result<(), ApiError> {
    let what = format!("{} {}", object["kind"].as_str().unwrap_or_default(), meta(&object, "name"));
    write(server, &mut object).await.map_err(|status| ApiError::Bootstrap { what, status })
}

pub(crate) async fn write(server: &Arc<ApiServer>, object: &mut Value) -> Result<(), Status> {
    let (api_version, kind) =
        (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
    let catalog = server.catalog();
    let resource =
        catalog.by_kind(api_version, kind).ok_or_else(|| Status::internal(format!("{kind} is not served")))?;
    let cache = server.registry().hub().cache(resource)?;
    let registry = server.registry();
    if let Some(found) = registry.get(&cache, meta(object, "namespace"), meta(object, "name")).await? {
        return reconcile(server, &cache, &found, object).await;
    }
    object["metadata"]["uid"] = uuid::Uuid::new_v4().to_string().into();
    object["metadata"]["creationTimestamp"] = now().into();
    match registry.put(&cache, object.take(), 0).await? {
        // Somebody else was faster, which is as good.
        Outcome::Done(_) | Outcome::Stale(_) => Ok(()),
    }
}

/// Default roles are kept complete (`rbac.authorization.kubernetes.io/autoupdate`); everything else is the user's.
async fn reconcile(
    server: &ApiServer,
    cache: &crate::cache::Cache,
    found: &crate::object::Object,
    wanted: &Value,
) -> Result<(), Status> {
    let mut present = found.value();
    if present["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] != "true" {
        return Ok(());
    }
    let mut changed = false;
    for list in ["rules", "subjects"] {
        for item in wanted[list].as_array().into_iter().flatten() {
            let has = present[list].as_array().is_some_and(|items| items.contains(item));
            if !has {
                match present[list].as_array_mut() {
                    Some(items) => items.push(item.clone()),
                    None => present[list] = json!([item]),
                }
                changed = true;
            }
        }
    }
    if changed {
        server.registry().put(cache, present, found.revision).await?;
    }
    Ok(())
}
