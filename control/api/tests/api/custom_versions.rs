use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::custom_resources::{CRONTABS, DEFINITIONS, crontab, define, definition, eventually, schema};
use crate::hook_server::{HookServer, Reply};
use crate::policies::{mutating, policy};

const V2: &str = "/apis/stable.example.com/v2/namespaces/default/crontabs";

fn two_versions() -> Value {
    let mut definition = definition(schema());
    let mut second = definition["spec"]["versions"][0].clone();
    second["name"] = "v2".into();
    second["storage"] = false.into();
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["tag"] =
        json!({"type": "string", "default": "latest"});
    definition["spec"]["versions"].as_array_mut().unwrap().push(second);
    definition
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_differ_in_name_only_show_the_same_objects() {
    let cluster = Cluster::start().await;
    define(&cluster, two_versions()).await;
    let (_, group) = cluster.json("GET", "/apis/stable.example.com", Value::Null).await;
    assert_eq!(group["preferredVersion"]["version"], "v2");
    let (code, _) = cluster.json("POST", CRONTABS, crontab("a", json!({"replicas": 1}))).await;
    assert_eq!(code, 201);
    let (_, second) = cluster.json("GET", &format!("{V2}/a"), Value::Null).await;
    assert_eq!((&second["apiVersion"], &second["spec"]["tag"]), (&json!("stable.example.com/v2"), &json!("latest")));
    // The other version becomes the one that is stored.
    let mut swapped = two_versions();
    swapped["spec"]["versions"][0]["storage"] = false.into();
    swapped["spec"]["versions"][1]["storage"] = true.into();
    let at = format!("{DEFINITIONS}/crontabs.stable.example.com");
    let (code, changed) = cluster.json("PATCH", &at, json!({"spec": {"versions": swapped["spec"]["versions"]}})).await;
    assert_eq!((code, &changed["status"]["storedVersions"]), (200, &json!(["v1", "v2"])), "{changed}");
    for path in [CRONTABS, V2] {
        let (code, found) = cluster.json("GET", &format!("{path}/a"), Value::Null).await;
        assert_eq!((code, &found["spec"]["replicas"]), (200, &json!(1)));
    }
    let only = json!({"spec": {"versions": [swapped["spec"]["versions"][1]]}});
    let (code, refused) = cluster.json("PATCH", &at, only).await;
    assert_eq!(code, 422);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions")
    );
}

/// v1 says `replicas`, v2 says `count`.
fn converting(server: &HookServer) -> Value {
    let mut definition = two_versions();
    let second = &mut definition["spec"]["versions"][1];
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"] = json!({"count": {"type": "integer"}});
    second["subresources"] = json!({"status": {}});
    definition["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"], "clientConfig": server.at("/convert"),
    }});
    definition
}

fn convert(request: &Value) -> Reply {
    let wanted = request["desiredAPIVersion"].as_str().unwrap();
    let (from, to) = if wanted.ends_with("v2") { ("replicas", "count") } else { ("count", "replicas") };
    let objects: Vec<Value> = request["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            let mut object = object.clone();
            object["apiVersion"] = wanted.into();
            let spec = object["spec"].as_object_mut().unwrap();
            if let Some(value) = spec.remove(from) {
                spec.insert(to.into(), value);
            }
            object
        })
        .collect();
    let response = json!({"uid": request["uid"], "convertedObjects": objects, "result": {"status": "Success"}});
    let review = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
    Reply::Raw(200, review.to_string().into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_converts_what_is_read_written_listed_and_watched() {
    use http_body_util::BodyExt;
    let cluster = Cluster::start().await;
    let server = HookServer::start(|_, request| convert(request)).await;
    define(&cluster, converting(&server)).await;
    let (code, made) = cluster.json("POST", CRONTABS, crontab("a", json!({"replicas": 3}))).await;
    assert_eq!(code, 201, "{made}");
    let (code, second) = cluster.json("GET", &format!("{V2}/a"), Value::Null).await;
    assert_eq!((code, &second["spec"]), (200, &json!({"count": 3})), "{second}");
    let mut new = crontab("b", json!({"count": 5}));
    new["apiVersion"] = "stable.example.com/v2".into();
    let (code, made) = cluster.json("POST", V2, new).await;
    assert_eq!((code, &made["spec"]["count"]), (201, &json!(5)), "{made}");
    let (_, first) = cluster.json("GET", &format!("{CRONTABS}/b"), Value::Null).await;
    assert_eq!((&first["spec"]["replicas"], &first["apiVersion"]), (&json!(5), &json!("stable.example.com/v1")));
    let (code, patched) = cluster.json("PATCH", &format!("{V2}/b"), json!({"spec": {"count": 6}})).await;
    assert_eq!((code, &patched["spec"]["count"]), (200, &json!(6)), "{patched}");
    let (_, list) = cluster.json("GET", V2, Value::Null).await;
    let counts: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|i| &i["spec"]["count"]).collect();
    assert_eq!(counts, [&json!(3), &json!(6)]);
    let mut watch = cluster.send(http::Request::get(format!("{V2}?watch=1")).body(vec![]).unwrap()).await.into_body();
    let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&frame).contains("\"count\":3"));
    cluster.json("POST", CRONTABS, crontab("c", json!({"replicas": 8}))).await;
    let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&frame).contains("\"count\":8"), "{}", String::from_utf8_lossy(&frame));
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_selected_as_the_version_that_is_asked_for_has_them() {
    use http_body_util::BodyExt;
    let cluster = Cluster::start().await;
    let server = HookServer::start(|_, request| convert(request)).await;
    let mut definition = converting(&server);
    definition["spec"]["versions"][1]["selectableFields"] = json!([{"jsonPath": ".spec.count"}]);
    define(&cluster, definition).await;
    for (name, replicas) in [("a", 1), ("b", 2), ("c", 2), ("d", 2)] {
        cluster.json("POST", CRONTABS, crontab(name, json!({"replicas": replicas}))).await;
    }
    let list = |more: String| {
        let (path, cluster) = (format!("{V2}?fieldSelector=spec.count%3D2{more}"), &cluster);
        async move { cluster.json("GET", &path, Value::Null).await.1 }
    };
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&list(String::new()).await), ["b", "c", "d"]);
    let first = list("&limit=2".into()).await;
    assert_eq!(names(&first), ["b", "c"]);
    let token = first["metadata"]["continue"].as_str().unwrap();
    assert_eq!(names(&list(format!("&limit=2&continue={token}")).await), ["d"]);
    let watching = format!("{V2}?watch=1&fieldSelector=spec.count%3D2");
    let mut watch = cluster.send(http::Request::get(watching).body(vec![]).unwrap()).await.into_body();
    let initial = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(String::from_utf8_lossy(&initial).matches("\"ADDED\"").count(), 3);
    for (name, replicas, event) in [("a", 2, "ADDED"), ("b", 1, "DELETED")] {
        let change = json!({"spec": {"replicas": replicas}});
        assert_eq!(cluster.json("PATCH", &format!("{CRONTABS}/{name}"), change).await.0, 200);
        let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
        let told: Value = serde_json::from_slice(&frame).unwrap();
        let expected = (&json!(event), &json!(name), &json!("stable.example.com/v2"));
        let object = &told["object"];
        assert_eq!((&told["type"], &object["metadata"]["name"], &object["apiVersion"]), expected, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_or_lies_is_told_of() {
    let cluster = Cluster::start().await;
    let server = HookServer::start(|_, request| {
        let name = request["objects"][0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut response =
            json!({"uid": request["uid"], "convertedObjects": request["objects"], "result": {"status": "Success"}});
        if name == "refused" {
            response["result"] = json!({"status": "Failure", "message": "no such luck"});
        }
        let review = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
        Reply::Raw(200, review.to_string().into_bytes())
    })
    .await;
    define(&cluster, converting(&server)).await;
    for (name, why) in [
        ("refused", "conversion webhook for stable.example.com/v1, Kind=CronTab failed: no such luck"),
        (
            "same",
            "conversion webhook for stable.example.com/v1, Kind=CronTab returned invalid converted object at index 0: invalid groupVersion (expected stable.example.com/v2, received stable.example.com/v1)",
        ),
    ] {
        cluster.json("POST", CRONTABS, crontab(name, json!({}))).await;
        let (code, status) = cluster.json("GET", &format!("{V2}/{name}"), Value::Null).await;
        assert_eq!((code, &status["message"]), (500, &json!(why)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_selected_by_the_fields_that_their_definition_names() {
    let cluster = Cluster::start().await;
    let mut definition = definition(schema());
    definition["spec"]["versions"][0]["selectableFields"] =
        json!([{"jsonPath": ".spec.image"}, {"jsonPath": ".spec.replicas"}]);
    define(&cluster, definition).await;
    for (name, image) in [("a", "x"), ("b", "y")] {
        cluster.json("POST", CRONTABS, crontab(name, json!({"image": image, "replicas": 1}))).await;
    }
    let (_, list) = cluster.json("GET", &format!("{CRONTABS}?fieldSelector=spec.image%3Dx"), Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    let (_, list) = cluster
        .json("GET", &format!("{CRONTABS}?fieldSelector=spec.replicas%3D1,spec.image%21%3Dx"), Value::Null)
        .await;
    assert_eq!(list["items"][0]["metadata"]["name"], "b");
    let (code, status) = cluster.json("GET", &format!("{CRONTABS}?fieldSelector=spec.cronSpec%3D1"), Value::Null).await;
    assert_eq!((code, &status["message"]), (400, &json!("field label not supported: spec.cronSpec")));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_taken_are_not_given_again_until_they_are_free() {
    let cluster = Cluster::start().await;
    define(&cluster, definition(schema())).await;
    let mut second = definition(schema());
    second["metadata"]["name"] = "tabs.stable.example.com".into();
    second["spec"]["names"] = json!({"plural": "tabs", "kind": "Tab", "shortNames": ["ct"]});
    assert_eq!(cluster.json("POST", DEFINITIONS, second).await.0, 201);
    let at = format!("{DEFINITIONS}/tabs.stable.example.com");
    let told = eventually(&cluster, &at, |d| d["status"].to_string().contains("ShortNamesConflict")).await;
    assert!(told["status"].to_string().contains("\\\"ct\\\" is already in use"), "{told}");
    cluster.json("DELETE", &format!("{DEFINITIONS}/crontabs.stable.example.com"), Value::Null).await;
    eventually(&cluster, &at, |d| d["status"].to_string().contains("InitialNamesAccepted")).await;
    eventually(&cluster, "/apis/stable.example.com/v1", |l| l["resources"][0]["name"] == "tabs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_definitions_are_refused_at_once() {
    let cluster = Cluster::start().await;
    let started = std::time::Instant::now();
    let mut deep = json!({"type": "string"});
    for _ in 0..70 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    let many: serde_json::Map<String, Value> =
        (0..60_000).map(|i| (format!("f{i}"), json!({"type": "string"}))).collect();
    let bombs: serde_json::Map<String, Value> = (0..2000)
        .map(|i| {
            (format!("f{i}"), json!({"type": "string", "pattern": format!("((a{{100}}){{100}}){{{}}}", i % 90 + 10)}))
        })
        .collect();
    for schema in [
        json!({"type": "object", "properties": many}),
        json!({"type": "object", "properties": bombs}),
        json!({"type": "object", "properties": {"a": {"type": "string", "default": 1}}}),
        json!({"type": "object", "$ref": "#"}),
        json!({"type": ["object"]}),
        deep,
    ] {
        let (code, status) = cluster.json("POST", DEFINITIONS, definition(schema)).await;
        assert!((400..500).contains(&code), "{code} {}", &status.to_string()[..200]);
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    define(&cluster, definition(schema())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_see_objects_in_the_version_that_they_ask_for() {
    let cluster = Cluster::start().await;
    let server = HookServer::start(|_, request| convert(request)).await;
    define(&cluster, converting(&server)).await;
    let constraints = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["stable.example.com"],
        "apiVersions": ["v2"], "resources": ["crontabs"]}]});
    let raised = json!({"matchConstraints": constraints, "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration":
            {"expression": "Object{spec: Object.spec{count: object.spec.count + 1}}"}}]});
    mutating(&cluster, "raised", raised).await;
    let small = json!({"matchConstraints": constraints, "validations": [
        {"expression": "object.spec.count < 5", "messageExpression": "'count ' + string(object.spec.count)"}]});
    policy(&cluster, "small", small, json!({})).await;
    let (code, made) = cluster.json("POST", CRONTABS, crontab("a", json!({"replicas": 3}))).await;
    assert_eq!((code, &made["spec"]["replicas"]), (201, &json!(4)), "{made}");
    let (_, refused) = cluster.json("POST", CRONTABS, crontab("b", json!({"replicas": 4}))).await;
    assert!(refused["message"].as_str().unwrap().ends_with("denied request: count 5"), "{refused}");
}
