//! `scale`: the replicas of a workload, whatever its kind.

use std::sync::Arc;

use http::Response;
use orlop_kinds::scale;
use serde_json::Value;

use crate::rest::Call;
use crate::status::Status;
use crate::strategy;
use crate::wire::Body;

pub(super) async fn answer(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    let object = match call.info.verb {
        "get" => call.find().await?,
        "update" => {
            let wanted = call.decode("autoscaling/v1", "Scale")?;
            let inner = call.clone();
            call.change(&mut |old| rescaled(&inner, old, &wanted)).await?
        }
        _ => {
            let patch = call.decode_patch()?;
            let inner = call.clone();
            call.change(&mut |old| {
                let mut shown = shown(&inner, old)?;
                let version = shown["metadata"]["resourceVersion"].clone();
                patch.apply_to(&mut shown, "autoscaling/v1", "Scale")?;
                // A patch builds on what is there now, unless it names a resourceVersion itself.
                if shown["metadata"]["resourceVersion"] == version {
                    shown["metadata"]["resourceVersion"] = "".into();
                }
                rescaled(&inner, old, &shown)
            })
            .await?
        }
    };
    let object = call.present_one(object).await?;
    call.render_value(200, shown(call, &call.value_of(&object))?)
}

/// The Scale that an object shows.
pub fn shown(call: &Call, object: &Value) -> Result<Value, Status> {
    match call.resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        Some(paths) => crate::custom::scale::read(paths, object),
        None => Ok(scale::read(object)),
    }
}

fn rescaled(call: &Call, old: &Value, wanted: &Value) -> Result<Value, Status> {
    strategy::check(&call.resource, old, &scale::validate(wanted))?;
    let mut object = old.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove("resourceVersion");
    }
    write(call, &mut object, wanted);
    Ok(object)
}

/// Makes an object what a Scale says.
pub fn write(call: &Call, object: &mut Value, wanted: &Value) {
    match call.resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        Some(paths) => crate::custom::scale::write(paths, object, wanted),
        None => scale::write(object, wanted),
    }
}
