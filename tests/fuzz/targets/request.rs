//! Whole requests to an API server: the first line is method, path and content type, the rest the body. No answer is a 5xx, every
//! refusal is a Status, and none takes long.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use libfuzzer_sys::fuzz_target;
use orlop_api::{ApiServer, Config, Identity};
use orlop_auth::pki::ClusterPki;
use orlop_auth::{TokenAuthority, UserInfo};
use orlop_store::{Embedded, Options};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Longer than any answer may take, on any machine.
const PATIENCE: Duration = Duration::from_secs(10);

static SERVER: LazyLock<(Runtime, Arc<ApiServer>)> = LazyLock::new(|| {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    // Ended with the process; its files are removed by whoever runs this.
    let directory = std::env::temp_dir().join(format!("orlop-fuzz-{}", std::process::id()));
    let pki = ClusterPki::open(&directory.join("pki")).expect("certificates");
    let key = |name: Result<String, _>| name.expect("a key");
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let tokens = TokenAuthority::new(issuer, &key(pki.service_account_key()), &key(pki.service_account_public_key()));
    let server = runtime.block_on(async {
        ApiServer::start(Config {
            store: Arc::new(Embedded::open(directory.join("store"), Options::default()).expect("a store")),
            service_cidr: "10.96.0.0/12".parse().expect("a network"),
            node_port_range: 30_000..=32_767,
            advertise_address: "172.30.0.11".parse().expect("an address"),
            port: 6443,
            ca_pem: pki.ca().certificate().to_owned(),
            tokens: Arc::new(tokens.expect("keys")),
            kubelet_client: None,
            front_proxy: None,
            bootstrap_tokens: false,
            requests_in_flight: orlop_api::REQUESTS_IN_FLIGHT,
            audit: Default::default(),
        })
        .await
        .expect("an API server")
    });
    (runtime, server)
});

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(line) = std::str::from_utf8(&data[..end]) else { return };
    let mut words = line.splitn(3, ' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
    // A watch has no end.
    if path.contains("watch") || path.contains("follow") {
        return;
    }
    let request =
        Request::builder().method(method).uri(path).header("content-type", words.next().unwrap_or("application/json"));
    let body = Full::new(Bytes::copy_from_slice(&data[end + 1..]));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    let Ok(mut request) = request.body(body) else { return };
    let administrator = UserInfo::new("fuzz", ["system:masters"]);
    request.extensions_mut().insert(Identity(Arc::new(administrator)));
    let (runtime, server) = &*SERVER;
    let begun = Instant::now();
    let (code, is_json, body) = runtime.block_on(async {
        let answer = server.clone().handle(request).await;
        let code = answer.status().as_u16();
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_json = kind.starts_with("application/json");
        (code, is_json, answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default())
    });
    assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
    if code >= 400 && is_json {
        let status: Value = serde_json::from_slice(&body).expect("a refusal is a Status");
        assert_eq!((&status["kind"], &status["code"]), (&"Status".into(), &code.into()), "{status}");
        // As kube-apiserver does, some refusals have no better code than 500, nor a reason.
        assert!(code != 500 || status["reason"] != "InternalError", "{status}");
    } else {
        // What is no API is told in plain text.
        assert!(code < 500, "{code}: {}", String::from_utf8_lossy(&body));
    }
});
