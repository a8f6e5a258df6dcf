//! API aggregation against a real HTTPS server that believes only the front proxy's certificate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use orlop_api::FrontProxy;
use orlop_auth::pki::{CertificateAuthority, ClusterPki, Subject, Usage};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cluster::Cluster;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const WARDLE: &str = "/apis/wardle.example.com/v1alpha1";

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A server of the group wardle.example.com.
struct Wardle {
    port: u16,
    ca_bundle: String,
    /// It knows OpenAPI v2 alone.
    old: Arc<AtomicBool>,
    /// Paths and headers that came in.
    seen: Arc<Mutex<Vec<(String, http::HeaderMap)>>>,
}

fn full(value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

/// What it says of flunders, and of metadata otherwise than this server does.
fn open_api() -> Value {
    let flunder = json!({"schema": {"$ref": "#/definitions/com.example.wardle.v1alpha1.Flunder"}});
    json!({
        "swagger": "2.0", "info": {"title": "wardle", "version": "1"},
        "paths": {
            format!("{WARDLE}/namespaces/{{namespace}}/flunders"): {"get": {
                "operationId": "listFlunders", "responses": {"200": {"description": "OK", "schema": flunder["schema"]}},
                "x-kubernetes-action": "list",
                "x-kubernetes-group-version-kind":
                    {"group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder"},
            }},
            "/healthz": {"get": {"responses": {"200": {"description": "OK"}}}},
        },
        "definitions": {
            "com.example.wardle.v1alpha1.Flunder": {
                "type": "object", "description": "A flunder is a fish.",
                "properties": {
                    "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
                    "spec": {"type": "object", "description": "What it eats."},
                },
                "x-kubernetes-group-version-kind":
                    [{"group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder"}],
            },
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object", "description": "Of old."},
        },
    })
}

fn answer(request: &Request<Incoming>, old: bool) -> Response<Body> {
    let path = request.uri().path();
    let verbs = ["create", "delete", "get", "list", "update", "watch"];
    match path {
        WARDLE => {
            full(&json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1alpha1",
            "resources": [{"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                "shortNames": ["fl"], "verbs": verbs}]}))
        }
        _ if old && path.starts_with("/openapi/v3") => {
            let mut response = Response::new(Full::new(Bytes::from("404 page not found")).boxed_unsync());
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            response
        }
        "/openapi/v3" => full(&json!({"paths": {"apis/wardle.example.com/v1alpha1": {
            "serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=ABC"}}})),
        "/openapi/v2" => full(&open_api()),
        "/openapi/v3/apis/wardle.example.com/v1alpha1" => full(&json!({"openapi": "3.0.0", "paths": {}})),
        _ if request.uri().query().unwrap_or_default().contains("watch=") => {
            let events = futures::stream::iter(0..3).then(|i| async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let line = format!("{}\n", json!({"type": "ADDED", "object": {"metadata": {"name": i.to_string()}}}));
                Ok(Frame::data(Bytes::from(line)))
            });
            Response::new(BodyExt::boxed_unsync(StreamBody::new(events)))
        }
        _ if path.ends_with("/flunders") => {
            full(&json!({"kind": "FlunderList", "apiVersion": "wardle.example.com/v1alpha1",
            "metadata": {}, "items": [{"metadata": {"name": "one", "namespace": "default"}}]}))
        }
        _ => {
            let mut response = Response::new(Full::new(Bytes::from("no")).boxed_unsync());
            *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
            response
        }
    }
}

/// Says back whatever comes over the upgraded connection.
fn echo(request: &mut Request<Incoming>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
        tokio::io::copy(&mut read, &mut write).await
    });
    let mut response = full(&Value::Null);
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [("connection", "Upgrade"), ("upgrade", "echo")] {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

impl Wardle {
    async fn start(front_proxy_ca: &str) -> Self {
        let usage = Usage::Server { names: vec!["wardle.default.svc".into()], addresses: vec![] };
        let ca = CertificateAuthority::generate("wardle").unwrap();
        let issued = ca.issue(&Subject::new("wardle", &[]), &usage).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(front_proxy_ca.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<(String, http::HeaderMap)>>> = Arc::default();
        let old = Arc::new(AtomicBool::new(false));
        let (acceptor, noted, is_old) = (TlsAcceptor::from(Arc::new(tls)), seen.clone(), old.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, noted, is_old) = (acceptor.clone(), noted.clone(), is_old.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |mut request: Request<Incoming>| {
                        noted.lock().unwrap().push((request.uri().to_string(), request.headers().clone()));
                        let response = if request.headers().contains_key("upgrade") {
                            echo(&mut request)
                        } else {
                            answer(&request, is_old.load(Ordering::Relaxed))
                        };
                        async move { Ok::<_, std::convert::Infallible>(response) }
                    });
                    let builder = Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, ca_bundle: STANDARD.encode(ca.certificate()), old, seen }
    }
}

async fn start() -> (Cluster, Wardle) {
    let directory = tempfile::tempdir().unwrap();
    let pki = ClusterPki::open(&directory.path().join("pki")).unwrap();
    let (ca, client) = (pki.front_proxy_ca().unwrap().certificate().to_owned(), pki.front_proxy_client().unwrap());
    let wardle = Wardle::start(&ca).await;
    let front_proxy = FrontProxy { ca, certificate: client.certificate, key: client.key };
    let cluster = Cluster::start_with(directory, |config| config.front_proxy = Some(front_proxy)).await;
    (cluster, wardle)
}

async fn register(cluster: &Cluster, wardle: &Wardle) {
    let service =
        json!({"metadata": {"name": "wardle"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    assert_eq!(cluster.json("POST", "/api/v1/namespaces/default/services", service).await.0, 201);
    let object = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1alpha1.wardle.example.com"},
        "spec": {
            "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
            "caBundle": wardle.ca_bundle, "service": {"namespace": "default", "name": "wardle", "port": wardle.port},
        },
    });
    let (code, made) = cluster.json("POST", SERVICES, object).await;
    assert_eq!(code, 201, "{made}");
}

/// Waits for the condition Available.
async fn available(cluster: &Cluster, wanted: &str) -> Value {
    let path = format!("{SERVICES}/v1alpha1.wardle.example.com");
    for _ in 0..200 {
        let (_, object) = cluster.json("GET", &path, Value::Null).await;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if let Some(found) = conditions.into_iter().find(|c| c["type"] == "Available" && c["status"] == wanted) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never {wanted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_s_group_is_served_as_if_it_were_our_own() {
    let (cluster, wardle) = start().await;
    assert_eq!(cluster.json("GET", WARDLE, Value::Null).await.0, 404);
    register(&cluster, &wardle).await;
    assert_eq!(available(&cluster, "True").await["reason"], "Passed");
    let (code, list) = cluster.json("GET", &format!("{WARDLE}/namespaces/default/flunders"), Value::Null).await;
    assert_eq!((code, &list["items"][0]["metadata"]["name"]), (200, &json!("one")));
    let headers =
        wardle.seen.lock().unwrap().iter().rev().find(|(path, _)| path.contains("flunders")).unwrap().1.clone();
    assert_eq!(headers["x-remote-user"], "admin");
    assert!(headers.get_all("x-remote-group").iter().any(|group| group == "system:masters"));
    // What it answers comes back as it is.
    assert_eq!(cluster.json("DELETE", &format!("{WARDLE}/namespaces/default/flunders/x"), Value::Null).await.0, 418);

    let shown = cluster.kubectl("api-resources --api-group=wardle.example.com --no-headers").await.unwrap();
    assert!(shown.contains("flunders") && shown.contains("fl") && shown.contains("Flunder"), "{shown}");
    assert!(cluster.kubectl("get flunders -o name").await.unwrap().contains("flunder.wardle.example.com/one"));
    let shown = cluster.kubectl("get apiservices v1alpha1.wardle.example.com --no-headers").await.unwrap();
    assert!(shown.contains("default/wardle") && shown.contains("True"), "{shown}");
    let (_, index) = cluster.json("GET", "/openapi/v3", Value::Null).await;
    let url = index["paths"]["apis/wardle.example.com/v1alpha1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(cluster.json("GET", url, Value::Null).await.1["openapi"], "3.0.0");
    let (_, group) = cluster.json("GET", "/apis/wardle.example.com", Value::Null).await;
    assert_eq!(group["preferredVersion"]["version"], "v1alpha1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_tells_of_another_server_s_kinds() {
    let (cluster, wardle) = start().await;
    register(&cluster, &wardle).await;
    available(&cluster, "True").await;
    let (_, document) = cluster.json("GET", "/openapi/v2", Value::Null).await;
    let item = &document["paths"][format!("{WARDLE}/namespaces/{{namespace}}/flunders")];
    assert_eq!(item["get"]["operationId"], "listFlunders");
    assert!(document["paths"].get("/healthz").is_none(), "only its group is its own");
    let flunder = &document["definitions"]["com.example.wardle.v1alpha1.Flunder"];
    let metadata = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    assert_eq!(flunder["properties"]["metadata"]["$ref"], format!("#/definitions/{metadata}_v2"));
    assert_eq!(document["definitions"][format!("{metadata}_v2")]["description"], "Of old.");
    assert!(document["definitions"][metadata]["properties"]["name"].is_object());
    let told = cluster.kubectl("explain flunders.spec --output=plaintext-openapiv2").await.unwrap();
    assert!(told.contains("What it eats."), "{told}");
    // It goes with its APIService.
    let path = format!("{SERVICES}/v1alpha1.wardle.example.com");
    assert_eq!(cluster.json("DELETE", &path, Value::Null).await.0, 200);
    for _ in 0..100 {
        let (_, document) = cluster.json("GET", "/openapi/v2", Value::Null).await;
        if document["definitions"].get("com.example.wardle.v1alpha1.Flunder").is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("flunders are still described");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_v2_alone_is_described_in_v3() {
    let (cluster, wardle) = start().await;
    wardle.old.store(true, Ordering::Relaxed);
    register(&cluster, &wardle).await;
    available(&cluster, "True").await;
    let (_, index) = cluster.json("GET", "/openapi/v3", Value::Null).await;
    let url = index["paths"]["apis/wardle.example.com/v1alpha1"]["serverRelativeURL"].as_str().unwrap();
    let (code, document) = cluster.json("GET", url, Value::Null).await;
    assert_eq!((code, &document["openapi"]), (200, &json!("3.0.0")));
    assert_eq!(document["info"]["title"], "wardle");
    assert_eq!(
        document["paths"][format!("{WARDLE}/namespaces/{{namespace}}/flunders")]["get"]["operationId"],
        "listFlunders"
    );
    let flunder = &document["components"]["schemas"]["com.example.wardle.v1alpha1.Flunder"];
    let metadata = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    assert_eq!(flunder["properties"]["metadata"]["$ref"], metadata);
    let told = cluster.kubectl("explain flunders.spec").await.unwrap();
    assert!(told.contains("What it eats."), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_another_server_streams() {
    let (cluster, wardle) = start().await;
    register(&cluster, &wardle).await;
    available(&cluster, "True").await;
    let path = format!("{WARDLE}/namespaces/default/flunders?watch=1");
    let response = cluster.send(Request::get(path).body(Vec::new()).unwrap()).await;
    let mut body = response.into_body();
    let mut pieces = 0;
    while let Some(frame) = body.frame().await {
        pieces += usize::from(frame.unwrap().is_data());
    }
    assert_eq!(pieces, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_goes_both_ways() {
    let (cluster, wardle) = start().await;
    register(&cluster, &wardle).await;
    available(&cluster, "True").await;
    let head = format!("GET {WARDLE}/x HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n");
    let (mut stream, answer) = cluster.upgraded(&head).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    stream.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told_and_told_why() {
    let (cluster, wardle) = start().await;
    register(&cluster, &wardle).await;
    available(&cluster, "True").await;
    let service = "/api/v1/namespaces/default/services/wardle";
    assert_eq!(cluster.json("DELETE", service, Value::Null).await.0, 200);
    let condition = available(&cluster, "False").await;
    assert_eq!(condition["reason"], "ServiceNotFound");
    assert_eq!(condition["message"], "service/wardle in \"default\" is not present");
    let response = cluster.send(Request::get(format!("{WARDLE}/flunders")).body(Vec::new()).unwrap()).await;
    assert_eq!(response.status(), 503);
    // The rest of the API does not mind.
    assert_eq!(cluster.json("GET", "/apis", Value::Null).await.0, 200);
    let shown = cluster.kubectl("get apiservices").await.unwrap();
    assert!(shown.contains("False (ServiceNotFound)"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_here_has_api_services_of_its_own() {
    let (cluster, _) = start().await;
    let mut found = (0, Value::Null);
    for _ in 0..100 {
        found = cluster.json("GET", &format!("{SERVICES}/v1.apps"), Value::Null).await;
        if found.0 == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (code, apps) = found;
    assert_eq!((code, &apps["spec"]["groupPriorityMinimum"]), (200, &json!(17_800)));
    assert_eq!(apps["status"]["conditions"][0]["reason"], "Local");
    assert_eq!(apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let (_, authentication) = cluster.json("GET", path, Value::Null).await;
    let data = &authentication["data"];
    assert_eq!(data["requestheader-allowed-names"], "[\"front-proxy-client\"]");
    for ca in ["client-ca-file", "requestheader-client-ca-file"] {
        assert!(data[ca].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"), "{ca}");
    }
}
