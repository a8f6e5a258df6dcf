//! Admission: what may be in this cluster at this moment, after authorization and before storage. Each plugin is a function of
//! the request, the object and what the caches know; they run in kube-apiserver's order.

use std::sync::Arc;

use serde_json::Value;

use crate::rest::Call;
use crate::status::Status;

mod escalation;
mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod service_account;
mod tolerations;

/// Plugins that change the object.
pub async fn mutate(call: &Arc<Call>, object: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    if old.is_some() || call.resource.storage != "pods" || !call.info.subresource.is_empty() {
        return Ok(());
    }
    // As in kube-apiserver, a missing namespace is what is told first, and not that it has no service account.
    namespace_lifecycle::validate(call, Some(object), old).await?;
    service_account::mutate(call, object).await?;
    tolerations::mutate(object);
    priority::mutate(call, object).await
}

/// Plugins that only say yes or no. Without `object` it is a deletion, without `old` a creation.
pub async fn validate(call: &Arc<Call>, object: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
    namespace_lifecycle::validate(call, object, old).await?;
    node_restriction::validate(call, object, old)?;
    escalation::validate(call, object, old)
}
