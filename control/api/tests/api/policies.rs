//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy, named after test/e2e/apimachinery/{validating,mutating}admissionpolicy.go.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

fn constraints(group: &str, resource: &str) -> Value {
    json!({"resourceRules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]}]})
}

async fn post(cluster: &Cluster, plural: &str, kind: &str, name: &str, spec: Value) -> (u16, Value) {
    let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    cluster.json("POST", &format!("{GROUP}/{plural}"), object).await
}

pub async fn policy(cluster: &Cluster, name: &str, spec: Value, binding: Value) {
    let (code, made) = post(cluster, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", name, spec).await;
    assert_eq!(code, 201, "{made}");
    let mut bound = json!({"policyName": name, "validationActions": ["Deny"]});
    for (key, value) in binding.as_object().into_iter().flatten() {
        bound[key.as_str()] = value.clone();
    }
    let (code, made) =
        post(cluster, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", name, bound).await;
    assert_eq!(code, 201, "{made}");
}

pub async fn mutating(cluster: &Cluster, name: &str, spec: Value) {
    let (code, made) = post(cluster, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", name, spec).await;
    assert_eq!(code, 201, "{made}");
    let (code, made) = post(
        cluster,
        "mutatingadmissionpolicybindings",
        "MutatingAdmissionPolicyBinding",
        name,
        json!({"policyName": name}),
    )
    .await;
    assert_eq!(code, 201, "{made}");
}

fn deployment(name: &str, replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

async fn create(cluster: &Cluster, name: &str, replicas: i64) -> (u16, Value) {
    cluster.json("POST", "/apis/apps/v1/namespaces/default/deployments", deployment(name, replicas)).await
}

async fn configmap(cluster: &Cluster, name: &str, data: Value) -> (u16, Value) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    cluster.json("POST", "/api/v1/namespaces/default/configmaps", object).await
}

#[tokio::test(flavor = "multi_thread")]
async fn should_validate_against_a_deployment() {
    let cluster = Cluster::start().await;
    let spec = json!({"matchConstraints": constraints("apps", "deployments"), "validations": [
        {"expression": "object.spec.replicas > 1", "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)"},
        {"expression": "namespaceObject.metadata.name == 'default' && request.operation == 'CREATE' && request.userInfo.username != ''"},
        {"expression": "authorizer.group('apps').resource('deployments').namespace('default').check('create').allowed()"},
    ]});
    policy(&cluster, "p.example.com", spec, json!({})).await;
    let (code, refused) = create(&cluster, "marker", 1).await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")), "{refused}");
    assert_eq!(
        refused["message"],
        "deployments.apps \"marker\" is forbidden: ValidatingAdmissionPolicy 'p.example.com' with binding 'p.example.com' denied request: wants replicas > 1, got 1"
    );
    let (code, made) = create(&cluster, "replicated", 2).await;
    assert_eq!(code, 201, "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn should_allow_expressions_to_refer_variables() {
    let cluster = Cluster::start().await;
    let spec = json!({"matchConstraints": constraints("apps", "deployments"),
        "variables": [{"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"}],
        "validations": [{"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"}]});
    policy(&cluster, "p", spec, json!({})).await;
    assert_eq!(create(&cluster, "one", 1).await.0, 422);
    let (code, refused) = create(&cluster, "two", 2).await;
    assert_eq!(code, 422);
    assert!(refused["message"].as_str().unwrap().ends_with("failed expression: variables.oddReplicas"), "{refused}");
    assert_eq!(create(&cluster, "three", 3).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn should_type_check_validation_expressions() {
    let cluster = Cluster::start().await;
    let make = |name: &'static str, validation: Value| {
        let spec = json!({"matchConstraints": constraints("apps", "deployments"), "validations": [validation]});
        post(&cluster, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", name, spec)
    };
    assert_eq!(make("right", json!({"expression": "object.spec.replicas > 1"})).await.0, 201);
    let confused = json!({"expression": "object.spec.replicas > '1'", "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"});
    assert_eq!(make("confused", confused).await.0, 201);
    let cluster = &cluster;
    let status = |name: &'static str| async move {
        for _ in 0..100 {
            let (_, policy) =
                cluster.json("GET", &format!("{GROUP}/validatingadmissionpolicies/{name}"), Value::Null).await;
            if policy["status"]["typeChecking"].is_object() {
                return policy["status"]["typeChecking"].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} was never type checked");
    };
    assert_eq!(status("right").await, json!({}));
    let warnings = status("confused").await["expressionWarnings"].clone();
    assert_eq!(warnings[0]["fieldRef"], "spec.validations[0].expression");
    let text = |n: usize| warnings[n]["warning"].as_str().unwrap_or_default().to_owned();
    assert!(text(0).contains("found no matching overload for '_>_' applied to '(int, string)'"), "{warnings}");
    assert_eq!(warnings[1]["fieldRef"], "spec.validations[0].messageExpression");
    assert!(text(1).contains("found no matching overload for '_+_' applied to '(string, int)'"), "{warnings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn params_conditions_and_failure_policies() {
    let cluster = Cluster::start().await;
    let spec = json!({"matchConstraints": constraints("apps", "deployments"), "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "not-free", "expression": "!object.metadata.name.startsWith('free')"}],
        "validations": [{"expression": "object.spec.replicas <= int(params.data.max)", "message": "too many", "reason": "Forbidden"}]});
    let reference = json!({"paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    policy(&cluster, "p", spec, reference).await;
    let (code, refused) = create(&cluster, "a", 1).await;
    assert_eq!(code, 422);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.ends_with(
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        ),
        "{message}"
    );
    assert_eq!(configmap(&cluster, "limits", json!({"max": "2"})).await.0, 201);
    assert_eq!(create(&cluster, "a", 2).await.0, 201);
    let (code, refused) = create(&cluster, "b", 3).await;
    assert_eq!((code, &refused["reason"]), (403, &json!("Forbidden")), "{refused}");
    assert_eq!(create(&cluster, "free", 3).await.0, 201);

    let ignoring = json!({"failurePolicy": "Ignore", "matchConstraints": constraints("", "configmaps"),
        "validations": [{"expression": "object.data.nope == 'x'"}]});
    policy(&cluster, "ignoring", ignoring, json!({})).await;
    assert_eq!(configmap(&cluster, "other", json!({"k": "v"})).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_does_not_compile_is_refused_with_the_place() {
    let cluster = Cluster::start().await;
    let spec = json!({"matchConstraints": constraints("apps", "deployments"), "validations": [{"expression": "nope.spec > 1"}]});
    let (code, refused) = post(&cluster, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", "p", spec).await;
    assert_eq!(code, 422);
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("spec.validations[0].expression: Invalid value: \"nope.spec > 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mutating_policies_apply_configurations_and_json_patches() {
    let cluster = Cluster::start().await;
    mutating(&cluster, "apply", json!({"matchConstraints": constraints("apps", "deployments"), "reinvocationPolicy": "Never",
        "matchConditions": [{"name": "has-no-flag", "expression": "!has(object.metadata.labels) || !('flag' in object.metadata.labels)"}],
        "variables": [{"name": "wanted", "expression": "object.spec.replicas + 1"}],
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{labels: {'flag': 'on'}}, spec: Object.spec{replicas: variables.wanted}}"}}]})).await;
    mutating(&cluster, "patch", json!({"matchConstraints": constraints("apps", "deployments"), "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'a-b': 'c'}}, JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('k/x'), value: string(object.spec.replicas)}]"}}]})).await;
    let (code, made) = create(&cluster, "d", 2).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["replicas"], 3);
    assert_eq!(made["metadata"]["labels"]["flag"], "on");
    assert_eq!(made["metadata"]["annotations"], json!({"a-b": "c", "k/x": "3"}));

    mutating(
        &cluster,
        "atomic",
        json!({"matchConstraints": constraints("", "configmaps"), "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{nope: 'x'}"}}]}),
    )
    .await;
    let (code, refused) = configmap(&cluster, "c", json!({})).await;
    assert_eq!((code, &refused["reason"]), (403, &json!("Invalid")), "{refused}");
    assert_eq!(
        refused["message"],
        "policy 'atomic' with binding 'atomic' denied request: error applying patch: failed to convert patch object to typed object: .nope: field not declared in schema"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_patch_is_passed_over_if_its_test_fails_and_may_name_only_what_there_is() {
    let cluster = Cluster::start().await;
    mutating(&cluster, "p", json!({"matchConstraints": constraints("", "configmaps"), "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'test', path: '/data/k', value: 'a'}, JSONPatch{op: 'replace', path: '/data/new', value: 'b'}, JSONPatch{op: 'add', path: object.data.?at.orValue('/data/z'), value: 'c'}]"}}]})).await;
    let (code, made) = configmap(&cluster, "one", json!({"k": "a"})).await;
    assert_eq!((code, &made["data"]), (201, &json!({"k": "a", "new": "b", "z": "c"})), "{made}");
    let (code, made) = configmap(&cluster, "two", json!({"k": "b"})).await;
    assert_eq!((code, &made["data"]), (201, &json!({"k": "b"})), "{made}");
    let (code, refused) = configmap(&cluster, "three", json!({"k": "a", "at": "/nope"})).await;
    assert_eq!(code, 500, "{refused}");
    assert_eq!(refused["message"], "Internal error occurred: strict decoding error: unknown field \"nope\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_a_kind_that_nobody_serves_are_the_policy_s_fault() {
    let cluster = Cluster::start().await;
    let spec = json!({"matchConstraints": constraints("", "configmaps"), "validations": [{"expression": "true"}],
        "paramKind": {"apiVersion": "foo/v1", "kind": "Bar"}});
    policy(&cluster, "p", spec, json!({"paramRef": {"name": "x", "parameterNotFoundAction": "Deny"}})).await;
    let (_, refused) = configmap(&cluster, "c", json!({})).await;
    let why = "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced by paramKind: 'foo/v1, Kind=Bar'";
    assert_eq!(refused["message"], format!("configmaps \"c\" is forbidden: {why}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_type_checked_validated_and_mutated() {
    let cluster = Cluster::start().await;
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "replicas": {"type": "integer"}, "parts": {"type": "array", "items": {"type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"]}}}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    let (code, made) =
        cluster.json("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    assert_eq!(code, 201, "{made}");
    const PATH: &str = "/apis/example.com/v1/namespaces/default/crontabs";
    for _ in 0..200 {
        if cluster.json("GET", PATH, Value::Null).await.0 == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let spec = json!({"matchConstraints": constraints("example.com", "crontabs"), "failurePolicy": "Ignore", "validations": [
        {"expression": "object.spec.replicas > '1'"}, {"expression": "object.spec.maxRetries < 10"},
        {"expression": "object.spec.parts.all(p, p.size < 10) && object.metadata.name != 'x'"}]});
    policy(&cluster, "p", spec, json!({})).await;
    let mut warnings = Value::Null;
    for _ in 0..200 {
        let (_, policy) = cluster.json("GET", &format!("{GROUP}/validatingadmissionpolicies/p"), Value::Null).await;
        warnings = policy["status"]["typeChecking"]["expressionWarnings"].clone();
        if warnings.is_array() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(warnings.as_array().map(Vec::len), Some(2), "{warnings}");
    assert!(warnings[0]["warning"].as_str().unwrap().contains("applied to '(int, string)'"), "{warnings}");
    assert!(warnings[1]["warning"].as_str().unwrap().contains("undefined field 'maxRetries'"), "{warnings}");
    mutating(
        &cluster,
        "m",
        json!({"matchConstraints": constraints("example.com", "crontabs"), "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{spec: Object.spec{parts: [Object.spec.parts{name: 'a', size: 2}]}}"}}]}),
    )
    .await;
    let object = |size: i64| {
        json!({"apiVersion": "example.com/v1", "kind": "CronTab", "metadata": {"name": "c"},
        "spec": {"replicas": 1, "parts": [{"name": "a", "size": 1}, {"name": "b", "size": size}]}})
    };
    let (code, refused) = cluster.json("POST", PATH, object(11)).await;
    assert_eq!(code, 422, "{refused}");
    let (code, made) = cluster.json("POST", PATH, object(1)).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["parts"], json!([{"name": "a", "size": 2}, {"name": "b", "size": 1}]));
}
