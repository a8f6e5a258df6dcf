//! The audit log as who reads it sees it: what is written of which request, at which level and stage, and what never is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use orlop_api::{AuditLimits, AuditMode, AuditOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::Cluster;
use crate::hook_server::{HookServer, Reply, patch};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Everything that admin and whoever it plays asks; not what the server asks itself.
const ALL: &str = "- {level: RequestResponse}";

struct Audited {
    cluster: Cluster,
    log: PathBuf,
}

fn options(folder: &Path, rules: &str) -> AuditOptions {
    let policy = folder.join("policy.yaml");
    std::fs::write(&policy, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}\n")).unwrap();
    AuditOptions { policy: Some(policy), path: Some(folder.join("log/audit.log")), ..AuditOptions::default() }
}

impl Audited {
    async fn start(rules: &str) -> Self {
        Self::start_with(&format!("rules:\n{rules}"), |_| {}).await
    }

    async fn start_with(policy: &str, change: impl FnOnce(&mut AuditOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(directory.path(), policy);
        change(&mut options);
        let log = options.path.clone().unwrap();
        Self { cluster: Cluster::start_with(directory, |config| config.audit = options).await, log }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Of requests to paths that begin so.
    fn events(&self, path: &str) -> Vec<Value> {
        let text = self.text();
        // The last line may be half written.
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let events = lines.map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
        events.into_iter().filter(|event| event["requestURI"].as_str().unwrap().starts_with(path)).collect()
    }

    /// Those of a stage, as soon as there is one.
    async fn reached(&self, path: &str, stage: &str) -> Value {
        for _ in 0..500 {
            if let Some(event) = self.events(path).into_iter().find(|event| event["stage"] == stage) {
                return event;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {stage} of {path} in {}", self.text());
    }

    /// The last event of the last request to such a path.
    fn last(&self, path: &str) -> Value {
        self.events(path).pop().unwrap_or_else(|| panic!("{path} in {}", self.text()))
    }

    async fn metric(&self, sample: &str) -> f64 {
        let page = self.cluster.kubectl("get --raw /metrics").await.unwrap();
        let line = page.lines().find(|line| line.starts_with(sample)).unwrap_or_else(|| panic!("{sample} in {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

fn map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"a": "b"}})
}

fn stages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["stage"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_level_says_so_much_and_no_more() {
    let audited = Audited::start(
        "- {level: None, resources: [{resources: [configmaps], resourceNames: [none]}]}
- {level: Metadata, namespaces: [kube-public], omitStages: [RequestReceived]}
- {level: Request, verbs: [create], resources: [{resources: [configmaps]}]}
- {level: RequestResponse, verbs: [get, update], resources: [{resources: [configmaps]}]}
- {level: Metadata, verbs: [list], resources: [{resources: [configmaps]}]}",
    )
    .await;
    let cluster = &audited.cluster;
    assert_eq!(cluster.json("POST", MAPS, map("one")).await.0, 201);
    let [received, complete] = &audited.events(MAPS)[..] else { panic!("{}", audited.text()) };
    assert_eq!((&received["stage"], &complete["stage"]), (&json!("RequestReceived"), &json!("ResponseComplete")));
    assert_eq!(received["auditID"], complete["auditID"]);
    assert_eq!(received["requestReceivedTimestamp"], received["stageTimestamp"]);
    assert_eq!(received["requestReceivedTimestamp"], complete["requestReceivedTimestamp"]);
    assert!(complete["stageTimestamp"].as_str() > received["stageTimestamp"].as_str());
    let micro = complete["stageTimestamp"].as_str().unwrap();
    assert_eq!((micro.len(), &micro[19..20], &micro[26..]), (27, ".", "Z"), "{micro}");
    for missing in ["responseStatus", "requestObject", "responseObject", "annotations"] {
        assert!(received[missing].is_null(), "{missing}");
    }
    let reference = json!({"resource": "configmaps", "namespace": "default", "apiVersion": "v1"});
    assert_eq!(received["objectRef"], reference);
    assert_eq!(complete["objectRef"]["name"], "one", "as the body says");
    assert_eq!(complete["user"], json!({"username": "admin", "groups": ["system:masters", "system:authenticated"]}));
    assert_eq!(complete["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(complete["requestObject"]["data"], json!({"a": "b"}));
    assert!(complete["responseObject"].is_null());
    let allowed = json!({"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""});
    assert_eq!(complete["annotations"], allowed);

    let one = format!("{MAPS}/one");
    let (_, got) = cluster.json("GET", &one, Value::Null).await;
    let event = audited.last(&one);
    assert_eq!((&event["verb"], &event["responseObject"]), (&json!("get"), &got));
    assert!(event["requestObject"].is_null());

    let mut changed = got.clone();
    changed["data"] = json!({"c": "<d>"});
    let (_, updated) = cluster.json("PUT", &one, changed.clone()).await;
    let event = audited.last(&one);
    assert_eq!((&event["requestObject"]["data"], &event["responseObject"]), (&changed["data"], &updated));
    let metadata = &got["metadata"];
    assert_eq!(event["objectRef"]["uid"], metadata["uid"]);
    assert_eq!(event["objectRef"]["resourceVersion"], metadata["resourceVersion"]);

    cluster.json("GET", &format!("{MAPS}/none"), Value::Null).await;
    assert!(audited.events(&format!("{MAPS}/none")).is_empty());
    cluster.json("GET", &format!("{MAPS}?limit=1&x=%22"), Value::Null).await;
    let event = audited.last(&format!("{MAPS}?limit=1&x=%22"));
    assert_eq!((&event["level"], &event["verb"]), (&json!("Metadata"), &json!("list")));
    assert!(event["responseObject"].is_null());
    let public = "/api/v1/namespaces/kube-public/configmaps";
    cluster.json("POST", public, map("two")).await;
    let events = audited.events(public);
    assert_eq!(stages(&events), ["ResponseComplete"]);
    assert_eq!((&events[0]["objectRef"]["name"], &events[0]["requestObject"]), (&json!("two"), &Value::Null));
    // What no rule is about is not written.
    cluster.json("GET", "/version", Value::Null).await;
    assert!(audited.events("/version").is_empty());

    assert!(audited.metric("apiserver_audit_event_total").await >= 8.0);
    assert!(audited.metric("apiserver_audit_level_total{level=\"None\"}").await >= 1.0);
    assert!((audited.metric("apiserver_audit_level_total{level=\"Request\"}").await - 1.0).abs() < 0.1);
    assert!((audited.metric("apiserver_audit_requests_rejected_total").await).abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_and_patches_are_written_as_they_were_sent() {
    let audited = Audited::start(ALL).await;
    let cluster = &audited.cluster;
    cluster.json("POST", MAPS, map("one")).await;
    let one = format!("{MAPS}/one");
    cluster.json("PATCH", &one, json!({"data": {"x": "y"}})).await;
    let event = audited.last(&one);
    assert_eq!((&event["verb"], &event["requestObject"]), (&json!("patch"), &json!({"data": {"x": "y"}})));
    assert_eq!(event["responseObject"]["data"], json!({"a": "b", "x": "y"}));
    let send = async |body: &str, content_type: &str, path: &str| {
        let request = Request::builder().method("PATCH").uri(path).header("content-type", content_type);
        cluster.send(request.body(body.as_bytes().to_vec()).unwrap()).await.status().as_u16()
    };
    let applied = format!("{one}?fieldManager=me&force=true");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\ndata:\n  a: c\n";
    assert_eq!(send(yaml, "application/apply-patch+yaml", &applied).await, 200);
    assert_eq!(audited.last(&applied)["requestObject"]["data"], json!({"a": "c"}));
    // Over several lines, and one line in the log.
    assert_eq!(send("{\n  \"data\": {\r\n\"a\": \"d\\n\"}\n}", "application/merge-patch+json", &one).await, 200);
    assert_eq!(audited.last(&one)["requestObject"], json!({"data": {"a": "d\n"}}));
    // What cannot be read is refused, and the event is there all the same.
    assert_eq!(send("{\"data\": ", "application/merge-patch+json", &one).await, 400);
    let event = audited.last(&one);
    assert_eq!((&event["requestObject"], &event["responseStatus"]["reason"]), (&Value::Null, &json!("BadRequest")));

    let (code, status) = cluster.json("DELETE", &one, json!({"propagationPolicy": "Background"})).await;
    let event = audited.last(&one);
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    assert_eq!((code, &event["requestObject"], &event["responseObject"]), (200, &options, &status));
    assert_eq!(
        event["responseStatus"],
        json!({"metadata": {}, "status": "Success", "details": status["details"], "code": 200})
    );
    // The Status of a deletion is told at any level, and a refusal's.
    let (_, missing) = cluster.json("DELETE", &one, Value::Null).await;
    let event = audited.last(&one);
    assert_eq!(event["responseObject"], missing);
    assert_eq!(event["responseStatus"]["message"], "configmaps \"one\" not found");
    let collection = cluster.json("DELETE", &format!("{MAPS}?labelSelector=a"), Value::Null).await;
    let event = audited.last(MAPS);
    assert_eq!((&event["verb"], &event["responseObject"]), (&json!("deletecollection"), &collection.1));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_metadata_a_status_is_told_and_no_object() {
    let audited = Audited::start("- {level: Metadata}").await;
    let cluster = &audited.cluster;
    cluster.json("POST", MAPS, map("one")).await;
    let one = format!("{MAPS}/one");
    let (_, status) = cluster.json("DELETE", &one, Value::Null).await;
    let event = audited.last(&one);
    assert_eq!(
        event["responseStatus"],
        json!({"metadata": {}, "status": "Success", "details": status["details"], "code": 200})
    );
    let (_, refused) = cluster.json("POST", MAPS, json!({"kind": "ConfigMap", "apiVersion": "v1", "data": 7})).await;
    let event = audited.last(MAPS);
    assert_eq!(
        (&event["responseStatus"]["code"], &event["responseStatus"]["message"]),
        (&json!(400), &refused["message"])
    );
    assert!(event["requestObject"].is_null() && event["responseObject"].is_null());
    // In the other encodings, too.
    for (accept, path) in [("application/yaml", "two"), ("application/vnd.kubernetes.protobuf", "three")] {
        cluster.json("POST", MAPS, map(path)).await;
        let path = format!("{MAPS}/{path}");
        let request = Request::builder().method("DELETE").uri(&path).header("accept", accept);
        let answer = cluster.send(request.body(Vec::new()).unwrap()).await;
        assert_eq!(answer.headers()["content-type"], accept);
        assert_eq!(audited.last(&path)["responseStatus"]["status"], "Success", "{accept}");
    }
    // Bodies of Secrets and tokens are bodies.
    let secret =
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "stringData": {"k": "hush-hush"}});
    cluster.json("POST", "/api/v1/namespaces/default/secrets", secret).await;
    assert!(!audited.text().contains("hush-hush"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_written_whole_and_without_managed_fields_if_they_are_to_be() {
    let rules = "omitManagedFields: true
omitStages: [RequestReceived]
rules:
- {level: RequestResponse, verbs: [list, update], resources: [{resources: [configmaps]}]}
- {level: RequestResponse, verbs: [get], omitManagedFields: false}";
    let audited = Audited::start_with(rules, |_| {}).await;
    let cluster = &audited.cluster;
    for name in ["one", "two"] {
        let (_, made) = cluster.json("POST", MAPS, map(name)).await;
        assert!(made["metadata"]["managedFields"].is_array(), "{made}");
    }
    let (_, listed) = cluster.json("GET", MAPS, Value::Null).await;
    let event = audited.last(MAPS);
    assert_eq!(event["responseObject"]["kind"], "ConfigMapList");
    let (items, written) = (listed["items"].as_array().unwrap(), event["responseObject"]["items"].as_array().unwrap());
    assert!(written.len() >= 2 && items.len() == written.len());
    for (item, written) in items.iter().zip(written) {
        assert!(written["metadata"]["managedFields"].is_null(), "{written}");
        assert_eq!((&item["metadata"]["uid"], &item["data"]), (&written["metadata"]["uid"], &written["data"]));
    }
    // Whatever the client reads it as.
    let protobuf = "application/vnd.kubernetes.protobuf";
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for accept in [protobuf, "application/yaml", table] {
        let request = Request::builder().uri(MAPS).header("accept", accept).body(Vec::new()).unwrap();
        let answer = cluster.send(request).await;
        assert_eq!(answer.status(), 200);
        let sent = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(!sent.is_empty(), "the client gets its answer still");
        let object = &audited.last(MAPS)["responseObject"];
        assert!(
            !object.to_string().contains("managedFields") && object.to_string().contains("\"two\""),
            "{accept}: {object}"
        );
    }
    let one = format!("{MAPS}/one");
    let (_, got) = cluster.json("GET", &one, Value::Null).await;
    assert_eq!(audited.last(&one)["responseObject"], got, "the rule knows better");
    cluster.json("PUT", &one, got).await;
    let event = audited.last(&one);
    assert!(event["requestObject"]["metadata"]["managedFields"].is_null(), "{event}");
    assert_eq!(event["requestObject"]["metadata"]["name"], "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_written_when_it_begins_and_when_it_is_over() {
    let audited = Audited::start(ALL).await;
    let path = format!("{MAPS}?watch=true&resourceVersion=0");
    let request = Request::builder().uri(&path).body(Vec::new()).unwrap();
    let mut watch = audited.cluster.send(request).await.into_body();
    audited.cluster.json("POST", MAPS, map("seen")).await;
    watch.frame().await.unwrap().unwrap();
    let events = audited.events(&path);
    assert_eq!(stages(&events), ["RequestReceived", "ResponseStarted"], "{events:?}");
    assert_eq!(events[1]["responseStatus"], json!({"metadata": {}, "code": 200}));
    assert!(events[1]["responseObject"].is_null());
    drop(watch);
    let over = audited.reached(&path, "ResponseComplete").await;
    assert_eq!(over["responseStatus"], json!({"metadata": {}, "code": 200}));
    assert!(over["stageTimestamp"].as_str() > events[1]["stageTimestamp"].as_str());

    // One that ends by itself, and one that never begins.
    let short = format!("{MAPS}?watch=true&timeoutSeconds=1");
    let request = Request::builder().uri(&short).body(Vec::new()).unwrap();
    audited.cluster.send(request).await.into_body().collect().await.unwrap();
    audited.reached(&short, "ResponseComplete").await;
    let refused = format!("{MAPS}?watch=true&resourceVersion=x");
    let request = Request::builder().uri(&refused).body(Vec::new()).unwrap();
    let code = audited.cluster.send(request).await.status().as_u16();
    audited.reached(&refused, "ResponseComplete").await;
    assert_eq!(stages(&audited.events(&refused)), ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    assert_eq!(audited.last(&refused)["responseStatus"]["code"], code);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_as_whom_and_from_where() {
    let audited = Audited::start(ALL).await;
    let cluster = &audited.cluster;
    let pods = "/api/v1/namespaces/default/pods";
    let request = Request::builder()
        .uri(pods)
        .header("impersonate-user", "bob")
        .header("impersonate-group", "readers")
        .header("impersonate-extra-acme.com%2fproject", "x")
        .header("user-agent", "test/1")
        .header("x-forwarded-for", "192.0.2.7, 198.51.100.1")
        .header("audit-id", "of-my-own");
    let answer = cluster.send(request.body(Vec::new()).unwrap()).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["audit-id"].as_bytes()), (403, &b"of-my-own"[..]));
    let event = audited.last(pods);
    assert_eq!((&event["auditID"], &event["userAgent"]), (&json!("of-my-own"), &json!("test/1")));
    assert_eq!(event["user"]["username"], "admin");
    let bob = json!({
        "username": "bob", "groups": ["readers", "system:authenticated"], "extra": {"acme.com/project": ["x"]},
    });
    assert_eq!(event["impersonatedUser"], bob);
    assert_eq!(event["sourceIPs"], json!(["192.0.2.7", "198.51.100.1"]));
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(event["annotations"]["authorization.k8s.io/reason"], "");
    let status = &event["responseStatus"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(403), &json!("Forbidden")));
    assert!(status["message"].as_str().unwrap().starts_with("pods is forbidden: User \"bob\" cannot list"), "{status}");
    assert_eq!(event["responseObject"]["message"], status["message"]);

    // Over TLS the other end is known, and a certificate's user; and why it may.
    cluster.kubectl("create clusterrole reader --verb=get,list --resource=configmaps").await.unwrap();
    cluster.kubectl("create clusterrolebinding eve --clusterrole=reader --user=eve").await.unwrap();
    cluster.kubeconfig("eve", &[]);
    cluster.kubectl_as("eve", "get configmaps --field-selector=metadata.name=kube-root-ca.crt", "").await.unwrap();
    let event = audited.last(&format!("{MAPS}?fieldSelector"));
    assert_eq!((&event["user"]["username"], &event["sourceIPs"]), (&json!("eve"), &json!(["127.0.0.1"])));
    assert!(event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0].is_string(), "{event}");
    assert!(event["userAgent"].as_str().unwrap().starts_with("kubectl/"), "{event}");
    assert_eq!(event["objectRef"]["name"], "kube-root-ca.crt", "a list of one name is about that name");
    assert_eq!(
        event["annotations"]["authorization.k8s.io/reason"],
        "RBAC: allowed by ClusterRoleBinding \"eve\" of ClusterRole \"reader\" to User \"eve\""
    );
    // Constrained impersonation says by which verb.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "play"}, "rules": [
        {"verbs": ["impersonate:user-info"], "apiGroups": ["authentication.k8s.io"], "resources": ["users"]},
        {"verbs": ["impersonate-on:user-info:list"], "apiGroups": [""], "resources": ["pods"]},
    ]});
    cluster.json("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
    cluster.kubectl("create clusterrolebinding play --clusterrole=play --user=eve").await.unwrap();
    cluster.kubectl_as("eve", "get pods --as=bob", "").await.unwrap_err();
    let event = audited.last(&format!("{pods}?"));
    assert_eq!(event["impersonatedUser"]["username"], "bob");
    assert_eq!(event["authenticationMetadata"], json!({"impersonationConstraint": "impersonate:user-info"}));
    // Who may not impersonate is refused before anybody is asked.
    cluster.kubectl_as("eve", "get services --as=bob", "").await.unwrap_err();
    let event = audited.last("/api/v1/namespaces/default/services?");
    assert_eq!((&event["impersonatedUser"], &event["annotations"]), (&Value::Null, &Value::Null));
    assert_eq!(event["responseStatus"]["code"], 403);

    // A component of this process is a client like any other.
    let controller = cluster.client("system:serviceaccount:kube-system:x", &["system:serviceaccounts"]);
    let request = Request::builder().uri("/apis/apps/v1/deployments").body(Vec::new()).unwrap();
    let _ = controller.request_text(request).await;
    let event = audited.last("/apis/apps/v1/deployments");
    assert_eq!(event["user"]["username"], "system:serviceaccount:kube-system:x");
    assert_eq!((&event["userAgent"], &event["sourceIPs"]), (&json!("kube-controller-manager"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_is_written_as_refused_and_never_itself() {
    let audited = Audited::start(ALL).await;
    let request = Request::builder().uri(MAPS).header("authorization", "Bearer top.secret.token").body(Vec::new());
    assert_eq!(audited.cluster.anonymous(request.unwrap()).await.0, 401);
    let [event] = &audited.events(MAPS)[..] else { panic!("{}", audited.text()) };
    assert_eq!((&event["stage"], &event["user"]), (&json!("ResponseStarted"), &json!({})));
    let status = json!({
        "metadata": {}, "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
    });
    assert_eq!(event["responseStatus"], status);
    assert_eq!(event["objectRef"]["resource"], "configmaps");
    assert!(event["annotations"].is_null());
    // Who cannot read why is told nothing, but the log is.
    let request = Request::builder().uri(format!("{MAPS}/x")).header("authorization", "Bearer top.secret.token");
    let request = request.header("accept", "image/png").body(Vec::new()).unwrap();
    assert_eq!(audited.cluster.anonymous(request).await.0, 401);
    let status = json!({"metadata": {}, "message": "Authentication failed, attempted: bearer", "code": 401});
    assert_eq!(audited.last(&format!("{MAPS}/x"))["responseStatus"], status);
    // Nobody is somebody.
    let request = Request::builder().uri("/apis").body(Vec::new()).unwrap();
    assert_eq!(audited.cluster.anonymous(request).await.0, 403);
    assert_eq!(audited.last("/apis")["user"]["username"], "system:anonymous");
    assert!(!audited.text().contains("top.secret"), "{}", audited.text());

    let audited = Audited::start("- {level: Metadata, users: [admin]}").await;
    let request = Request::builder().uri(MAPS).header("authorization", "Bearer x").body(Vec::new()).unwrap();
    audited.cluster.anonymous(request).await;
    assert!(audited.events(MAPS).is_empty(), "a rule for users is not for nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_an_object_and_other_paths_are_none() {
    let audited = Audited::start(ALL).await;
    for (path, kind) in [("/api/v1", json!("APIResourceList")), ("/version", Value::Null), ("/healthz", Value::Null)] {
        assert_eq!(audited.cluster.json("GET", path, Value::Null).await.0, 200);
        let event = audited.last(path);
        assert_eq!(
            (&event["verb"], &event["objectRef"], &event["responseObject"]["kind"]),
            (&json!("get"), &Value::Null, &kind)
        );
        assert_eq!(event["responseStatus"], json!({"metadata": {}, "code": 200}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_request_on_its_way_is_written_with_it() {
    let audited = Audited::start("- {level: Request, omitStages: [RequestReceived]}").await;
    let cluster = &audited.cluster;
    let server = HookServer::start(|path, _| match path {
        "/mutate" => patch(&json!([{"op": "add", "path": "/data/mutated", "value": "yes"}])),
        "/annotate" => {
            Reply::Response(json!({"allowed": true, "auditAnnotations": {"why": "because", "not/so": "good"}}))
        }
        _ => Reply::Raw(500, Vec::new()),
    })
    .await;
    let hook = |name: &str, path: &str| {
        json!({
            "name": name, "clientConfig": server.at(path), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Ignore",
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        })
    };
    let group = "/apis/admissionregistration.k8s.io/v1";
    for (plural, kind, hooks) in [
        (
            "mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
            json!([hook("m.example.com", "/mutate"), hook("broken.example.com", "/broken")]),
        ),
        (
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            json!([hook("v.example.com", "/annotate"), hook("away.example.com", "/broken")]),
        ),
    ] {
        let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "c"}, "webhooks": hooks});
        assert_eq!(cluster.json("POST", &format!("{group}/{plural}"), object).await.0, 201);
    }
    crate::policies::policy(
        cluster,
        "p.example.com",
        json!({
            "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]},
            "validations": [{"expression": "object.metadata.name != 'odd'", "message": "odd"}],
            "auditAnnotations": [{"key": "name", "valueExpression": "'is ' + object.metadata.name"}],
        }),
        json!({"validationActions": ["Audit"]}),
    )
    .await;
    assert_eq!(cluster.json("POST", MAPS, map("odd")).await.0, 201);
    let event = audited.last(MAPS);
    let said = &event["annotations"];
    let parsed = |key: &str| {
        serde_json::from_str::<Value>(said[key].as_str().unwrap_or_else(|| panic!("{key} in {said}"))).unwrap()
    };
    assert_eq!(
        parsed("mutation.webhook.admission.k8s.io/round_0_index_0"),
        json!({"configuration": "c", "webhook": "m.example.com", "mutated": true})
    );
    assert_eq!(
        parsed("patch.webhook.admission.k8s.io/round_0_index_0"),
        json!({"configuration": "c", "webhook": "m.example.com", "patchType": "JSONPatch",
            "patch": [{"op": "add", "path": "/data/mutated", "value": "yes"}]})
    );
    assert_eq!(parsed("mutation.webhook.admission.k8s.io/round_0_index_1")["mutated"], false);
    assert_eq!(said["failed-open.mutation.webhook.admission.k8s.io/round_0_index_1"], "broken.example.com");
    assert_eq!(said["failed-open.validating.webhook.admission.k8s.io/round_0_index_1"], "away.example.com");
    assert_eq!(said["v.example.com/why"], "because");
    assert_eq!(said["p.example.com/name"], "is odd");
    assert_eq!(
        parsed("validation.policy.admission.k8s.io/validation_failure"),
        json!([{"message": "odd", "policy": "p.example.com", "binding": "p.example.com", "expressionIndex": 0,
            "validationActions": ["Audit"]}])
    );
    assert!(!said.to_string().contains("not/so"), "{said}");
    assert_eq!(event["requestObject"]["data"], json!({"a": "b"}), "as it was sent");

    let endpoints = "/api/v1/namespaces/default/endpoints";
    cluster.json("GET", endpoints, Value::Null).await;
    assert_eq!(audited.last(endpoints)["annotations"]["k8s.io/deprecated"], "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_is_gone_is_written_to_its_end() {
    let audited = Audited::start(ALL).await;
    let cluster = &audited.cluster;
    let server = HookServer::start(|_, _| Reply::Late(Duration::from_secs(20))).await;
    let hook = json!({
        "name": "slow.example.com", "clientConfig": server.at("/"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "timeoutSeconds": 20,
    });
    let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "slow"}, "webhooks": [hook]});
    let group = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    assert_eq!(cluster.json("POST", group, object).await.0, 201);
    let creation = cluster.json("POST", MAPS, map("late"));
    assert!(tokio::time::timeout(Duration::from_millis(500), creation).await.is_err());
    let event = audited.reached(MAPS, "ResponseComplete").await;
    let closed = json!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200});
    assert_eq!((&event["responseStatus"], &event["objectRef"]["name"]), (&closed, &json!("late")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_set_aside_when_it_is_large() {
    let limits = AuditLimits { size: 1, backups: 2, age: 1 };
    let audited = Audited::start_with(&format!("rules:\n{ALL}"), |options| options.limits = limits).await;
    let mut large = map("large");
    large["data"] = json!({"a": "x".repeat(300 << 10)});
    let path = format!("{MAPS}/large");
    assert_eq!(audited.cluster.json("POST", MAPS, large).await.0, 201);
    for _ in 0..12 {
        assert_eq!(audited.cluster.json("GET", &path, Value::Null).await.0, 200);
    }
    let mut names: Vec<String> = std::fs::read_dir(audited.log.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(names[2], "audit.log");
    for name in &names {
        let text = std::fs::read_to_string(audited.log.with_file_name(name)).unwrap();
        assert!(text.len() <= 1 << 20, "{name}");
        for line in text.lines() {
            assert_eq!(serde_json::from_str::<Value>(line).unwrap()["kind"], "Event", "{name}");
        }
    }
    let stamp = names[0].strip_prefix("audit-").unwrap().strip_suffix(".log").unwrap();
    assert_eq!((stamp.len(), &stamp[10..11], &stamp[19..20]), (23, "T", "."), "{stamp}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_refuses_nobody_unless_it_is_to() {
    let full = |mode: AuditMode| {
        move |options: &mut AuditOptions| {
            (options.path, options.mode) = (Some("/dev/full".into()), mode);
            options.limits.size = 0;
        }
    };
    let rules = "rules: [{level: Metadata, resources: [{resources: [configmaps]}]}]";
    let audited = Audited::start_with(rules, full(AuditMode::Blocking)).await;
    assert_eq!(audited.cluster.json("POST", MAPS, map("one")).await.0, 201);
    assert!(audited.metric("apiserver_audit_error_total{plugin=\"log\"}").await >= 2.0);
    let audited = Audited::start_with(rules, full(AuditMode::BlockingStrict)).await;
    let (code, refused) = audited.cluster.json("POST", MAPS, map("one")).await;
    assert_eq!((code, &refused["message"]), (500, &json!("Internal error occurred: failed to store audit event")));
    assert_eq!(audited.cluster.json("GET", "/api/v1/namespaces/default", Value::Null).await.0, 200);
    assert!((audited.metric("apiserver_audit_requests_rejected_total").await - 1.0).abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_policy_stops_the_start_and_half_of_the_flags_writes_nothing() {
    let refused = |bytes: Option<&'static str>| async move {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(directory.path(), "rules: [{level: Metadata}]");
        let file = options.policy.clone().unwrap();
        match bytes {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        // Without a log it is read all the same.
        options.path = None;
        let started = Cluster::try_start_with(directory, |config| config.audit = options).await;
        let why = started.err().expect("no such server starts").to_string();
        assert!(why.contains(&file.display().to_string()), "{why}");
        why
    };
    let why = refused(Some("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Some}]")).await;
    assert!(
        why.starts_with("loading audit policy file: rules[0].level: Unsupported value: \"Some\": supported"),
        "{why}"
    );
    assert!(why.contains(": from file "), "{why}");
    assert!(refused(None).await.starts_with("loading audit policy file: failed to read file path "));

    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("alone.log");
    let options = AuditOptions { path: Some(log.clone()), ..AuditOptions::default() };
    let cluster = Cluster::start_with(directory, |config| config.audit = options).await;
    assert_eq!(cluster.json("POST", MAPS, map("one")).await.0, 201);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "", "there is a file, and nothing in it");
    let directory = tempfile::tempdir().unwrap();
    let options = AuditOptions { path: None, ..options_of(directory.path()) };
    let cluster = Cluster::start_with(directory, |config| config.audit = options).await;
    assert_eq!(cluster.json("POST", MAPS, map("one")).await.0, 201);
}

fn options_of(folder: &Path) -> AuditOptions {
    options(folder, "rules: [{level: Metadata}]")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_in_a_container_is_written_when_it_begins_and_when_it_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), &format!("rules:\n{ALL}"));
    let log = options.path.clone().unwrap();
    let (cluster, roots) = crate::logs::cluster_in(directory, |config| config.audit = options).await;
    let audited = Audited { cluster, log };
    let cluster = &audited.cluster;
    crate::logs::pod_on_a_kubelet(cluster, roots).await;
    let path = "/api/v1/namespaces/default/pods/one/exec?command=sh&stdin=true&container=web";
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\ncontent-length: 0\r\n\r\n");
    let (mut stream, _) = cluster.upgraded(&head).await;
    let started = audited.reached(path, "ResponseStarted").await;
    assert_eq!((&started["responseStatus"]["code"], &started["verb"]), (&json!(101), &json!("create")));
    assert_eq!(started["objectRef"]["subresource"], "exec");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stages(&audited.events(path)), ["RequestReceived", "ResponseStarted"], "it is not over");
    stream.write_all(b"ping").await.unwrap();
    let mut back = Vec::new();
    let _ = stream.read_to_end(&mut back).await;
    drop(stream);
    audited.reached(path, "ResponseComplete").await;

    let logs = "/api/v1/namespaces/default/pods/one/log?container=web";
    let request = Request::builder().uri(logs).body(Vec::new()).unwrap();
    cluster.send(request).await.into_body().collect().await.unwrap();
    let over = audited.reached(logs, "ResponseComplete").await;
    assert_eq!(over["responseStatus"], json!({"metadata": {}, "code": 200}), "what a container says is its own");
}
