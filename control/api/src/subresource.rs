//! Subresources and reviews: what is asked of an object besides reading and writing it.

use std::sync::Arc;

use http::Response;

use crate::rest::Call;
use crate::status::Status;
use crate::wire::Body;

/// Carries out a call for a subresource other than `status`, or for a review.
pub async fn route(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    Err(Status::not_implemented(format!("{}/{}", call.resource.plural, call.info.subresource)))
}
