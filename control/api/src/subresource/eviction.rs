//! `pods/eviction`: a deletion that respects disruption budgets.

use std::sync::Arc;

use http::Response;
use orlop_kinds::LabelSelector;
use serde_json::Value;

use crate::admission;
use crate::object::meta;
use crate::rest::{Call, DeleteOptions};
use crate::status::Status;
use crate::wire::Body;

pub(super) async fn answer(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    let mut eviction = call.decode("policy/v1", "Eviction")?;
    if meta(&eviction, "name") != call.info.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    admission::create_other(call, &mut eviction).await?;
    let mut options = DeleteOptions::from_value(eviction["deleteOptions"].clone())?;
    if call.dry_run()? {
        options.only_try();
    }
    let pod = call.find().await?.value();
    // A pod that does not run disturbs nobody by going.
    let running = !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"));
    if running && meta(&pod, "deletionTimestamp").is_empty() {
        take_from_budget(call, &pod, options.is_dry_run()).await?;
    }
    call.delete_object(&call.info.namespace, &call.info.name, &options).await?;
    super::success(call)
}

/// Takes one disruption from the budget that covers the pod; a dry run only looks whether it could.
async fn take_from_budget(call: &Call, pod: &Value, dry_run: bool) -> Result<(), Status> {
    let registry = call.server.registry();
    let Some(cache) = registry.hub().cache_at("poddisruptionbudgets") else { return Ok(()) };
    registry.hub().fresh(&cache).await?;
    let prefix = format!("{}/", call.namespace());
    let mut covering = Vec::new();
    for (key, object) in cache.snapshot().0.iter().filter(|(key, _)| key.starts_with(&prefix)) {
        let budget = object.value();
        let selects = LabelSelector::from_object(&budget["spec"]["selector"])
            .is_ok_and(|s| s.matches(&pod["metadata"]["labels"]));
        if selects {
            covering.push((key.clone(), budget));
        }
    }
    let (key, budget) = match covering.as_slice() {
        [] => return Ok(()),
        [(key, budget)] => (key, budget),
        _ => {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let allowed = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
    if allowed <= 0 {
        let status = &budget["status"];
        let message = format!(
            "The disruption budget {} needs {} healthy pods and has {} currently",
            meta(budget, "name"),
            status["desiredHealthy"].as_i64().unwrap_or(0),
            status["currentHealthy"].as_i64().unwrap_or(0)
        );
        let refusal = Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0);
        return Err(refusal.caused_by("DisruptionBudget", &message, ""));
    }
    if dry_run {
        return Ok(());
    }
    let pod_name = meta(pod, "name").to_owned();
    let name = key.rsplit('/').next().unwrap_or_default().to_owned();
    registry
        .modify(&cache, call.namespace(), &name, &mut |budget| {
            let left = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0) - 1;
            if left < 0 {
                return Err(Status::too_many_requests(
                    "Cannot evict pod as it would violate the pod's disruption budget.",
                    0,
                ));
            }
            budget["status"]["disruptionsAllowed"] = left.into();
            budget["status"]["disruptedPods"][&pod_name] = crate::rest::now().into();
            Ok(())
        })
        .await
        .map(drop)
}
