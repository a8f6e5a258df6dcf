//! Requests that are made to harm.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Request;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"k": "v"}})
}

async fn send(cluster: &Cluster, method: &str, path: &str, content_type: &str, body: String) -> u16 {
    let request = Request::builder().method(method).uri(path).header("content-type", content_type);
    cluster.send(request.body(body.into_bytes()).unwrap()).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_leads_into_no_other_namespace() {
    let cluster = Cluster::start().await;
    let (code, kept) = cluster.json("POST", MAPS, map("kept")).await;
    assert_eq!(code, 201);
    let revision: i64 = kept["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    // So that the page is of the past, and read from the store.
    cluster.json("POST", MAPS, map("later")).await;
    for start in ["", "a", "default/", "../"] {
        let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string();
        let path = format!("/api/v1/namespaces/kube-public/configmaps?continue={}", URL_SAFE_NO_PAD.encode(token));
        for method in ["GET", "DELETE"] {
            let (code, answer) = cluster.json(method, &path, Value::Null).await;
            assert_eq!(code, 400, "{method} {start}: {answer}");
        }
    }
    assert_eq!(cluster.json("GET", &format!("{MAPS}/kept"), Value::Null).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_patch_cannot_blow_an_object_up() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.json("POST", MAPS, map("one")).await.0, 201);
    let path = format!("{MAPS}/one");
    let copy = |from: &str, to: &str| json!({"op": "copy", "from": from, "path": to});
    let doubled: Vec<Value> = (0..40).map(|i| copy("", &format!("/x{i}"))).collect();
    let nested: Vec<Value> = (0..9_000).map(|_| copy("/data", "/data/k")).collect();
    let mut list = vec![json!({"op": "add", "path": "/x", "value": ["y".repeat(1 << 20)]})];
    list.extend((0..40).map(|_| copy("/x/0", "/x/-")));
    for (what, patch, refused) in [("doubled", doubled, 413), ("nested", nested, 400), ("list", list, 413)] {
        let code = send(&cluster, "PATCH", &path, "application/json-patch+json", json!(patch).to_string()).await;
        assert_eq!(code, refused, "{what}");
    }
    let fine = json!([copy("/data/k", "/data/l"), {"op": "move", "from": "/data/k", "path": "/data/m"}]).to_string();
    assert_eq!(send(&cluster, "PATCH", &path, "application/json-patch+json", fine).await, 200);
    let (_, patched) = cluster.json("GET", &path, Value::Null).await;
    assert_eq!(patched["data"], json!({"l": "v", "m": "v"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_back_is_not_stored() {
    let cluster = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let revision = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(
            "{{apiVersion: apps/v1, kind: ControllerRevision, metadata: {{name: r{levels}}}, revision: 1, data: {{a: {open}{close}}}}}"
        )
    };
    assert_eq!(send(&cluster, "POST", path, "application/yaml", revision(100)).await, 201);
    assert_eq!(send(&cluster, "POST", path, "application/yaml", revision(130)).await, 400);
    assert_eq!(cluster.json("GET", path, Value::Null).await.1["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_very_many_mistakes_is_refused_at_once() {
    let cluster = Cluster::start().await;
    let requirements = vec![json!({}); 100_000];
    let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "fieldSelector": {"requirements": requirements}}}});
    let labels: serde_json::Map<String, Value> = (0..20_000).map(|n| (format!("bad key {n}"), "v".into())).collect();
    let mut labelled = map("one");
    labelled["metadata"]["labels"] = labels.into();
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answers = async {
        for (path, body) in [(reviews, review), (MAPS, labelled)] {
            let (code, answer) = cluster.json("POST", path, body).await;
            assert_eq!((code, &answer["reason"]), (422, &json!("Invalid")));
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(40), answers).await.expect("in bounded time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_what_is_still_to_come_is_not_told_what_came_before() {
    let cluster = Cluster::start().await;
    let revision = |object: &Value| -> i64 { object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap() };
    let first = revision(&cluster.json("POST", MAPS, map("first")).await.1);
    let path = format!("{MAPS}?watch=1&timeoutSeconds=20&resourceVersion={}", first + 2);
    let mut watch = cluster.send(Request::get(path).body(Vec::new()).unwrap()).await.into_body();
    let mut last = 0;
    for number in 0.. {
        let made = cluster.json("POST", MAPS, map(&format!("later-{number}"))).await.1;
        last = revision(&made);
        if last > first + 2 {
            break;
        }
    }
    let frame = http_body_util::BodyExt::frame(&mut watch).await.unwrap().unwrap().into_data().unwrap();
    let event: Value = serde_json::from_slice(frame.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!((event["type"].as_str(), revision(&event["object"])), (Some("ADDED"), last), "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_may_ask_for_any_time() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}?watch=1&timeoutSeconds={}", i64::MAX);
    assert_eq!(send(&cluster, "GET", &path, "application/json", String::new()).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_in_kubernetes_words_and_the_server_goes_on() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.json("POST", MAPS, map("one")).await.0, 201);
    let one = &format!("{MAPS}/one");
    let laughs: String = (1..40).map(|n| format!("a{n}: &a{n} [*a{p}, *a{p}, *a{p}, *a{p}]\n", p = n - 1)).collect();
    let protobuf = || {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}, "data": {"k": "v"}});
        orlop_schema::Schema::builtin().encode_protobuf(&object).unwrap()
    };
    let cut = |mut bytes: Vec<u8>| {
        bytes.truncate(bytes.len() - 9);
        bytes
    };
    let (json, yaml, proto) = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf");
    let merge = "application/merge-patch+json";
    let at = |query: &str| -> &str { format!("{MAPS}?{query}").leak() };
    let cases: Vec<(&str, &str, &str, &str, Vec<u8>, u16, &str)> = vec![
        ("truncated JSON", "POST", MAPS, json, br#"{"kind":"ConfigMap","apiVersion""#.to_vec(), 400, "BadRequest"),
        ("nothing", "POST", MAPS, json, Vec::new(), 400, "BadRequest"),
        ("another kind", "POST", MAPS, json, br#"{"kind":"Pod","apiVersion":"v1"}"#.to_vec(), 400, "BadRequest"),
        ("a list", "POST", MAPS, json, b"[]".to_vec(), 400, "BadRequest"),
        ("no UTF-8", "POST", MAPS, json, b"{\"kind\":\"\xff\xfe\"}".to_vec(), 400, "BadRequest"),
        ("no UTF-8 in YAML", "POST", MAPS, yaml, b"kind: \xff\xfe".to_vec(), 400, "BadRequest"),
        ("deep JSON", "POST", MAPS, json, "[".repeat(1_000_000).into_bytes(), 400, "BadRequest"),
        ("deep YAML", "POST", MAPS, yaml, "[".repeat(1_000_000).into_bytes(), 400, "BadRequest"),
        ("a billion laughs", "POST", MAPS, yaml, format!("a0: &a0 lol\n{laughs}").into_bytes(), 400, "BadRequest"),
        ("truncated protobuf", "POST", MAPS, proto, cut(protobuf()), 400, "BadRequest"),
        ("protobuf without its magic", "POST", MAPS, proto, protobuf()[4..].to_vec(), 400, "BadRequest"),
        ("100 MB", "POST", MAPS, json, vec![b' '; 100 << 20], 413, "RequestEntityTooLarge"),
        ("XML", "POST", MAPS, "application/xml", b"<a/>".to_vec(), 415, "UnsupportedMediaType"),
        ("an unknown patch", "PATCH", one, "application/x-patch", b"{}".to_vec(), 415, "UnsupportedMediaType"),
        ("a patch of no type", "PATCH", one, json, b"{}".to_vec(), 415, "UnsupportedMediaType"),
        ("a truncated patch", "PATCH", one, merge, b"{".to_vec(), 400, "BadRequest"),
        ("a patch that is no list", "PATCH", one, "application/json-patch+json", b"{}".to_vec(), 400, "BadRequest"),
        (
            "a test that fails",
            "PATCH",
            one,
            "application/json-patch+json",
            br#"[{"op":"test","path":"/data/k","value":"w"}]"#.to_vec(),
            422,
            "Invalid",
        ),
        ("an apply by nobody", "PATCH", one, "application/apply-patch+yaml", b"{}".to_vec(), 422, "Invalid"),
        ("a bad selector", "GET", at("labelSelector=a%20in%20("), json, Vec::new(), 400, "BadRequest"),
        ("a bad limit", "GET", at("limit=x"), json, Vec::new(), 400, "BadRequest"),
        ("a bad version", "GET", at("resourceVersion=x"), json, Vec::new(), 400, "BadRequest"),
        ("a bad token", "GET", at("continue=x"), json, Vec::new(), 400, "BadRequest"),
        ("a bad dry run", "POST", at("dryRun=Some"), json, map("x").to_string().into_bytes(), 422, "Invalid"),
        ("another name", "PUT", one, json, map("two").to_string().into_bytes(), 400, "BadRequest"),
    ];
    for (what, method, path, content_type, body, code, reason) in cases {
        let begun = std::time::Instant::now();
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        let answer = cluster.send(request.body(body).unwrap()).await;
        let told = answer.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        let status: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        assert_eq!((told, &status["reason"]), (code, &reason.into()), "{what}: {}", String::from_utf8_lossy(&bytes));
        assert_eq!((&status["kind"], &status["code"]), (&"Status".into(), &code.into()), "{what}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{what} took {:?}", begun.elapsed());
    }
    assert_eq!(cluster.json("GET", one, Value::Null).await.1["data"], json!({"k": "v"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_certificate_and_a_forged_token_are_not_authorized() {
    let cluster = Cluster::start().await;
    let address = format!("https://{}/api/v1/namespaces", cluster.address);
    let foreign = tempfile::tempdir().unwrap();
    let stranger = orlop_auth::pki::ClusterPki::open(foreign.path()).unwrap().kubelet_client().unwrap();
    let (certificate, key) = (foreign.path().join("certificate"), foreign.path().join("key"));
    std::fs::write(&certificate, stranger.certificate).unwrap();
    std::fs::write(&key, stranger.key).unwrap();
    let ask = |more: Vec<String>| {
        let (address, mut curl) = (address.clone(), tokio::process::Command::new("curl"));
        async move {
            let output = curl.args(["-sk", "-m", "20"]).args(more).arg(address).output().await.unwrap();
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
            (status["code"].as_u64(), status["reason"].as_str().map(str::to_owned))
        }
    };
    let refused = (Some(401), Some("Unauthorized".to_owned()));
    let shown = vec!["--cert".into(), certificate.display().to_string(), "--key".into(), key.display().to_string()];
    assert_eq!(ask(shown).await, refused, "of another authority");
    for token in ["x", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."] {
        assert_eq!(ask(vec!["-H".into(), format!("Authorization: Bearer {token}")]).await, refused, "{token}");
    }
    let anonymous = (Some(403), Some("Forbidden".to_owned()));
    assert_eq!(ask(Vec::new()).await, anonymous);
    for nothing in ["Bearer ", "Basic YTpi"] {
        assert_eq!(ask(vec!["-H".into(), format!("Authorization: {nothing}")]).await, anonymous, "{nothing}");
    }
}
