//! Subresources and reviews: what is asked of an object besides reading and writing it.

use std::sync::Arc;

use http::Response;
use serde_json::{Value, json};

use crate::rest::Call;
use crate::status::Status;
use crate::wire::{self, Body};

mod binding;
mod component_status;
mod connection;
mod eviction;
mod links;
mod log;
mod proxy;
mod review;
pub mod scale;
mod stream;
mod token;
pub mod upstream;

/// Carries out a call for a subresource other than `status`, or for a review.
pub async fn route(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    let (resource, info) = (&call.resource, &call.info);
    if resource.plural == "bindings" && info.verb == "create" && info.name.is_empty() {
        return binding::answer(call).await;
    }
    if resource.kind == "ComponentStatus" {
        return component_status::answer(call).await;
    }
    if resource.storage.is_empty() {
        if info.verb != "create" || !info.name.is_empty() {
            return Err(Status::method_not_supported());
        }
        return review::answer(call).await;
    }
    let Some(sub) = resource.subresource(&info.subresource) else {
        return Err(match resource.custom {
            Some(_) if !info.name.is_empty() => Status::not_found(resource, &info.name),
            _ => Status::no_such_path(),
        });
    };
    // A path that is passed on takes any method (OPTIONS); the others know theirs.
    if !(sub.name == "proxy" || sub.verbs.iter().any(|v| v == info.verb)) {
        return Err(match resource.custom {
            Some(_) => Status::verb_not_supported(resource, info.verb),
            None => Status::method_not_supported(),
        });
    }
    match sub.name.as_str() {
        "scale" => scale::answer(call).await,
        "binding" => binding::answer(call).await,
        "eviction" => eviction::answer(call).await,
        "token" => token::answer(call).await,
        "log" => log::answer(call).await,
        "proxy" => proxy::answer(call).await,
        "attach" | "exec" | "portforward" => stream::answer(call).await,
        // Other views of the same object: the kind's strategy knows what they may change.
        _ => call.generic().await,
    }
}

/// `Status` of an action that has no object to show.
fn success(call: &Call) -> Result<Response<Body>, Status> {
    let value: Value = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    wire::value(201, call.accept.encoding, &value)
}
