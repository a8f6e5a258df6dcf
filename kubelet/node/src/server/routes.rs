//! What is served under which path.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::authorize::{Certified, Refusal, check};
use super::follow;
use super::logs::LogOptions;
use super::streaming::{self, Target};
use crate::kubelet::Kubelet;
use crate::pod;
use crate::pods::Known;

/// What is answered: bytes at once, or a stream.
pub type Body = BoxBody<Bytes, std::convert::Infallible>;

/// A plain answer.
pub fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, type_: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(type_));
    response
}

/// Authorizes and answers one request.
pub async fn answer<B>(kubelet: &Kubelet, known: &Known, owner: &Certified, request: Request<B>) -> Response<Body> {
    let path = request.uri().path();
    match check(kubelet, owner, &request).await {
        Ok(()) => {}
        Err(Refusal::Unauthorized) => return plain(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Err(Refusal::Forbidden(words)) => return plain(StatusCode::FORBIDDEN, words),
        Err(Refusal::Unknown(words)) => return plain(StatusCode::INTERNAL_SERVER_ERROR, words),
    }
    let path = path.to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["healthz", ..]) => healthz(kubelet),
        (&Method::GET, ["pods"]) => pods(known),
        (&Method::GET, ["metrics"]) => metrics(kubelet, known),
        (&Method::GET, ["containerLogs", namespace, name, container]) => {
            let Some(pod) = find(known, namespace, name) else { return no_pod(name) };
            match LogOptions::parse(request.uri().query().unwrap_or_default()) {
                Ok(options) => follow::answer(kubelet, &pod, container, options).await,
                Err(words) => plain(StatusCode::UNPROCESSABLE_ENTITY, words),
            }
        }
        // The pod's UID may stand before the container.
        (&Method::GET | &Method::POST, ["exec", namespace, name, .., container]) if parts.len() <= 5 => {
            let Some(pod) = find(known, namespace, name) else { return no_pod(name) };
            streaming::answer(kubelet, &pod, Target::Exec(container), request).await
        }
        (&Method::GET | &Method::POST, ["attach", namespace, name, .., container]) if parts.len() <= 5 => {
            let Some(pod) = find(known, namespace, name) else { return no_pod(name) };
            streaming::answer(kubelet, &pod, Target::Attach(container), request).await
        }
        (&Method::GET | &Method::POST, ["portForward", namespace, name, ..]) if parts.len() <= 4 => {
            let Some(pod) = find(known, namespace, name) else { return no_pod(name) };
            streaming::answer(kubelet, &pod, Target::PortForward, request).await
        }
        _ => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn find(known: &Known, namespace: &str, name: &str) -> Option<Arc<Pod>> {
    let known = known.read().unwrap_or_else(PoisonError::into_inner);
    known.values().find(|pod| pod::namespace(pod) == namespace && pod::name(pod) == name).cloned()
}

fn no_pod(name: &str) -> Response<Body> {
    plain(StatusCode::NOT_FOUND, format!("pod \"{name}\" not found\n"))
}

fn healthz(kubelet: &Kubelet) -> Response<Body> {
    let problem = kubelet.health.borrow().runtime.clone();
    if problem.is_empty() { plain(StatusCode::OK, "ok") } else { plain(StatusCode::INTERNAL_SERVER_ERROR, problem) }
}

fn pods(known: &Known) -> Response<Body> {
    let known = known.read().unwrap_or_else(PoisonError::into_inner);
    let items: Vec<&Pod> = known.values().map(AsRef::as_ref).collect();
    let list = json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items });
    typed(StatusCode::OK, "application/json", list.to_string())
}

fn metrics(kubelet: &Kubelet, known: &Known) -> Response<Body> {
    let count = known.read().unwrap_or_else(PoisonError::into_inner).len();
    let text = format!(
        "# HELP kubelet_node_name [ALPHA] The node's name. The count is always 1.\n# TYPE kubelet_node_name gauge\n\
         kubelet_node_name{{node={:?}}} 1\n\
         # HELP kubelet_desired_pods [ALPHA] The number of pods the kubelet is being instructed to run.\n\
         # TYPE kubelet_desired_pods gauge\nkubelet_desired_pods{{static=\"\"}} {count}\n",
        kubelet.config.node_name
    );
    typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}
