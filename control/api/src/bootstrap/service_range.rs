//! The ServiceCIDR `kubernetes`: the blocks that Services get their addresses from, as the API shows them (`defaultservicecidr` of
//! kube-apiserver). A cluster of one IP family becomes one of two when the server is told of a second block.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::rest::now;
use crate::server::ApiServer;
use crate::status::Status;

/// Writes what is missing.
pub(super) async fn ensure(server: &Arc<ApiServer>) -> Result<(), Status> {
    let blocks: Vec<String> = server.config().service_cidr.all().map(|range| range.to_string()).collect();
    super::write(server, &mut wanted(&blocks)).await?;
    let registry = server.registry();
    let Some(cache) = registry.hub().cache_at("servicecidrs") else { return Ok(()) };
    let Some(found) = registry.get(&cache, "", "kubernetes").await? else { return Ok(()) };
    let mut present = found.value();
    if blocks.len() == 2 && present["spec"]["cidrs"] == json!([blocks[0]]) {
        present["spec"]["cidrs"] = json!(blocks);
        registry.put(&cache, present, found.revision).await?;
    }
    Ok(())
}

fn wanted(blocks: &[String]) -> Value {
    json!({
        "kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": blocks},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": now(),
            "message": "Kubernetes default Service CIDR is ready",
        }]},
    })
}
