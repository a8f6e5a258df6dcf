//! An HTTPS server that answers admission reviews, as a webhook of the cluster's owner would.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use orlop_auth::pki::{CertificateAuthority, Subject, Usage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What the server says to a review.
pub enum Reply {
    /// `response` without its uid.
    Response(Value),
    /// A whole body under a code.
    Raw(u16, Vec<u8>),
    /// Nothing for so long, and then yes.
    Late(Duration),
    /// Nothing until it is true, and then yes.
    Held(watch::Receiver<bool>),
}

pub struct HookServer {
    pub port: u16,
    /// The bundle that its certificate is of, as `caBundle`.
    pub ca_bundle: String,
    /// Paths and bodies that came in.
    pub seen: Arc<Mutex<Vec<(String, Value)>>>,
    /// How many connections were made.
    pub connections: Arc<Mutex<usize>>,
}

pub fn allow() -> Reply {
    Reply::Response(json!({"allowed": true}))
}

pub fn patch(patch: &Value) -> Reply {
    let patch = STANDARD.encode(patch.to_string());
    Reply::Response(json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}

impl HookServer {
    /// Answers with what `reply` makes of the path and the review's request.
    pub async fn start(reply: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> Self {
        let names = ["localhost", "hook.default.svc"].map(Into::into).to_vec();
        let usage = Usage::Server { names, addresses: vec!["127.0.0.1".parse().unwrap()] };
        let ca = CertificateAuthority::generate("hooks").unwrap();
        let issued = ca.issue(&Subject::new("hook", &[]), &usage).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, connections) = (Arc::default(), Arc::default());
        let server = Self { port, ca_bundle: STANDARD.encode(ca.certificate()), seen, connections };
        let (seen, connections) = (server.seen.clone(), server.connections.clone());
        let (acceptor, reply) = (TlsAcceptor::from(Arc::new(tls)), Arc::new(reply));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                let (acceptor, reply, seen) = (acceptor.clone(), reply.clone(), seen.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (reply, seen) = (reply.clone(), seen.clone());
                        async move { Ok::<_, std::convert::Infallible>(answer(request, &*reply, &seen).await) }
                    });
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        server
    }

    /// `clientConfig` for a path of it.
    pub fn at(&self, path: &str) -> Value {
        json!({"url": format!("https://127.0.0.1:{}{path}", self.port), "caBundle": self.ca_bundle})
    }

    /// The requests of the reviews that came to a path.
    pub fn requests(&self, path: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(at, _)| at == path).map(|(_, review)| review["request"].clone()).collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    reply: &(dyn Fn(&str, &Value) -> Reply + Send + Sync),
    seen: &Mutex<Vec<(String, Value)>>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    seen.lock().unwrap().push((path.clone(), review.clone()));
    let mut response = match reply(&path, &review["request"]) {
        Reply::Raw(code, body) => {
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
            return response;
        }
        Reply::Response(response) => response,
        Reply::Late(pause) => {
            tokio::time::sleep(pause).await;
            json!({"allowed": true})
        }
        Reply::Held(mut held) => {
            held.wait_for(|open| *open).await.unwrap();
            json!({"allowed": true})
        }
    };
    if response.is_object() && response["uid"].is_null() {
        response["uid"] = review["request"]["uid"].clone();
    }
    let body = json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response});
    Response::new(Full::new(Bytes::from(body.to_string())))
}
