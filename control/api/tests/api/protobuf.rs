use http::{Request, header};
use http_body_util::BodyExt;
use orlop_schema::Schema;
use orlop_schema::protobuf::{MEDIA_TYPE, WATCH_MEDIA_TYPE, open};
use serde_json::{Value, json};

use crate::cluster::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn ask(cluster: &Cluster, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let body = body.map(|b| Schema::builtin().encode_protobuf(&b).unwrap()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, MEDIA_TYPE)
        .header(header::ACCEPT, format!("{MEDIA_TYPE},application/json"));
    let response = cluster.send(request.body(body).unwrap()).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, Schema::builtin().decode_protobuf(&bytes).unwrap())
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"k": value}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_speaks_protobuf_does_everything_in_it() {
    let cluster = Cluster::start().await;
    let (code, created) = ask(&cluster, "POST", MAPS, Some(config_map("one", "a"))).await;
    assert_eq!((code, &created["data"]["k"]), (201, &json!("a")));
    let mut changed = created.clone();
    changed["data"]["k"] = "b".into();
    let one = format!("{MAPS}/one");
    let (code, changed) = ask(&cluster, "PUT", &one, Some(changed)).await;
    assert_eq!((code, &changed["data"]["k"]), (200, &json!("b")));
    assert_eq!(ask(&cluster, "GET", &one, None).await, (200, changed.clone()));
    let (code, list) = ask(&cluster, "GET", MAPS, None).await;
    assert_eq!((code, &list["kind"]), (200, &json!("ConfigMapList")));
    assert_eq!(list["items"][0]["metadata"]["uid"], changed["metadata"]["uid"]);
    assert!(list["metadata"]["resourceVersion"].is_string());
    let stale = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "another"}});
    let (code, status) = ask(&cluster, "DELETE", &one, Some(stale)).await;
    assert_eq!((code, &status["kind"], &status["reason"]), (409, &json!("Status"), &json!("Conflict")));
    let (code, status) = ask(&cluster, "DELETE", &one, None).await;
    assert_eq!((code, &status["status"]), (200, &json!("Success")));
    let (code, status) = ask(&cluster, "GET", &one, None).await;
    assert_eq!((code, &status["message"]), (404, &json!("configmaps \"one\" not found")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protobuf_watch_list_ends_its_beginning_with_a_bookmark() {
    let cluster = Cluster::start().await;
    ask(&cluster, "POST", MAPS, Some(config_map("before", "a"))).await;
    let query =
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
    let request = Request::get(format!("{MAPS}?{query}")).header(header::ACCEPT, WATCH_MEDIA_TYPE);
    let response = cluster.send(request.body(Vec::new()).unwrap()).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], WATCH_MEDIA_TYPE);
    ask(&cluster, "POST", MAPS, Some(config_map("after", "b"))).await;
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let mut rest = &bytes[..];
    let mut seen = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (frame, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
        rest = tail;
        // A WatchEvent: the type in field 1, and in field 2 a RawExtension with the envelope in its field 1.
        let (kind, object) = frame[2..].split_at(usize::from(frame[1]));
        let start = object.windows(4).position(|w| w == b"k8s\0").unwrap();
        let object = Schema::builtin().decode_protobuf(&object[start..]).unwrap();
        seen.push((String::from_utf8(kind.to_vec()).unwrap(), object));
    }
    let names: Vec<_> = seen.iter().map(|(kind, o)| (kind.as_str(), o["metadata"]["name"].as_str())).collect();
    assert_eq!(names, [("ADDED", Some("before")), ("BOOKMARK", None), ("ADDED", Some("after")), ("BOOKMARK", None)]);
    assert_eq!(seen[1].1["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(seen[2].1["data"]["k"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_alone_comes_as_protobuf_too() {
    let cluster = Cluster::start().await;
    ask(&cluster, "POST", MAPS, Some(config_map("one", "a"))).await;
    let accept = format!("{MEDIA_TYPE};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let request = Request::get(MAPS).header(header::ACCEPT, accept);
    let response = cluster.send(request.body(Vec::new()).unwrap()).await;
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let opened = open(&bytes).unwrap();
    assert_eq!((opened.api_version, opened.kind), ("meta.k8s.io/v1", "PartialObjectMetadataList"));
    assert!(opened.raw.windows(3).any(|w| w == b"one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_protobuf_is_refused_with_a_reason() {
    let cluster = Cluster::start().await;
    let request = Request::post(MAPS).header(header::CONTENT_TYPE, MEDIA_TYPE);
    let response = cluster.send(request.body(b"{}".to_vec()).unwrap()).await;
    assert_eq!(response.status(), 400);
    let request = Request::post(MAPS).header(header::CONTENT_TYPE, "application/cbor");
    assert_eq!(cluster.send(request.body(b"{}".to_vec()).unwrap()).await.status(), 415);
}
