use orlop_auth::UserInfo;

use super::*;

fn read(rules: &str) -> Policy {
    let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}");
    Policy::parse(text.as_bytes()).unwrap_or_else(|why| panic!("{why}: {text}")).0
}

fn refused(rules: &str) -> String {
    let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}");
    Policy::parse(text.as_bytes()).expect_err(&text)
}

/// Rules by the names that kube-apiserver's own tests give them (`policy/checker_test.go`).
fn rule(name: &str) -> &'static str {
    match name {
        "default" => "{level: Metadata}",
        "create" => "{level: Request, verbs: [create]}",
        "tims" => "{level: Metadata, users: [tim@k8s.io]}",
        "humans" => "{level: Metadata, userGroups: [humans]}",
        "serviceAccounts" => "{level: Request, userGroups: ['system:serviceaccounts']}",
        "getPods" => "{level: RequestResponse, verbs: [get], resources: [{resources: [pods]}]}",
        "getPodLogs" => "{level: Request, verbs: [get], resources: [{resources: [pods/log]}]}",
        "getAll" => "{level: Request, verbs: [get], resources: [{resources: ['*']}]}",
        "getAllLogs" => "{level: Request, verbs: [get], resources: [{resources: ['*/log']}]}",
        "getPartsOfPods" => "{level: Request, verbs: [get], resources: [{resources: ['pods/*']}]}",
        "getClusterRoles" => {
            "{level: RequestResponse, verbs: [get], namespaces: [''], \
             resources: [{group: rbac.authorization.k8s.io, resources: [clusterroles]}]}"
        }
        "updateAnyStatus" => {
            "{level: RequestResponse, verbs: [update], resources: [{group: '*', resources: ['*/status']}]}"
        }
        "getLogs" => "{level: RequestResponse, verbs: [get], nonResourceURLs: ['/logs*']}",
        "getMetrics" => "{level: Request, verbs: [get], nonResourceURLs: [/metrics]}",
        "clusterRoleEdit" => {
            "{level: Request, resources: \
             [{group: rbac.authorization.k8s.io, resources: [clusterroles], resourceNames: [edit]}]}"
        }
        "omitReceived" => "{level: Request, omitStages: [RequestReceived]}",
        "onlyPanic" => "{level: Request, omitStages: [RequestReceived, ResponseStarted, ResponseComplete]}",
        _ => panic!("no rule {name}"),
    }
}

fn judged(request: &str, policy: &str, rules: &str) -> Verdict {
    let tim = UserInfo {
        name: "tim@k8s.io".into(),
        groups: vec!["humans".into(), "developers".into()],
        ..UserInfo::default()
    };
    let user = Some(&tim);
    let pod = Attributes {
        user,
        verb: "get",
        namespace: "default",
        version: "v1",
        resource: "pods",
        name: "busybox",
        ..Attributes::default()
    };
    let role = Attributes {
        user,
        verb: "get",
        group: "rbac.authorization.k8s.io",
        version: "v1beta1",
        resource: "clusterroles",
        name: "edit",
        ..Attributes::default()
    };
    let attributes = match request {
        "namespaced" => pod,
        "cluster" => role,
        "nonResource" => Attributes { user, verb: "get", path: "/logs/kubelet.log", ..Attributes::default() },
        "subresource" => Attributes { subresource: "log", ..pod },
        "unauthorized" => Attributes { user: None, ..pod },
        "roleUpdate" => Attributes { verb: "update", subresource: "status", name: "somerole", ..role },
        _ => panic!("no request {request}"),
    };
    let rules: String = rules.split_whitespace().map(|name| format!("- {}\n", rule(name))).collect();
    read(&format!("{policy}rules:\n{rules}")).judge(&attributes)
}

#[test]
fn the_first_rule_that_matches_decides() {
    use Level::{Metadata, None, Request, RequestResponse};
    let cases = [
        ("namespaced", Metadata, "default"),
        ("namespaced", None, "create"),
        ("namespaced", Metadata, "tims"),
        ("namespaced", Metadata, "humans"),
        ("namespaced", None, "serviceAccounts"),
        ("namespaced", RequestResponse, "getPods"),
        ("namespaced", None, "getClusterRoles"),
        ("namespaced", None, "getLogs"),
        ("namespaced", None, "getMetrics"),
        ("namespaced", Metadata, "getMetrics serviceAccounts default"),
        ("namespaced", RequestResponse, "getMetrics getPods default"),
        ("namespaced", RequestResponse, "getPodLogs getPods"),
        ("cluster", Metadata, "default"),
        ("cluster", None, "create"),
        ("cluster", Metadata, "tims"),
        ("cluster", Metadata, "humans"),
        ("cluster", None, "serviceAccounts"),
        ("cluster", None, "getPods"),
        ("cluster", RequestResponse, "getClusterRoles"),
        ("cluster", Request, "clusterRoleEdit getClusterRoles"),
        ("cluster", None, "getLogs"),
        ("cluster", None, "getMetrics"),
        ("cluster", Metadata, "getMetrics serviceAccounts default"),
        ("cluster", RequestResponse, "getMetrics getClusterRoles default"),
        ("cluster", None, "getPodLogs getPods"),
        ("nonResource", Metadata, "default"),
        ("nonResource", None, "create"),
        ("nonResource", Metadata, "tims"),
        ("nonResource", Metadata, "humans"),
        ("nonResource", None, "serviceAccounts"),
        ("nonResource", None, "getPods"),
        ("nonResource", None, "getClusterRoles"),
        ("nonResource", RequestResponse, "getLogs"),
        ("nonResource", None, "getMetrics"),
        ("nonResource", Metadata, "getMetrics serviceAccounts default"),
        ("nonResource", RequestResponse, "getLogs getClusterRoles default"),
        ("nonResource", None, "getPodLogs getPods"),
        ("subresource", Request, "getPodLogs getPods"),
        ("subresource", Request, "getAll"),
        ("subresource", Request, "getAllLogs"),
        ("subresource", Request, "getPartsOfPods"),
        ("unauthorized", None, "tims"),
        ("unauthorized", Metadata, "tims default"),
        ("unauthorized", None, "humans"),
        ("unauthorized", Metadata, "humans default"),
        ("roleUpdate", RequestResponse, "updateAnyStatus"),
        // The whole is a part of its parts, and a part is not the whole.
        ("namespaced", Request, "getPartsOfPods"),
        ("namespaced", None, "getAllLogs"),
        ("subresource", None, "getPods"),
    ];
    let policy = "omitStages: [RequestReceived, ResponseStarted]\n";
    for (request, level, rules) in cases {
        assert_eq!(judged(request, "", rules), Verdict { level, ..Verdict::default() }, "{request}: {rules}");
        let verdict = judged(request, policy, rules);
        assert_eq!((verdict.level, verdict.omit), (level, Stages(3)), "{request}: {rules}");
    }
}

#[test]
fn stages_are_omitted_by_the_policy_and_by_the_rule() {
    let (received, started, complete) = (1, 2, 4);
    let policy = "omitStages: [RequestReceived, ResponseStarted]\n";
    for request in ["namespaced", "cluster", "nonResource"] {
        let omitted = |policy, rules| judged(request, policy, rules).omit.0;
        assert_eq!(omitted("", "omitReceived getPods default"), received);
        assert_eq!(omitted("", "onlyPanic getPods default"), received | started | complete);
        assert_eq!(omitted(policy, "omitReceived getPods default"), received | started);
        assert_eq!(omitted(policy, "onlyPanic getPods default"), received | started | complete);
        assert_eq!(omitted(policy, "default omitReceived"), received | started);
    }
    let omit = judged("cluster", "", "onlyPanic").omit;
    assert!(omit.has(Stage::ResponseComplete) && !omit.has(Stage::Panic));
}

#[test]
fn a_rule_knows_better_than_its_policy_whether_managed_fields_are_written() {
    let omits = |policy: &str, rule: &str| {
        let policy = read(&format!("{policy}rules:\n- {{level: RequestResponse, verbs: [get]{rule}}}\n"));
        policy.judge(&Attributes { verb: "get", path: "/", ..Attributes::default() }).omit_managed_fields
    };
    for (policy, rule, expected) in [
        ("", "", false),
        ("omitManagedFields: true\n", "", true),
        ("omitManagedFields: true\n", ", omitManagedFields: false", false),
        ("", ", omitManagedFields: true", true),
        ("", ", omitManagedFields: null", false),
    ] {
        assert_eq!(omits(policy, rule), expected, "{policy} {rule}");
    }
    // Whatever no rule matches has the policy's own.
    let policy = read("omitManagedFields: true\nrules: [{level: Request, verbs: [list]}]");
    let verdict = policy.judge(&Attributes { verb: "get", path: "/", ..Attributes::default() });
    assert_eq!(verdict, Verdict { omit_managed_fields: true, ..Verdict::default() });
}

#[test]
fn a_file_is_yaml_or_json() {
    let yaml = "rules:
- level: None
  nonResourceURLs: [/healthz*, /version]
- level: RequestResponse
  users: [tim]
  userGroups: [testers, developers]
  verbs: [patch, delete, create]
  resources:
  - group: ''
  - group: rbac.authorization.k8s.io
    resources: [clusterroles, clusterrolebindings]
  namespaces: [default, kube-system]
- level: Metadata
";
    let policy = read(yaml);
    assert_eq!(policy.rules.len(), 3);
    assert_eq!(policy.rules[0].said.non_resource_urls, ["/healthz*", "/version"]);
    assert_eq!(policy.rules[1].said.resources[1].resources, ["clusterroles", "clusterrolebindings"]);
    let json = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "metadata": {"name": "x"}, "rules": [
        {"level": "None", "nonResourceURLs": ["/healthz*", "/version"]},
        {"level": "RequestResponse", "users": ["tim"], "userGroups": ["testers", "developers"],
         "verbs": ["patch", "delete", "create"], "namespaces": ["default", "kube-system"],
         "resources": [{"group": ""}, {"group": "rbac.authorization.k8s.io", "resources": ["clusterroles", "clusterrolebindings"]}]},
        {"level": "Metadata"}]}"#;
    assert_eq!(Policy::parse(json.as_bytes()).unwrap(), (policy, Vec::new()));
}

#[test]
fn what_it_does_not_know_is_told_and_passed_over() {
    let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:
- level: None
  verb: [get]
  resources:
  - group: coordination.k8s.io
    resources: [leases]
    verbs: [watch, get, list]
";
    let (policy, told) = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(told, ["unknown field \"rules[0].verb\"", "unknown field \"rules[0].resources[0].verbs\""]);
    assert_eq!(policy.rules[0].said.resources[0].resources, ["leases"]);
    let twice = "apiVersion: audit.k8s.io/v1\nkind: Policy\nkind: Policy\nrules: [{level: None}]\n";
    let (_, told) = Policy::parse(twice.as_bytes()).unwrap();
    assert!(told[0].contains("already set in map"), "{told:?}");
}

#[test]
fn a_file_that_is_no_policy_is_refused() {
    let no_policy = "unknown group version field audit.k8s.io/__internal, Kind=Policy in policy";
    for text in ["", "rules: [{level: None}]", "kind: Policy\nrules: [{level: None}]"] {
        assert_eq!(Policy::parse(text.as_bytes()).unwrap_err(), no_policy, "{text}");
    }
    let old = "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]";
    assert_eq!(
        Policy::parse(old.as_bytes()).unwrap_err(),
        "failed decoding: no kind \"Policy\" is registered for version \"audit.k8s.io/v1beta1\" in scheme \
         \"k8s.io/apiserver/pkg/audit/scheme.go:30\""
    );
    assert_eq!(refused(""), "loaded illegal policy with 0 rules");
    assert_eq!(refused("rules: []"), "loaded illegal policy with 0 rules");
    for broken in ["rules: 7", "rules: [{level: [None]}]", "rules: [{level: None, verbs: get}]", "omitManagedFields: 3"]
    {
        assert!(refused(broken).starts_with("failed decoding: "), "{broken}: {}", refused(broken));
    }
    assert!(Policy::parse(b"{").unwrap_err().starts_with("failed decoding: yaml: "));
}

#[test]
fn what_rules_may_say() {
    for good in [
        "{level: Metadata}",
        "{level: None, userGroups: ['system:serviceaccounts', 'system:nodes']}",
        "{level: RequestResponse, verbs: [get], namespaces: [kube-system], \
         resources: [{group: rbac.authorization.k8s.io, resources: [roles, rolebindings]}]}",
        "{level: Metadata, userGroups: [developers], nonResourceURLs: ['/logs*', '/healthz*', /metrics, '*']}",
        "{level: Metadata, omitStages: [RequestReceived]}",
    ] {
        read(&format!("rules: [{good}]"));
    }
    let begins = "non-resource URL rules must begin with a '/' character";
    let ends = "non-resource URL wildcards '*' must be the final character of the rule";
    let both = "rules cannot apply to both regular resources and non-resource URLs";
    for (bad, why) in [
        ("{}", "rules[0].level: Required value".to_owned()),
        ("{verbs: [get], namespaces: [a], resources: [{resources: [secrets]}]}", "rules[0].level: Required value".into()),
        (
            "{level: FooBar}",
            "rules[0].level: Unsupported value: \"FooBar\": supported values: \"None\", \"Metadata\", \"Request\", \
             \"RequestResponse\""
                .into(),
        ),
        (
            "{level: Metadata, namespaces: [default], nonResourceURLs: ['/logs*']}",
            format!("rules[0].nonResourceURLs: Invalid value: [\"/logs*\"]: {both}"),
        ),
        (
            "{level: Metadata, resources: [{resources: [secrets]}], nonResourceURLs: ['/logs*']}",
            format!("rules[0].nonResourceURLs: Invalid value: [\"/logs*\"]: {both}"),
        ),
        (
            "{level: Metadata, nonResourceURLs: [logs, '/healthz*']}",
            format!("rules[0].nonResourceURLs[0]: Invalid value: \"logs\": {begins}"),
        ),
        (
            "{level: Metadata, nonResourceURLs: ['', '/healthz*']}",
            format!("rules[0].nonResourceURLs[0]: Invalid value: \"\": {begins}"),
        ),
        (
            "{level: Metadata, nonResourceURLs: ['/logs/*/*', /metrics]}",
            format!("rules[0].nonResourceURLs[0]: Invalid value: \"/logs/*/*\": {ends}"),
        ),
        (
            "{level: Metadata, nonResourceURLs: ['/logs/*.log', /metrics]}",
            format!("rules[0].nonResourceURLs[0]: Invalid value: \"/logs/*.log\": {ends}"),
        ),
        (
            "{level: Metadata, verbs: [get], resources: [{resourceNames: [leader]}]}",
            "rules[0].resources.resourceNames: Invalid value: [\"leader\"]: using resourceNames requires at least one resource"
                .into(),
        ),
        (
            "{level: Metadata, omitStages: [foo]}",
            "rules[0].omitStages[0]: Invalid value: \"foo\": allowed stages are \
             RequestReceived,ResponseStarted,ResponseComplete,Panic"
                .into(),
        ),
    ] {
        assert_eq!(refused(&format!("rules: [{bad}]")), why, "{bad}");
    }
    let group = refused(
        "rules: [{level: Metadata, resources: [{group: rbac.authorization.k8s.io/v1beta1, resources: [roles]}]}]",
    );
    let expected = "rules[0].resources.group: Invalid value: \"rbac.authorization.k8s.io/v1beta1\": a lowercase RFC 1123 subdomain";
    assert!(group.starts_with(expected), "{group}");
    assert!(
        refused("omitStages: [foo]\nrules: [{level: Metadata}]").starts_with("omitStages[0]: Invalid value: \"foo\"")
    );
    assert!(
        refused("rules: [{level: Metadata}, {}, {level: x}]").starts_with("[rules[1].level: Required value, rules[2]")
    );
}
