//! How this server calls webhooks: POST of one JSON object over TLS to a URL or to a Service, within a time and a size.
//! Connections are kept for the next call. Admission and conversion of custom resources share it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

use crate::cache::Hub;

mod client_config;
mod connector;

pub use client_config::ClientConfig;
use connector::Connector;
pub use connector::{read_system_roots, roots};

/// Clients are kept for so many places (kube-apiserver's figure).
const KEPT: usize = 200;
/// An idle connection is kept so long.
const IDLE: Duration = Duration::from_secs(90);
/// A larger answer is not read: no object is that large.
const LARGEST: usize = 8 << 20;
/// So much of an error's text is repeated.
const TEXT: usize = 2048;
const AGENT: &str = "kube-apiserver-admission";

type HttpClient = Client<Connector, Full<Bytes>>;

/// Calls webhooks.
pub struct Webhooks {
    hub: Arc<Hub>,
    clients: Mutex<HashMap<ClientConfig, HttpClient>>,
}

/// Why a call came to nothing, in the words of Go's client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// Nobody answered: `Post "https://…": why`.
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// An answer that is none.
    Answer(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { url, why } => write!(f, "Post \"{url}\": {why}"),
            Self::Answer(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CallError {}

impl Webhooks {
    /// Services are looked up in the caches.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub, clients: Mutex::default() }
    }

    /// Posts `body`, with `?timeout=` as a hint to the other side, and reads the JSON object that is the answer.
    pub async fn post(&self, config: &ClientConfig, body: &Value, timeout: Duration) -> Result<Value, CallError> {
        let url = format!("{}?timeout={}s", config.url(), timeout.as_secs().max(1));
        let failed = |why: String| CallError::Unreachable { url: url.clone(), why };
        let exchange = async {
            let client = self.client(config).map_err(&failed)?;
            let request = Request::builder()
                .method(Method::POST)
                .uri(url.as_str())
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json, */*")
                .header(header::USER_AGENT, AGENT)
                .body(Full::new(Bytes::from(body.to_string())))
                .map_err(|error| failed(error.to_string()))?;
            let answer = client.request(request).await.map_err(|error| failed(connector::why(&error)))?;
            let code = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            let body = body.map_err(|error| CallError::Answer(unreadable(error.as_ref())))?.to_bytes();
            understand(code, &body)
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(failed("context deadline exceeded".into())),
        }
    }

    fn client(&self, config: &ClientConfig) -> Result<HttpClient, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(config) {
            return Ok(client.clone());
        }
        let connector = Connector::new(self.hub.clone(), config)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        if clients.len() >= KEPT {
            clients.clear();
        }
        clients.insert(config.clone(), client.clone());
        Ok(client)
    }
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> String {
    if error.is::<http_body_util::LengthLimitError>() {
        format!("the answer is larger than {LARGEST} bytes")
    } else {
        format!("unexpected error when reading response body: {error}")
    }
}

/// An answer as client-go reads it.
fn understand(code: StatusCode, body: &[u8]) -> Result<Value, CallError> {
    let value: Result<Value, _> = serde_json::from_slice(body);
    if !code.is_success() {
        let told = value.ok().filter(|v| v["kind"] == "Status").and_then(|v| v["message"].as_str().map(str::to_owned));
        return Err(CallError::Answer(told.unwrap_or_else(|| generic(code, body))));
    }
    match value {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(CallError::Answer("couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }".into())),
        Err(error) => Err(CallError::Answer(format!("couldn't get version/kind; json parse error: {error}"))),
    }
}

/// What `NewGenericServerResponse` says of a code.
fn generic(code: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(TEXT)]).trim().to_owned();
    let fixed = match code.as_u16() {
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        403 => return text,
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        406 => "the server was unable to respond with a content type that the client supports",
        409 => "the server reported a conflict",
        410 => "the server is no longer able to serve this version of the requested resource",
        415 => "the body of the request was in an unknown format",
        422 => "the server rejected our request due to an error in our request",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        500.. => return format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        code => return format!("the server responded with the status code {code} but did not return more information"),
    };
    fixed.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_client_go_reads_them() {
        let read = |code: u16, body: &str| {
            understand(StatusCode::from_u16(code).unwrap(), body.as_bytes()).map_err(|e| e.to_string())
        };
        assert_eq!(read(200, "{\"a\":1}").unwrap()["a"], 1);
        assert!(read(200, "<html>").unwrap_err().starts_with("couldn't get version/kind; json parse error"));
        assert!(read(200, "[]").is_err());
        assert_eq!(read(404, "404 page not found").unwrap_err(), "the server could not find the requested resource");
        let told = "an error on the server (\"boom\") has prevented the request from succeeding";
        assert_eq!(read(500, "boom\n").unwrap_err(), told);
        assert_eq!(read(403, "{\"kind\":\"Status\",\"message\":\"no\"}").unwrap_err(), "no");
    }
}
