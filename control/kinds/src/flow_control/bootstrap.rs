//! The FlowSchemas and PriorityLevelConfigurations that every cluster has: mandatory ones, whose specs are fixed, and suggested
//! ones, which their users may change (`k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap`).
use serde_json::{Value, json};

/// While this annotation is `true`, the API server keeps an object's spec as it is here.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// The objects whose specs cannot be changed.
pub fn mandatory() -> Vec<Value> {
    vec![
        level("exempt", json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}})),
        level(
            "catch-all",
            json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}, "lendablePercent": 0,
            }}),
        ),
        schema("exempt", "exempt", 1, None, everything(groups(&["system:masters"]))),
        schema("catch-all", "catch-all", 10_000, Some("ByUser"), everything(anybody())),
    ]
}

/// The objects that a cluster begins with.
pub fn suggested() -> Vec<Value> {
    let manager = "system:kube-controller-manager";
    let scheduler = "system:kube-scheduler";
    let mut electors = users(&[manager, scheduler]);
    electors.extend(system_accounts());
    let leases = |verbs: &[&str]| rule(verbs, "coordination.k8s.io", &["leases"], false);
    let system =
        |name: &str, user: &str| schema(name, "workload-high", 800, Some("ByNamespace"), everything(users(&[user])));
    vec![
        queued("system", 30, 33, 64, 6),
        queued("node-high", 40, 25, 64, 6),
        queued("leader-election", 10, 0, 16, 4),
        queued("workload-high", 40, 50, 128, 6),
        queued("workload-low", 100, 90, 128, 6),
        queued("global-default", 20, 50, 128, 6),
        schema(
            "probes",
            "exempt",
            2,
            None,
            json!({"subjects": anybody(), "nonResourceRules": [
                {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]},
            ]}),
        ),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            Some("ByUser"),
            json!({"subjects": electors, "resourceRules": [leases(&["get", "create", "update"])]}),
        ),
        schema(
            "system-node-high",
            "node-high",
            400,
            Some("ByUser"),
            json!({"subjects": groups(&["system:nodes"]), "resourceRules": [
                rule(&["*"], "", &["nodes", "nodes/status"], true), leases(&["*"]),
            ]}),
        ),
        schema("system-nodes", "system", 500, Some("ByUser"), everything(groups(&["system:nodes"]))),
        system("kube-controller-manager", manager),
        system("kube-scheduler", scheduler),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            Some("ByNamespace"),
            everything(system_accounts()),
        ),
        schema(
            "service-accounts",
            "workload-low",
            9_000,
            Some("ByUser"),
            everything(groups(&["system:serviceaccounts"])),
        ),
        schema("global-default", "global-default", 9_900, Some("ByUser"), everything(anybody())),
    ]
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "kind": kind, "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": name, "generation": 1, "annotations": {AUTO_UPDATE: "true"}},
        "spec": spec, "status": {},
    })
}

fn level(name: &str, spec: Value) -> Value {
    object("PriorityLevelConfiguration", name, spec)
}

fn queued(name: &str, shares: i64, lendable: i64, queues: i64, hand: i64) -> Value {
    level(
        name,
        json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares,
            "limitResponse": {
                "type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50},
            },
            "lendablePercent": lendable,
        }}),
    )
}

fn schema(name: &str, level: &str, precedence: i64, distinguisher: Option<&str>, rules: Value) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rules],
    });
    if let Some(method) = distinguisher {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    object("FlowSchema", name, spec)
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn anybody() -> Vec<Value> {
    groups(&["system:unauthenticated", "system:authenticated"])
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

fn system_accounts() -> Vec<Value> {
    vec![json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}})]
}

fn rule(verbs: &[&str], group: &str, resources: &[&str], cluster_scope: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources});
    if cluster_scope {
        rule["clusterScope"] = true.into();
    }
    rule["namespaces"] = json!(["*"]);
    rule
}

fn everything(subjects: Vec<Value>) -> Value {
    json!({
        "subjects": subjects,
        "resourceRules": [rule(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}
