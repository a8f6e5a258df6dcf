use crate::kind;
use serde_json::{Value, json};

/// A webhook in which nothing is wrong, changed.
fn webhook(change: impl FnOnce(&mut Value)) -> Value {
    let mut hook = json!({
        "name": "webhook.k8s.io", "clientConfig": {"url": "https://1.2.3.4/"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["CREATE"], "apiGroups": ["a"], "apiVersions": ["v1"], "resources": ["r"]}],
    });
    change(&mut hook);
    hook
}

fn wrong(hooks: Vec<Value>) -> String {
    let rules = kind("admissionregistration.k8s.io", "MutatingWebhookConfiguration");
    let mut object = json!({"metadata": {"name": "config"}, "webhooks": hooks});
    rules.default("v1", &mut object);
    rules.validate_create(&object).message()
}

fn with(field: &'static str, value: Value) -> String {
    wrong(vec![webhook(|hook| hook[field] = value)])
}

#[test]
fn a_valid_webhook_is_valid() {
    assert_eq!(wrong(vec![webhook(|_| {})]), "[]");
}

#[test]
fn names_are_qualified_and_unique() {
    assert_eq!(with("name", json!("")), "webhooks[0].name: Required value");
    let text = "webhooks[0].name: Invalid value: \"k8s.io\": should be a domain with at least three segments separated by dots";
    assert_eq!(with("name", json!("k8s.io")), text);
    let twice = wrong(vec![webhook(|_| {}), webhook(|_| {})]);
    assert_eq!(twice, "webhooks[1].name: Duplicate value: \"webhook.k8s.io\"");
}

#[test]
fn wildcards_cannot_be_mixed() {
    let rule = |field: &str, value: Value| {
        let mut rule = json!({"operations": ["CREATE"], "apiGroups": ["a"], "apiVersions": ["v1"], "resources": ["r"]});
        rule[field] = value;
        with("rules", json!([rule]))
    };
    let text = "webhooks[0].rules[0].operations: Invalid value: [\"CREATE\",\"*\"]: if '*' is present, must not specify other operations";
    assert_eq!(rule("operations", json!(["CREATE", "*"])), text);
    assert_eq!(
        rule("operations", json!(["PATCH"])),
        "webhooks[0].rules[0].operations[0]: Unsupported value: \"PATCH\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\""
    );
    assert!(rule("apiGroups", json!(["a", "*"])).contains("must not specify other API groups"));
    assert!(rule("apiVersions", json!(["v1", "*"])).contains("must not specify other API versions"));
    assert_eq!(rule("apiVersions", json!([""])), "webhooks[0].rules[0].apiVersions[0]: Required value");
    assert!(rule("resources", json!(["*/*", "a"])).contains("if '*/*' is present, must not specify other resources"));
    assert!(rule("resources", json!(["*", "a"])).contains("without subresources"));
    assert_eq!(rule("resources", json!(["*", "a/b"])), "[]");
    assert!(rule("resources", json!(["a/*", "a/x"])).contains("if 'a/*' is present, must not specify a/x"));
    assert!(rule("resources", json!(["*/b", "x/b"])).contains("if '*/b' is present, must not specify x/b"));
}

#[test]
fn policies_are_of_their_lists() {
    assert!(with("failurePolicy", json!("other")).contains("supported values: \"Fail\", \"Ignore\""));
    assert!(with("matchPolicy", json!("other")).contains("supported values: \"Equivalent\", \"Exact\""));
    assert!(with("reinvocationPolicy", json!("other")).contains("supported values: \"IfNeeded\", \"Never\""));
    assert!(with("sideEffects", json!("Some")).contains("supported values: \"None\", \"NoneOnDryRun\""));
    let text = "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun";
    assert_eq!(with("sideEffects", Value::Null), text);
    let text = "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds";
    assert_eq!(with("timeoutSeconds", json!(31)), text);
}

#[test]
fn review_versions_are_known() {
    let text = "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1";
    assert_eq!(with("admissionReviewVersions", json!([])), text);
    assert!(with("admissionReviewVersions", json!(["v1", "v1"])).contains("\"v1\": duplicate version"));
    assert!(
        with("admissionReviewVersions", json!(["invalidVersion"])).contains("must include at least one of v1, v1beta1")
    );
}

#[test]
fn a_webhook_is_at_one_place() {
    let at = |config: Value| with("clientConfig", config);
    let both = json!({"url": "https://a", "service": {"name": "n", "namespace": "ns"}});
    let text = "webhooks[0].clientConfig: Required value: exactly one of url or service is required";
    assert_eq!(at(both), text);
    assert_eq!(at(json!({})), text);
    let url = |url: &str| at(json!({"url": url}));
    assert_eq!(
        url(""),
        "[webhooks[0].clientConfig.url: Invalid value: \"\": 'https' is the only allowed URL scheme; desired format: https://host[/path], \
         webhooks[0].clientConfig.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]]"
    );
    assert!(url("https:///fancy/webhook").contains("host must be specified"));
    assert!(
        url("https://example.com/fancy/webhook?foo=bar").contains("\"foo=bar\": query parameters are not permitted")
    );
    assert!(url("https://example.com/#bookmark").contains("\"bookmark\": fragments are not permitted in the URL"));
    assert!(url("https://user@example.com/").contains("\"user\": user information is not permitted in the URL"));
    assert!(url("http://example.com").contains("\"http\": 'https' is the only allowed URL scheme"));
    let service = |path: &str| at(json!({"service": {"name": "n", "namespace": "ns", "path": path, "port": 443}}));
    assert_eq!(service("/foo/"), "[]");
    assert!(service("foo/").contains("must start with a '/'"));
    assert!(service("//").contains("segment[0] may not be empty"));
    assert!(service("/foo//bar/").contains("segment[1] may not be empty"));
    assert!(service("/apis/foo.bar/v1alpha1/--bad").contains("segment[3]: a lowercase RFC 1123 subdomain"));
    assert!(
        at(json!({"service": {"name": "n", "namespace": "ns", "port": 65536}}))
            .contains("port is not valid: must be between 1 and 65535")
    );
}

#[test]
fn match_conditions_have_names_and_expressions() {
    let text = "[webhooks[0].matchConditions[0].expression: Required value, webhooks[0].matchConditions[0].name: Required value]";
    assert_eq!(with("matchConditions", json!([{}])), text);
    let twice = json!([{"name": "a", "expression": "true"}, {"name": "a", "expression": "true"}]);
    assert_eq!(with("matchConditions", twice), "webhooks[0].matchConditions[1].name: Duplicate value: \"a\"");
    let many: Vec<Value> = (0..65).map(|i| json!({"name": format!("a{i}"), "expression": "true"})).collect();
    assert_eq!(
        with("matchConditions", many.into()),
        "webhooks[0].matchConditions: Too many: 65: must have at most 64 items"
    );
}

#[test]
fn what_was_wrong_before_need_not_be_mended() {
    let rules = kind("admissionregistration.k8s.io", "ValidatingWebhookConfiguration");
    let object = |hook: Value| json!({"metadata": {"name": "config", "resourceVersion": "1"}, "webhooks": [hook]});
    let some = object(webhook(|hook| hook["sideEffects"] = json!("Some")));
    let none = object(webhook(|_| {}));
    let update = |new: &Value, old: &Value| rules.validate_update(new, old, crate::Subresource::None).message();
    assert_eq!(update(&some, &some), "[]");
    assert!(update(&some, &none).contains("Unsupported value: \"Some\""));
}
