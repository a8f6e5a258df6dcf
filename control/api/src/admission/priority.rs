//! `Priority`: a pod's class becomes its number.

use serde_json::Value;

use crate::object::meta;
use crate::rest::Call;
use crate::status::Status;

pub(super) async fn mutate(call: &Call, pod: &mut Value) -> Result<(), Status> {
    let hub = call.server.registry().hub();
    let Some(cache) = hub.cache_at("priorityclasses") else { return Ok(()) };
    hub.fresh(&cache).await?;
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let class = if name.is_empty() {
        // Few classes exist; the one marked as default with the lowest value counts.
        let classes = cache.snapshot().0;
        classes.values().map(|o| o.value()).filter(|c| c["globalDefault"] == true).min_by_key(|c| c["value"].as_i64())
    } else {
        let found = cache.get(&name).map(|o| o.value());
        Some(found.ok_or_else(|| {
            let why = format!("no PriorityClass with name {name} was found");
            Status::forbidden("", "pods", meta(pod, "name"), why)
        })?)
    };
    let (value, policy) = match &class {
        Some(class) => {
            pod["spec"]["priorityClassName"] = meta(class, "name").into();
            (class["value"].as_i64().unwrap_or(0), class["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority"))
        }
        None => (0, "PreemptLowerPriority"),
    };
    if let Some(own) = pod["spec"]["priority"].as_i64().filter(|own| *own != value) {
        let why = format!(
            "the integer value of priority ({own}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(Status::forbidden("", "pods", meta(pod, "name"), why));
    }
    pod["spec"]["priority"] = value.into();
    if pod["spec"]["preemptionPolicy"].is_null() {
        pod["spec"]["preemptionPolicy"] = policy.into();
    }
    Ok(())
}

/// An update that says nothing of them leaves them as they were: whoever replaces a pod by what they once wrote knows no number.
pub(super) fn keep(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            pod["spec"][field] = old["spec"][field].clone();
        }
    }
}
