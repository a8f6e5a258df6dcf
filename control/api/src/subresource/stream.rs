//! `pods/exec`, `pods/attach` and `pods/portforward`: the client's upgrade request goes on to the kubelet, and then bytes both
//! ways. What is spoken over them (SPDY, or WebSocket up to v4) is between the client and the container runtime; what clients
//! speak today and runtimes do not, `translate` and `tunnel` turn into SPDY.

mod spdy;
mod translate;
mod tunnel;
mod websocket;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::log::container;
use super::upstream::Upstream;
use crate::admission;
use crate::object::meta;
use crate::request::RequestInfo;
use crate::rest::Call;
use crate::status::Status;
use crate::wire::{self, Body};

/// Options of exec and attach, as the API and as kubelets name them.
const STREAMS: &[(&str, &str)] = &[("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];

/// What is passed on of the body of a kubelet's refusal.
const WORDS: usize = 64 << 10;

/// Who asks is our business, not the kubelet's.
const DROPPED: &[HeaderName] = &[header::AUTHORIZATION, header::HOST, header::CONTENT_LENGTH];

pub(super) async fn answer(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    // A WebSocket begins with GET, but what it does is no reading.
    let creation = RequestInfo { verb: "create", ..call.info.clone() };
    call.server.authorizer().check(&call.user, &creation, &call.query)?;
    let client = call.upgrade().ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    admission::connect(call, super::connection::options(call)).await?;
    let pod = call.find().await?.value();
    let path = path(call, &pod)?;
    let flag = |name: &str| call.query.flag(name);
    let streams =
        translate::Streams { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr"), tty: flag("tty") };
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", meta(&pod, "name"))));
    }
    let kubelet = Upstream::kubelet(call, node)?;
    let offered = websocket::offered(&call.headers);
    if call.info.subresource != "portforward" && offered.contains(&translate::PROTOCOL) {
        let answer = accept(call, translate::PROTOCOL)?;
        let (closing, trail) = (call.closing.clone(), call.trail.clone());
        tokio::spawn(async move {
            // It is a part of the request.
            let _trail = trail;
            if let Err(error) = translate::run(client, kubelet, path, streams, closing).await {
                tracing::debug!(%error, "a stream ended early");
            }
        });
        return Ok(answer);
    }
    let tunnelled = offered.iter().find_map(|protocol| protocol.strip_prefix(tunnel::PREFIX));
    let tunnelled =
        tunnelled.filter(|protocol| call.info.subresource == "portforward" && protocol.ends_with(".k8s.io"));
    let unreachable = |why: &dyn std::fmt::Display| {
        Status::internal(format!("error sending request: Get \"{}\": {why}", kubelet.url(&path)))
    };
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = if call.info.verb == "create" { Method::POST } else { Method::GET };
    *request.uri_mut() = path.parse().map_err(|e: http::uri::InvalidUri| unreachable(&e))?;
    *request.headers_mut() = passed_on(&call.headers);
    if let Some(protocol) = tunnelled {
        speak_spdy(&mut request, protocol).map_err(|e| unreachable(&e))?;
    }
    let mut response = kubelet.send(request, call.closing.clone()).await.map_err(|e| unreachable(&e))?;
    let upgraded = response.extensions_mut().remove::<OnUpgrade>();
    let Some(upstream) = upgraded.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) else {
        return refusal(response).await;
    };
    if let Some(protocol) = tunnelled {
        let answer = accept(call, &format!("{}{protocol}", tunnel::PREFIX))?;
        let (closing, trail) = (call.closing.clone(), call.trail.clone());
        tokio::spawn(async move {
            // It is a part of the request.
            let _trail = trail;
            if let Err(error) = tunnel::run(client, upstream, closing).await {
                tracing::debug!(%error, "a tunnel ended early");
            }
        });
        return Ok(answer);
    }
    let (closing, trail) = (call.closing.clone(), call.trail.clone());
    tokio::spawn(async move {
        let _trail = trail;
        let (client, upstream) = match tokio::try_join!(client, upstream) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "a stream was not connected"),
        };
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        tokio::select! {
            // An error is the end of one side: the other learns of it by the end of its connection.
            _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {}
            () = closing.cancelled() => {}
        }
    });
    Ok(response.map(|_| wire::full("")))
}

/// Agrees to speak `protocol` over a WebSocket.
fn accept(call: &Call, protocol: &str) -> Result<Response<Body>, Status> {
    websocket::accept(&call.headers, protocol).ok_or_else(|| Status::bad_request("the WebSocket handshake is broken"))
}

/// Has the request ask for SPDY instead of a WebSocket.
fn speak_spdy(request: &mut Request<Full<Bytes>>, protocol: &str) -> Result<(), header::InvalidHeaderValue> {
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    for name in [
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::SEC_WEBSOCKET_EXTENSIONS,
    ] {
        headers.remove(name);
    }
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert("x-stream-protocol-version", HeaderValue::from_str(protocol)?);
    Ok(())
}

/// A kubelet that does not change the protocol: its own words, and nothing else of it. What is no refusal (a redirect, above all) is
/// not for the client, who might follow it with its own credentials.
async fn refusal(response: Response<Body>) -> Result<Response<Body>, Status> {
    let code = response.status();
    if code.as_u16() < 400 {
        return Err(Status::internal(format!("invalid upgrade response: status code {}", code.as_u16())));
    }
    let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
    let mut answer = Response::new(wire::full(beginning(response.into_body()).await));
    *answer.status_mut() = code;
    if let Some(content_type) = content_type {
        answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    Ok(answer)
}

/// What a kubelet that refuses says.
async fn words(response: Response<Body>) -> String {
    let text = beginning(response.into_body()).await;
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// The body up to [`WORDS`], or as far as it came.
async fn beginning(mut body: Body) -> Vec<u8> {
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        read.extend(data.iter().take(WORDS - read.len()));
        if read.len() == WORDS {
            break;
        }
    }
    read
}

/// What the kubelet is asked.
fn path(call: &Call, pod: &Value) -> Result<String, Status> {
    let (namespace, name) = (call.namespace(), meta(pod, "name"));
    if call.info.subresource == "portforward" {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(call.query.all("ports").map(|ports| ("port", ports)));
        return Ok(with_query(format!("/portForward/{namespace}/{name}"), &query.finish()));
    }
    if let Some(phase @ ("Succeeded" | "Failed")) = pod["status"]["phase"].as_str() {
        let why = format!("cannot exec in or attach to a completed pod; current phase is {phase}");
        return Err(Status::bad_request(why));
    }
    let container = container(call, pod)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (ours, theirs) in STREAMS {
        if call.query.flag(ours) {
            query.append_pair(theirs, "1");
        }
    }
    query.extend_pairs(call.query.all("command").map(|word| ("command", word)));
    Ok(with_query(format!("/{}/{namespace}/{name}/{container}", call.info.subresource), &query.finish()))
}

fn with_query(path: String, query: &str) -> String {
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let kept = |name: &HeaderName| !DROPPED.contains(name) && !name.as_str().starts_with("impersonate-");
    headers.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, body: Vec<u8>) -> Response<Body> {
        let response =
            Response::builder().status(code).header("content-type", "text/plain").header("location", "/away");
        response.header("set-cookie", "a=b").body(wire::full(body)).unwrap()
    }

    #[tokio::test]
    async fn a_kubelet_sends_clients_nowhere() {
        for code in [200, 302, 307] {
            let status = refusal(answer(code, Vec::new())).await.unwrap_err();
            assert!(status.message.contains(&format!("invalid upgrade response: status code {code}")), "{status:?}");
        }
        let refused = refusal(answer(404, vec![b'x'; WORDS + 1])).await.unwrap();
        let names: Vec<&str> = refused.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!((refused.status().as_u16(), names.as_slice()), (404, ["content-type"].as_slice()));
        assert_eq!(refused.into_body().collect().await.unwrap().to_bytes().len(), WORDS);
    }
}
