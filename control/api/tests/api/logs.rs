//! `pods/log`, through a kubelet of the test's own.

use std::sync::{Arc, Mutex};

use orlop_api::Config;
use orlop_auth::pki::{Issued, Subject, Usage};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cluster::Cluster;
use crate::pods::{bind, default_account, pod};

fn pair(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    (vec![certificate], PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap())
}

/// A cluster that can call kubelets: its CA and its client certificate.
async fn cluster() -> (Cluster, Arc<RootCertStore>) {
    cluster_in(tempfile::tempdir().unwrap(), |_| {}).await
}

/// Likewise, with another configuration.
pub async fn cluster_in(
    directory: tempfile::TempDir,
    change: impl FnOnce(&mut Config),
) -> (Cluster, Arc<RootCertStore>) {
    let pki = orlop_auth::pki::ClusterPki::open(&directory.path().join("pki")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca().certificate().as_bytes()).unwrap()).unwrap();
    let roots = Arc::new(roots);
    let (chain, key) = pair(&pki.kubelet_client().unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain, key)
        .unwrap();
    let change = |config: &mut Config| {
        config.kubelet_client = Some(Arc::new(tls));
        change(config);
    };
    (Cluster::start_with(directory, change).await, roots)
}

fn node(port: u16) -> Value {
    json!({
        "kind": "Node", "apiVersion": "v1", "metadata": {"name": "node1"},
        "status": {
            "addresses": [{"type": "Hostname", "address": "node1"}, {"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        },
    })
}

/// A kubelet at 127.0.0.1 that takes the API server's certificate only, answers in two pieces, and tells what it was asked.
async fn kubelet(cluster: &Cluster, roots: Arc<RootCertStore>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let usage = Usage::Server { names: vec![], addresses: vec!["127.0.0.1".parse().unwrap()] };
    let issued = cluster.pki.ca().issue(&Subject::new("system:node:node1", &["system:nodes"]), &usage).unwrap();
    let (chain, key) = pair(&issued);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build().unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let client = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
            let user = orlop_auth::user_of_certificate(&client).unwrap().name;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let line = String::from_utf8(head).unwrap().lines().next().unwrap().to_owned();
            if line.contains("/exec/") {
                stream
                    .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n")
                    .await
                    .unwrap();
                seen.lock().unwrap().push(format!("{user}: {line}"));
                let mut word = [0; 4];
                stream.read_exact(&mut word).await.unwrap();
                word.reverse();
                stream.write_all(&word).await.unwrap();
                let _ = stream.shutdown().await;
                continue;
            }
            let missing = line.contains("/gone?");
            seen.lock().unwrap().push(format!("{user}: {line}"));
            let answer = if missing {
                "HTTP/1.1 404 Not Found\r\ncontent-length: 10\r\n\r\nno such\r\n\n"
            } else {
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst\n\r\n"
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            if !missing {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                stream.write_all(b"7\r\nsecond\n\r\n0\r\n\r\n").await.unwrap();
            }
            let _ = stream.shutdown().await;
        }
    });
    (port, asked)
}

/// A pod named `one` that runs on a kubelet.
pub async fn pod_on_a_kubelet(cluster: &Cluster, roots: Arc<RootCertStore>) -> Arc<Mutex<Vec<String>>> {
    let (port, asked) = kubelet(cluster, roots).await;
    assert_eq!(cluster.json("POST", "/api/v1/nodes", node(port)).await.0, 201);
    default_account(cluster).await;
    cluster.json("POST", "/api/v1/namespaces/default/pods", pod("one")).await;
    bind(cluster, "one", "node1").await;
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reads_a_log_through_the_kubelet() {
    let (cluster, roots) = cluster().await;
    let (port, asked) = kubelet(&cluster, roots).await;
    assert_eq!(cluster.json("POST", "/api/v1/nodes", node(port)).await.0, 201);
    default_account(&cluster).await;
    cluster.json("POST", "/api/v1/namespaces/default/pods", pod("one")).await;
    let unbound = cluster.kubectl("logs one").await.unwrap_err();
    assert!(unbound.contains("pod one does not have a host assigned"), "{unbound}");
    bind(&cluster, "one", "node1").await;
    assert_eq!(cluster.kubectl("logs one --tail=2 --timestamps -f").await.unwrap(), "first\nsecond\n");
    let line = asked.lock().unwrap().pop().unwrap();
    assert!(line.starts_with("kube-apiserver-kubelet-client: GET /containerLogs/default/one/web?"), "{line}");
    for option in ["follow=true", "tailLines=2", "timestamps=true"] {
        assert!(line.contains(option), "{line}");
    }
    let wrong = cluster.kubectl("logs one -c nope").await.unwrap_err();
    assert!(wrong.contains("container nope is not valid for pod one"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_in_a_container_is_spoken_to_both_ways() {
    let (cluster, roots) = cluster().await;
    let asked = pod_on_a_kubelet(&cluster, roots).await;
    let path = "/api/v1/namespaces/default/pods/one/exec?command=sh&command=-c&stdin=true&stdout=true&container=web";
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\ncontent-length: 0\r\n\r\n");
    let (mut stream, head) = cluster.upgraded(&head).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: test"), "{head}");
    stream.write_all(b"ping").await.unwrap();
    let mut back = Vec::new();
    let _ = stream.read_to_end(&mut back).await;
    assert_eq!(back, b"gnip");
    let line = asked.lock().unwrap().pop().unwrap();
    assert_eq!(
        line,
        "kube-apiserver-kubelet-client: POST /exec/default/one/web?input=1&output=1&command=sh&command=-c HTTP/1.1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_is_reached_through_its_node() {
    let (cluster, roots) = cluster().await;
    let (port, asked) = kubelet(&cluster, roots).await;
    cluster.json("POST", "/api/v1/nodes", node(port)).await;
    assert_eq!(cluster.kubectl("get --raw /api/v1/nodes/node1/proxy/pods?a=b%20c").await.unwrap(), "first\nsecond\n");
    let line = asked.lock().unwrap().pop().unwrap();
    assert_eq!(line, "kube-apiserver-kubelet-client: GET /pods?a=b+c HTTP/1.1");
    assert!(cluster.kubectl("get --raw /api/v1/nodes/node1/proxy/gone?x").await.is_err());
    assert_eq!(cluster.json("GET", "/api/v1/nodes/node2/proxy/pods", Value::Null).await.0, 404);
    assert_eq!(cluster.json("GET", "/api/v1/nodes/node1/proxy", Value::Null).await.0, 301);
    // Only a reader is sent to the slash; whatever else is passed on as it is.
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        cluster.json(method, "/api/v1/nodes/node1/proxy?a=b", Value::Null).await;
        let line = asked.lock().unwrap().pop().unwrap();
        assert_eq!(line, format!("kube-apiserver-kubelet-client: {method} /?a=b HTTP/1.1"));
    }
    default_account(&cluster).await;
    cluster.json("POST", "/api/v1/namespaces/default/pods", pod("one")).await;
    cluster
        .json("PATCH", "/api/v1/namespaces/default/pods/one/status", json!({"status": {"podIP": "127.0.0.1"}}))
        .await;
    let (code, refused) = cluster.json("GET", "/api/v1/namespaces/default/pods/one/proxy/", Value::Null).await;
    assert_eq!((code, &refused["message"]), (400, &json!("address not allowed")));
    let (code, refused) =
        cluster.json("GET", "/api/v1/namespaces/default/services/kubernetes:nope/proxy/x", Value::Null).await;
    assert_eq!(code, 503, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_that_is_away_is_an_error_with_its_address() {
    let (cluster, _) = cluster().await;
    cluster.json("POST", "/api/v1/nodes", node(1)).await;
    default_account(&cluster).await;
    cluster.json("POST", "/api/v1/namespaces/default/pods", pod("one")).await;
    bind(&cluster, "one", "node1").await;
    let (code, status) = cluster.json("GET", "/api/v1/namespaces/default/pods/one/log", Value::Null).await;
    assert_eq!(code, 500);
    assert!(
        status["message"].as_str().unwrap().contains("https://127.0.0.1:1/containerLogs/default/one/web"),
        "{status}"
    );
}
