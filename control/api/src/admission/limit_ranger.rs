//! `LimitRanger`: containers get the requests and limits that their namespace prescribes, and nothing outside of its bounds is
//! let in (`plugin/pkg/admission/limitranger`).

use orlop_kinds::limits;
use serde_json::Value;

use crate::object::meta;
use crate::rest::Call;
use crate::status::Status;

/// The ranges of the request's namespace.
async fn ranges(call: &Call) -> Result<Vec<Value>, Status> {
    let hub = call.server.registry().hub();
    let Some(cache) = hub.cache_at("limitranges") else { return Ok(Vec::new()) };
    hub.fresh(&cache).await?;
    Ok(cache.of_namespace(call.namespace()).iter().map(|object| object.value()).collect())
}

/// Defaults of a new pod.
pub(super) async fn mutate(call: &Call, pod: &mut Value) -> Result<(), Status> {
    ranges(call).await?.iter().for_each(|range| limits::default_pod(range, pod));
    Ok(())
}

/// Whether everything is within bounds.
pub(super) async fn validate(call: &Call, object: &Value, old: Option<&Value>) -> Result<(), Status> {
    let resource = &call.resource;
    let applies = match (resource.storage.as_str(), call.info.subresource.as_str(), old) {
        // A pod's resources only change by its resize.
        ("pods", "", None) | ("pods", "resize", Some(_)) | ("persistentvolumeclaims", "", _) => true,
        _ => false,
    };
    if !applies || old.is_some_and(|old| !meta(old, "deletionTimestamp").is_empty()) {
        return Ok(());
    }
    for range in ranges(call).await? {
        if let Some(why) = limits::refuse(&range, &resource.kind, object) {
            return Err(Status::forbidden(&resource.group, &resource.plural, meta(object, "name"), why));
        }
    }
    Ok(())
}
