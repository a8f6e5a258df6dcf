//! Admission webhooks against real HTTPS servers: what they see, what they change, what they refuse, and what becomes of a
//! request whose webhook is slow, dead or lying.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::custom_resources::{CRONTABS, crontab, define, definition, schema};
use crate::hook_server::{HookServer, Reply, allow, patch};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// A webhook for configmaps, changed.
fn hook(name: &str, client: Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut hook = json!({
        "name": name, "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1", "v1beta1"],
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
    });
    change(&mut hook);
    hook
}

async fn install(cluster: &Cluster, kind: &str, name: &str, hooks: Vec<Value>) {
    let (plural, kind) = match kind {
        "mutating" => ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
        _ => ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
    };
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": hooks,
    });
    let (code, answer) = cluster.json("POST", &format!("{GROUP}/{plural}"), object).await;
    assert_eq!(code, 201, "{answer}");
}

async fn configmap(cluster: &Cluster, name: &str, data: Value) -> (u16, Value) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    cluster.json("POST", "/api/v1/namespaces/default/configmaps", object).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutating_webhook_changes_and_a_validating_one_sees_the_change() {
    let cluster = Cluster::start().await;
    let server = HookServer::start(|path, request| match path {
        "/mutate" => patch(&json!([{"op": "add", "path": "/data/mutated", "value": request["operation"]}])),
        _ if request["object"]["data"]["bad"].is_string() => Reply::Response(json!({
            "allowed": false, "status": {"message": "bad data", "reason": "Forbidden", "code": 403},
            "warnings": ["think again"],
        })),
        _ => Reply::Response(json!({"allowed": true, "warnings": ["be careful"]})),
    })
    .await;
    install(&cluster, "mutating", "m", vec![hook("m.example.com", server.at("/mutate"), |_| {})]).await;
    install(&cluster, "validating", "v", vec![hook("v.example.com", server.at("/validate"), |_| {})]).await;

    let (code, made) = configmap(&cluster, "one", json!({"a": "b"})).await;
    assert_eq!((code, &made["data"]), (201, &json!({"a": "b", "mutated": "CREATE"})));
    let asked = &server.requests("/validate")[0];
    assert_eq!(asked["object"]["data"]["mutated"], "CREATE");
    assert_eq!(
        (&asked["name"], &asked["namespace"], &asked["dryRun"]),
        (&json!("one"), &json!("default"), &json!(false))
    );
    assert_eq!(asked["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(asked["requestResource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&asked["userInfo"]["username"], &asked["oldObject"]), (&json!("admin"), &Value::Null));
    assert_eq!(asked["options"]["kind"], "CreateOptions");

    let (code, refused) = configmap(&cluster, "two", json!({"bad": "x"})).await;
    assert_eq!(code, 403, "{refused}");
    assert_eq!(refused["message"], "admission webhook \"v.example.com\" denied the request: bad data");
    assert_eq!(refused["reason"], "Forbidden");

    let path = "/api/v1/namespaces/default/configmaps/one";
    let (code, changed) = cluster.json("PATCH", path, json!({"data": {"a": "c"}})).await;
    assert_eq!((code, &changed["data"]), (200, &json!({"a": "c", "mutated": "UPDATE"})));
    assert_eq!(server.requests("/validate").last().unwrap()["oldObject"]["data"]["a"], "b");
    let (code, _) = cluster.json("DELETE", path, json!({"propagationPolicy": "Background"})).await;
    // A patch of what is deleted is an error of the webhook.
    assert_eq!(code, 500);
    // All went over a few connections.
    assert!(*server.connections.lock().unwrap() <= 3);
    let told = cluster.kubectl_as("admin", "create configmap three --from-literal=a=b", "").await;
    assert_eq!(told.unwrap(), "configmap/three created\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_are_guarded_one_by_one() {
    let cluster = Cluster::start().await;
    let server = HookServer::start(|_, request| match request["oldObject"]["data"]["keep"].as_str() {
        Some(_) => Reply::Response(json!({"allowed": false, "status": {"message": "kept"}})),
        None => allow(),
    })
    .await;
    let rules =
        json!([{"operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["configmaps"]}]);
    let guard = hook("d.example.com", server.at("/"), |hook| hook["rules"] = rules);
    install(&cluster, "validating", "d", vec![guard]).await;
    configmap(&cluster, "kept", json!({"keep": "yes"})).await;
    configmap(&cluster, "free", json!({})).await;
    let path = "/api/v1/namespaces/default/configmaps";
    let (code, refused) = cluster.json("DELETE", &format!("{path}/kept"), Value::Null).await;
    assert_eq!(code, 400);
    assert_eq!(refused["message"], "admission webhook \"d.example.com\" denied the request: kept");
    assert_eq!(cluster.json("DELETE", &format!("{path}/free"), Value::Null).await.0, 200);
    assert_eq!(cluster.json("DELETE", path, Value::Null).await.0, 400);
    let requests = server.requests("/");
    assert_eq!(requests[0]["options"]["kind"], "DeleteOptions");
    assert_eq!((&requests[0]["object"], &requests[0]["operation"]), (&Value::Null, &json!("DELETE")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_is_told_or_passed_over() {
    let cluster = Cluster::start().await;
    let server = HookServer::start(|path, _| match path {
        "/slow" => Reply::Late(Duration::from_secs(5)),
        "/uid" => Reply::Response(json!({"uid": "another", "allowed": true})),
        "/patch" => Reply::Response(json!({"allowed": true, "patchType": "JSONPatch", "patch": "bm90IGpzb24="})),
        "/unfit" => patch(&json!([{"op": "remove", "path": "/nothing"}])),
        "/wrong-type" => patch(&json!([{"op": "replace", "path": "/data", "value": 7}])),
        "/huge" => Reply::Raw(200, vec![b' '; 64 << 20]),
        "/html" => Reply::Raw(200, b"<html>".to_vec()),
        "/error" => Reply::Raw(500, b"out of order".to_vec()),
        _ => Reply::Raw(404, Vec::new()),
    })
    .await;
    let at = |path: &str| format!("https://127.0.0.1:{}{path}?timeout=1s", server.port);
    let mut wrong_ca = server.at("/slow");
    wrong_ca["caBundle"] = HookServer::start(|_, _| allow()).await.ca_bundle.into();
    let nobody = json!({"service": {"namespace": "default", "name": "nobody", "path": "/x", "port": 443}});
    let cases: Vec<(Value, String)> = vec![
        (server.at("/slow"), format!("failed to call webhook: Post \"{}\": context deadline exceeded", at("/slow"))),
        (server.at("/uid"), "received invalid webhook response: expected response.uid=".into()),
        (server.at("/patch"), "received undecodable patch in webhook response: ".into()),
        (server.at("/huge"), "failed to call webhook: the answer is larger than 8388608 bytes".into()),
        (server.at("/html"), "failed to call webhook: couldn't get version/kind; json parse error: ".into()),
        (
            server.at("/error"),
            "failed to call webhook: an error on the server (\"out of order\") has prevented the request from succeeding"
                .into(),
        ),
        (server.at("/none"), "failed to call webhook: the server could not find the requested resource".into()),
        (
            wrong_ca,
            format!(
                "failed to call webhook: Post \"{}\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
                at("/slow")
            ),
        ),
        (
            json!({"url": "https://127.0.0.1:9/"}),
            "failed to call webhook: Post \"https://127.0.0.1:9/?timeout=1s\": dial tcp 127.0.0.1:9: connect: connection refused".into(),
        ),
        (
            nobody,
            "failed to call webhook: Post \"https://nobody.default.svc:443/x?timeout=1s\": service \"nobody\" not found".into(),
        ),
    ];
    for (index, (client, expected)) in cases.into_iter().enumerate() {
        let name = format!("case-{index}");
        let one = hook("f.example.com", client, |hook| hook["timeoutSeconds"] = json!(1));
        install(&cluster, "mutating", &name, vec![one]).await;
        let started = Instant::now();
        let (code, refused) = configmap(&cluster, &name, json!({"a": "b"})).await;
        assert!(started.elapsed() < Duration::from_secs(3), "{expected}");
        let message = refused["message"].as_str().unwrap_or_default();
        let expected = format!("Internal error occurred: failed calling webhook \"f.example.com\": {expected}");
        assert!(message.starts_with(&expected), "{message}\nis not\n{expected}");
        assert_eq!((code, &refused["reason"]), (500, &json!("InternalError")));
        let path = format!("{GROUP}/mutatingwebhookconfigurations/{name}");
        let ignore = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
        let (code, _) = json_patch(&cluster, &path, &ignore).await;
        assert_eq!(code, 200);
        assert_eq!(configmap(&cluster, &name, json!({"a": "b"})).await.0, 201);
        assert_eq!(cluster.json("DELETE", &path, Value::Null).await.0, 200);
    }
    // A patch that does not fit is an error whatever the policy is.
    for path in ["/unfit", "/wrong-type"] {
        let one = hook("p.example.com", server.at(path), |hook| hook["failurePolicy"] = json!("Ignore"));
        install(&cluster, "mutating", "bad", vec![one]).await;
        let (code, refused) = configmap(&cluster, "bad", json!({"a": "b"})).await;
        assert_eq!((code, &refused["reason"]), (500, &json!("InternalError")), "{refused}");
        cluster.json("DELETE", &format!("{GROUP}/mutatingwebhookconfigurations/bad"), Value::Null).await;
    }
    let metrics = cluster.send(http::Request::get("/metrics").body(Vec::new()).unwrap()).await;
    let text = http_body_util::BodyExt::collect(metrics.into_body()).await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&text);
    for part in [
        "apiserver_admission_webhook_rejection_count{",
        "apiserver_admission_webhook_fail_open_count{",
        "calling_webhook_error",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

async fn json_patch(cluster: &Cluster, path: &str, patch: &Value) -> (u16, Value) {
    let request = http::Request::patch(path).header("content-type", "application/json-patch+json");
    let response = cluster.send(request.body(patch.to_string().into_bytes()).unwrap()).await;
    let code = response.status().as_u16();
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_asked_again_if_others_changed_the_object() {
    let cluster = Cluster::start().await;
    let server = HookServer::start(|path, request| {
        let data = &request["object"]["data"];
        match path {
            "/first" if data["second"].is_string() && data["again"].is_null() => {
                patch(&json!([{"op": "add", "path": "/data/again", "value": "yes"}]))
            }
            "/second" => patch(&json!([{"op": "add", "path": "/data/second", "value": "yes"}])),
            _ => allow(),
        }
    })
    .await;
    let first = hook("a.example.com", server.at("/first"), |hook| hook["reinvocationPolicy"] = json!("IfNeeded"));
    let second = hook("b.example.com", server.at("/second"), |_| {});
    install(&cluster, "mutating", "both", vec![first, second]).await;
    let (_, made) = configmap(&cluster, "c", json!({"a": "b"})).await;
    assert_eq!(made["data"], json!({"a": "b", "second": "yes", "again": "yes"}));
    assert_eq!((server.requests("/first").len(), server.requests("/second").len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_sees_only_what_it_asked_for() {
    let cluster = Cluster::start().await;
    let server = HookServer::start(|_, _| Reply::Response(json!({"allowed": false}))).await;
    let denied = |code: u16| code == 400;
    let labels = json!({"matchLabels": {"guarded": "yes"}});
    let by_object = hook("o.example.com", server.at("/object"), |hook| hook["objectSelector"] = labels.clone());
    let by_namespace = hook("n.example.com", server.at("/namespace"), |hook| {
        hook["namespaceSelector"] = json!({"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["guarded"]},
        ]});
    });
    install(&cluster, "validating", "v", vec![by_object, by_namespace]).await;
    cluster.json("POST", "/api/v1/namespaces", json!({"metadata": {"name": "guarded"}})).await;
    assert_eq!(configmap(&cluster, "free", json!({})).await.0, 201);
    let labelled = json!({"metadata": {"name": "l", "labels": {"guarded": "yes"}}});
    assert!(denied(cluster.json("POST", "/api/v1/namespaces/default/configmaps", labelled).await.0));
    let plain = json!({"metadata": {"name": "p"}});
    assert!(denied(cluster.json("POST", "/api/v1/namespaces/guarded/configmaps", plain.clone()).await.0));
    assert_eq!(cluster.json("POST", "/api/v1/namespaces/guarded/secrets", plain).await.0, 201);

    // One Event, two APIs: a rule for one sees the other, converted, unless it is exact.
    let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["events"]}]);
    let events = hook("e.example.com", server.at("/events"), |hook| hook["rules"] = rules);
    install(&cluster, "validating", "e", vec![events]).await;
    let event = json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "note": "hello", "reason": "R",
        "action": "A", "type": "Normal", "reportingController": "c/d", "reportingInstance": "i",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default", "apiVersion": "v1"},
    });
    let (code, refused) = cluster.json("POST", "/apis/events.k8s.io/v1/namespaces/default/events", event).await;
    assert!(denied(code), "{refused}");
    let seen = &server.requests("/events")[0];
    assert_eq!((&seen["kind"]["group"], &seen["object"]["message"]), (&json!(""), &json!("hello")));
    assert_eq!(seen["requestKind"]["group"], "events.k8s.io");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_do_not_guard_webhooks_and_dry_runs_need_consent() {
    let cluster = Cluster::start().await;
    let server = HookServer::start(|_, _| Reply::Response(json!({"allowed": false}))).await;
    let rules = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
    let all = |kind: &str| hook(&format!("{kind}.example.com"), server.at("/"), |hook| hook["rules"] = rules.clone());
    install(&cluster, "validating", "all", vec![all("v")]).await;
    install(&cluster, "mutating", "all", vec![all("m")]).await;
    assert_eq!(configmap(&cluster, "c", json!({})).await.0, 400);
    for plural in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
        assert_eq!(cluster.json("DELETE", &format!("{GROUP}/{plural}/all"), Value::Null).await.0, 200);
    }
    assert_eq!(configmap(&cluster, "c", json!({})).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_a_binding_and_a_stream_are_seen_as_what_is_sent() {
    let cluster = Cluster::start().await;
    let server = HookServer::start(|path, _| match path {
        "/scale" => patch(&json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])),
        _ => Reply::Response(json!({"allowed": false, "status": {"message": "attaching is not allowed"}})),
    })
    .await;
    let rules = |group: &str, resource: &str| json!([{"operations": ["*"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]}]);
    let scale = hook("s.example.com", server.at("/scale"), |h| h["rules"] = rules("apps", "deployments/scale"));
    install(&cluster, "mutating", "s", vec![scale]).await;
    let attach = hook("a.example.com", server.at("/attach"), |h| h["rules"] = rules("", "pods/attach"));
    let bind = hook("b.example.com", server.at("/bind"), |h| h["rules"] = rules("", "pods/binding"));
    install(&cluster, "validating", "a", vec![attach, bind]).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({
        "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template},
    });
    let path = "/apis/apps/v1/namespaces/default/deployments";
    assert_eq!(cluster.json("POST", path, deployment).await.0, 201);
    let (code, scaled) = cluster.json("PATCH", &format!("{path}/d/scale"), json!({"spec": {"replicas": 2}})).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(3)), "{scaled}");
    let seen = &server.requests("/scale")[0];
    assert_eq!(seen["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!((&seen["oldObject"]["spec"]["replicas"], &seen["object"]["spec"]["replicas"]), (&json!(1), &json!(2)));
    assert_eq!((&seen["subResource"], &seen["resource"]["resource"]), (&json!("scale"), &json!("deployments")));

    let account = json!({"metadata": {"name": "default"}});
    cluster.json("POST", "/api/v1/namespaces/default/serviceaccounts", account).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let (code, made) = cluster.json("POST", "/api/v1/namespaces/default/pods", pod).await;
    assert_eq!(code, 201, "{made}");
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let (code, _) = cluster.json("POST", "/api/v1/namespaces/default/pods/p/binding", binding).await;
    assert_eq!(code, 400);
    assert_eq!(server.requests("/bind")[0]["object"]["target"]["name"], "n");
    let refused = cluster.kubectl("attach p -c c").await.unwrap_err();
    assert!(refused.contains("attaching is not allowed") || refused.contains("not running"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_behind_a_service_is_called_by_the_service_s_name() {
    let cluster = Cluster::start().await;
    let server = HookServer::start(|_, _| patch(&json!([{"op": "add", "path": "/data/by", "value": "service"}]))).await;
    let service = json!({"metadata": {"name": "hook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    assert_eq!(cluster.json("POST", "/api/v1/namespaces/default/services", service).await.0, 201);
    let client = json!({
        "service": {"namespace": "default", "name": "hook", "path": "/m", "port": server.port},
        "caBundle": server.ca_bundle,
    });
    install(&cluster, "mutating", "m", vec![hook("m.example.com", client, |_| {})]).await;
    let (code, made) = configmap(&cluster, "c", json!({"a": "b"})).await;
    assert_eq!((code, &made["data"]["by"]), (201, &json!("service")), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_mutated_pruned_scaled_and_counted_like_any_other() {
    let cluster = Cluster::start().await;
    define(&cluster, definition(schema())).await;
    let server = HookServer::start(|path, request| match path {
        "/scale" => patch(&json!([{"op": "replace", "path": "/spec/replicas", "value": 4}])),
        _ if request["operation"] == "CREATE" => patch(&json!([
            {"op": "add", "path": "/spec/replicas", "value": 2}, {"op": "add", "path": "/spec/odd", "value": 1},
        ])),
        _ => allow(),
    })
    .await;
    let rules = |resource: &str| json!([{"operations": ["*"], "apiGroups": ["stable.example.com"], "apiVersions": ["*"], "resources": [resource]}]);
    let whole = hook("c.example.com", server.at("/whole"), |hook| hook["rules"] = rules("crontabs"));
    let scale = hook("s.example.com", server.at("/scale"), |hook| hook["rules"] = rules("crontabs/scale"));
    install(&cluster, "mutating", "custom", vec![whole, scale]).await;
    let (code, made) = cluster.json("POST", CRONTABS, crontab("a", json!({"cronSpec": "* 5"}))).await;
    assert_eq!((code, &made["spec"]), (201, &json!({"cronSpec": "* 5", "image": "busybox", "replicas": 2})), "{made}");
    let path = format!("{CRONTABS}/a/scale");
    let (code, scaled) = cluster.json("PATCH", &path, json!({"spec": {"replicas": 3}})).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(4)), "{scaled}");
    let seen = &server.requests("/scale")[0];
    assert_eq!((&seen["kind"]["kind"], &seen["object"]["spec"]["replicas"]), (&json!("Scale"), &json!(3)));

    let (hard, quotas) =
        (json!({"count/crontabs.stable.example.com": "1"}), "/api/v1/namespaces/default/resourcequotas");
    cluster.json("POST", quotas, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    let status = json!({"status": {"hard": hard, "used": hard}});
    cluster.json("PATCH", &format!("{quotas}/q/status"), status).await;
    let (code, refused) = cluster.json("POST", CRONTABS, crontab("b", json!({"cronSpec": "* 5"}))).await;
    assert_eq!(code, 403, "{refused}");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("exceeded quota: q, requested: count/crontabs.stable.example.com=1")
    );
}
