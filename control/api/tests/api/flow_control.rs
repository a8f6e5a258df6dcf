//! API Priority and Fairness over the wire: a webhook that takes its time holds the seats of a small priority level.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use orlop_api::Identity;
use orlop_auth::UserInfo;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::{Body, Cluster, kubectl};
use crate::hook_server::{HookServer, Reply};

const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn queuing(queues: u32, hand: u32, length: u32) -> Value {
    json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}})
}

/// A cluster whose group `tenants` may do everything, in a priority level of one seat; their ConfigMaps wait for a webhook that long.
async fn with_one_seat(response: Value, pause: Duration) -> (Arc<Cluster>, HookServer) {
    with_hook(response, move || Reply::Late(pause)).await
}

/// The same with a webhook that answers so.
async fn with_hook(response: Value, reply: impl Fn() -> Reply + Send + Sync + 'static) -> (Arc<Cluster>, HookServer) {
    let cluster = Cluster::start().await;
    let hooks = HookServer::start(move |_, _| reply()).await;
    let made = async |path: &str, object: Value| {
        let (code, answer) = cluster.json("POST", path, object).await;
        assert_eq!(code, 201, "{answer}");
    };
    let group = json!({"kind": "Group", "name": "tenants", "apiGroup": "rbac.authorization.k8s.io"});
    let role = json!({"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"});
    let binding = json!({"metadata": {"name": "tenants"}, "subjects": [group], "roleRef": role});
    made("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
    // Its share of the 600 seats is less than one, of which it has a whole; it borrows none.
    let level = |name: &str, shares: u32, response: &Value| {
        json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "borrowingLimitPercent": 0, "lendablePercent": 0, "limitResponse": response,
        }}})
    };
    let levels = format!("{FLOW}/prioritylevelconfigurations");
    made(&levels, level("large", 10_000, &json!({"type": "Reject"}))).await;
    made(&levels, level("one", 1, &response)).await;
    let rule = json!({
        "subjects": [{"kind": "Group", "group": {"name": "tenants"}}],
        "resourceRules": [{
            "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
        }],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    });
    let schema = json!({"metadata": {"name": "tenants"}, "spec": {
        "matchingPrecedence": 50, "priorityLevelConfiguration": {"name": "one"},
        "distinguisherMethod": {"type": "ByUser"}, "rules": [rule],
    }});
    made(&format!("{FLOW}/flowschemas"), schema).await;
    let hook = json!({
        "name": "slow.example.com", "clientConfig": hooks.at("/"), "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 30,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
    });
    let hook = json!({"metadata": {"name": "slow"}, "webhooks": [hook]});
    made("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", hook).await;
    takes_effect(&cluster).await;
    (Arc::new(cluster), hooks)
}

/// What was written before is what requests are judged by.
async fn takes_effect(cluster: &Cluster) {
    assert_eq!(cluster.json("GET", &format!("{FLOW}/flowschemas"), Value::Null).await.0, 200);
}

async fn send(cluster: &Cluster, user: &str, method: &str, path: &str, body: Value) -> Response<Body> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let user = UserInfo::new(user, ["tenants", "system:authenticated"]);
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request = request.extension(Identity(Arc::new(user)));
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    cluster.server.clone().handle(request.body(body).unwrap()).await
}

/// Somebody creates a ConfigMap in his own time.
fn create(cluster: &Arc<Cluster>, user: &'static str, name: &str) -> JoinHandle<Response<Body>> {
    let (cluster, map) = (cluster.clone(), json!({"metadata": {"name": name}}));
    tokio::spawn(async move { send(&cluster, user, "POST", MAPS, map).await })
}

async fn page(cluster: &Cluster) -> String {
    let response = cluster.send(Request::get("/metrics").body(Vec::new()).unwrap()).await;
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// The sum of a metric's samples with these labels.
async fn sum(cluster: &Cluster, name: &str, labels: &[&str]) -> f64 {
    let page = page(cluster).await;
    let name = format!("apiserver_flowcontrol_{name}{{");
    let lines = page.lines().filter(|line| line.starts_with(&name) && labels.iter().all(|label| line.contains(label)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

const ONE: &str = "priority_level=\"one\"";

async fn becomes(cluster: &Cluster, name: &str, wanted: f64) {
    let mut seen = f64::NAN;
    for _ in 0..200 {
        seen = sum(cluster, name, &[ONE]).await;
        if (seen - wanted).abs() < 0.01 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{name} is {seen} and not {wanted}");
}

async fn nothing_is_left(cluster: &Cluster) {
    for gauge in
        ["current_executing_requests", "current_executing_seats", "current_inqueue_requests", "current_inqueue_seats"]
    {
        becomes(cluster, gauge, 0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_all_seats_taken_waits_and_who_finds_the_queue_full_is_refused() {
    let (cluster, _hooks) = with_one_seat(queuing(1, 1, 1), Duration::from_secs(1)).await;
    assert!((sum(&cluster, "nominal_limit_seats", &[ONE]).await - 1.0).abs() < 0.01);
    assert!((sum(&cluster, "current_limit_seats", &[ONE]).await - 1.0).abs() < 0.01);
    let first = create(&cluster, "ann", "first");
    becomes(&cluster, "current_executing_requests", 1.0).await;
    let second = create(&cluster, "bob", "second");
    becomes(&cluster, "current_inqueue_requests", 1.0).await;

    let refused = send(&cluster, "eve", "GET", "/api/v1/nodes", Value::Null).await;
    assert_eq!(refused.status(), 429);
    let (_, schema) = cluster.json("GET", &format!("{FLOW}/flowschemas/tenants"), Value::Null).await;
    let (_, level) = cluster.json("GET", &format!("{FLOW}/prioritylevelconfigurations/one"), Value::Null).await;
    let headers = refused.headers().clone();
    assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], schema["metadata"]["uid"].as_str().unwrap());
    assert_eq!(headers["x-kubernetes-pf-prioritylevel-uid"], level["metadata"]["uid"].as_str().unwrap());
    assert_eq!(
        (&headers["retry-after"], &headers["content-type"]),
        (&"1".parse().unwrap(), &"text/plain; charset=utf-8".parse().unwrap())
    );
    let text = refused.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "Too many requests, please try again later.\n");
    assert_eq!(
        sum(&cluster, "rejected_requests_total", &[ONE, "flow_schema=\"tenants\"", "reason=\"queue-full\""]).await,
        1.0
    );

    let dump = Request::get("/debug/api_priority_and_fairness/dump_priority_levels").body(Vec::new()).unwrap();
    let dump = cluster.send(dump).await.into_body().collect().await.unwrap().to_bytes();
    let dump = String::from_utf8_lossy(&dump);
    assert!(dump.starts_with("PriorityLevelName, ActiveQueues, IsIdle, "), "{dump}");
    let one = dump.lines().find(|line| line.starts_with("one,")).unwrap();
    let one: Vec<&str> = one.split(',').map(str::trim).collect();
    assert_eq!(one, ["one", "1", "false", "false", "1", "1", "1", "1", "0", "0"]);

    // Who is exempt does not even notice.
    let admin = cluster.json("POST", "/api/v1/namespaces/kube-public/configmaps", json!({"metadata": {"name": "a"}}));
    assert_eq!(tokio::time::timeout(Duration::from_millis(500), admin).await.unwrap().0, 201);

    for answer in [first.await.unwrap(), second.await.unwrap()] {
        assert_eq!(answer.status(), 201);
    }
    nothing_is_left(&cluster).await;
    assert_eq!(sum(&cluster, "dispatched_requests_total", &[ONE]).await, 2.0);
    assert_eq!(sum(&cluster, "request_execution_seconds_count", &[ONE, "type=\"regular\""]).await, 2.0);
    assert_eq!(sum(&cluster, "request_wait_duration_seconds_count", &[ONE, "execute=\"true\""]).await, 2.0);
    assert!(sum(&cluster, "request_wait_duration_seconds_sum", &[ONE, "execute=\"true\""]).await > 0.3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_without_queues_refuses_at_once() {
    let (cluster, _hooks) = with_one_seat(json!({"type": "Reject"}), Duration::from_secs(1)).await;
    let first = create(&cluster, "ann", "first");
    becomes(&cluster, "current_executing_requests", 1.0).await;
    assert_eq!(send(&cluster, "bob", "GET", MAPS, Value::Null).await.status(), 429);
    assert_eq!(sum(&cluster, "rejected_requests_total", &[ONE, "reason=\"concurrency-limit\""]).await, 1.0);
    assert_eq!(first.await.unwrap().status(), 201);
    assert_eq!(send(&cluster, "bob", "GET", MAPS, Value::Null).await.status(), 200);
    nothing_is_left(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_noisy_user_does_not_keep_another_from_being_served() {
    let (cluster, _hooks) = with_one_seat(queuing(64, 4, 50), Duration::from_millis(50)).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut all = Vec::new();
    for number in 0..30 {
        let (created, order) = (create(&cluster, "noisy", &format!("noisy-{number}")), order.clone());
        all.push(tokio::spawn(async move {
            let status = created.await.unwrap().status();
            order.lock().unwrap().push("noisy");
            status
        }));
    }
    becomes(&cluster, "current_executing_requests", 1.0).await;
    let before = order.lock().unwrap().len();
    for number in 0..3 {
        assert_eq!(create(&cluster, "quiet", &format!("quiet-{number}")).await.unwrap().status(), 201);
        order.lock().unwrap().push("quiet");
    }
    let between = order.lock().unwrap().len() - before;
    assert!(between <= 20, "three of the quiet user ended among the first {between}: {order:?}");
    assert!(join_all(all).await.into_iter().all(|status| status.unwrap() == 201));
    nothing_is_left(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_the_queue() {
    let (cluster, _hooks) = with_one_seat(queuing(1, 1, 5), Duration::from_secs(3)).await;
    let first = create(&cluster, "ann", "first");
    becomes(&cluster, "current_executing_requests", 1.0).await;
    let second = create(&cluster, "bob", "second");
    becomes(&cluster, "current_inqueue_requests", 1.0).await;
    second.abort();
    becomes(&cluster, "current_inqueue_requests", 0.0).await;
    // And one behind a connection.
    let config = cluster.kubeconfig("eve", &["tenants"]);
    let mut child = Command::new(kubectl())
        .args(["get", "--raw", MAPS, "--kubeconfig"])
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    becomes(&cluster, "current_inqueue_requests", 1.0).await;
    child.kill().unwrap();
    child.wait().unwrap();
    becomes(&cluster, "current_inqueue_requests", 0.0).await;
    assert_eq!(sum(&cluster, "rejected_requests_total", &[ONE, "reason=\"time-out\""]).await, 2.0);
    assert_eq!(sum(&cluster, "current_executing_requests", &[ONE]).await, 1.0);
    assert_eq!(first.await.unwrap().status(), 201);
    nothing_is_left(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_takes_a_seat_only_until_it_has_begun() {
    let (cluster, _hooks) = with_one_seat(queuing(1, 1, 5), Duration::ZERO).await;
    assert_eq!(create(&cluster, "ann", "first").await.unwrap().status(), 201);
    let mut watch = send(&cluster, "ann", "GET", &format!("{MAPS}?watch=1"), Value::Null).await.into_body();
    // Nothing was read: what there is, is still to be told.
    assert_eq!(sum(&cluster, "current_executing_requests", &[ONE]).await, 1.0);
    let (other, path) = (cluster.clone(), format!("{MAPS}/first"));
    let get = tokio::spawn(async move { send(&other, "bob", "GET", &path, Value::Null).await.status() });
    becomes(&cluster, "current_inqueue_requests", 1.0).await;
    let events = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(events.starts_with(b"{\"type\":\"ADDED\""));
    let next = tokio::spawn(async move { watch.frame().await.unwrap().unwrap().into_data().unwrap() });
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), get).await.unwrap().unwrap(), 200);
    nothing_is_left(&cluster).await;
    // It goes on.
    assert_eq!(create(&cluster, "bob", "second").await.unwrap().status(), 201);
    assert!(String::from_utf8_lossy(&next.await.unwrap()).contains("second"));
    assert_eq!(sum(&cluster, "request_execution_seconds_count", &[ONE, "type=\"watch\""]).await, 1.0);
    // One that asks for no more than what comes takes a seat no longer than its head.
    let version = {
        let list = send(&cluster, "ann", "GET", MAPS, Value::Null).await.into_body().collect().await.unwrap();
        serde_json::from_slice::<Value>(&list.to_bytes()).unwrap()["metadata"]["resourceVersion"].clone()
    };
    let path = format!("{MAPS}?watch=1&resourceVersion={}", version.as_str().unwrap());
    let _watch = send(&cluster, "ann", "GET", &path, Value::Null).await;
    nothing_is_left(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_level_that_is_removed_are_served() {
    let (open, held) = watch::channel(false);
    let (cluster, _hooks) = with_hook(queuing(1, 1, 5), move || Reply::Held(held.clone())).await;
    let first = create(&cluster, "ann", "first");
    becomes(&cluster, "current_executing_requests", 1.0).await;
    let second = create(&cluster, "bob", "second");
    becomes(&cluster, "current_inqueue_requests", 1.0).await;
    for path in ["flowschemas/tenants", "prioritylevelconfigurations/one"] {
        assert_eq!(cluster.json("DELETE", &format!("{FLOW}/{path}"), Value::Null).await.0, 200);
    }
    takes_effect(&cluster).await;
    // Who comes now belongs to another level.
    assert_eq!(send(&cluster, "eve", "GET", "/api/v1/nodes", Value::Null).await.status(), 200);
    assert_eq!(sum(&cluster, "current_executing_requests", &[ONE]).await, 1.0);
    open.send(true).unwrap();
    for answer in [first.await.unwrap(), second.await.unwrap()] {
        assert_eq!(answer.status(), 201);
    }
    nothing_is_left(&cluster).await;
    for _ in 0..100 {
        if !page(&cluster).await.contains("current_limit_seats{priority_level=\"one\"}") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the level is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_seats_count_at_once() {
    let (cluster, _hooks) = with_one_seat(queuing(8, 2, 10), Duration::from_secs(2)).await;
    let all: Vec<_> = (0..5).map(|number| create(&cluster, "ann", &format!("map-{number}"))).collect();
    becomes(&cluster, "current_inqueue_requests", 4.0).await;
    let level = format!("{FLOW}/prioritylevelconfigurations/one");
    let more = json!({"spec": {"limited": {"nominalConcurrencyShares": 100}}});
    assert_eq!(cluster.json("PATCH", &level, more).await.0, 200);
    becomes(&cluster, "current_executing_requests", 5.0).await;
    assert!(join_all(all).await.into_iter().all(|answer| answer.unwrap().status() == 201));
    nothing_is_left(&cluster).await;
}
