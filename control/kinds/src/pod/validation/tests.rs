use super::*;
use crate::kind;
use serde_json::json;

/// A defaulted Pod with these members of its spec replaced.
fn pod(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    for (key, value) in crate::value::entries(&spec) {
        object["spec"][key] = value.clone();
    }
    kind("", "Pod").default("v1", &mut object);
    object
}

fn create(spec: Value) -> String {
    kind("", "Pod").validate_create(&pod(spec)).message()
}

fn container(members: Value) -> String {
    let mut container = json!({"name": "c", "image": "i:1"});
    for (key, value) in crate::value::entries(&members) {
        container[key] = value.clone();
    }
    create(json!({"containers": [container], "volumes": [{"name": "v"}, {"name": "w"}]}))
}

#[test]
fn a_rich_valid_pod_passes() {
    let message = create(json!({
        "restartPolicy": "OnFailure", "nodeSelector": {"disk": "ssd"}, "nodeName": "node-1", "activeDeadlineSeconds": 10, "serviceAccountName": "sa",
        "imagePullSecrets": [{"name": "s"}], "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a.b"]}], "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["10.0.0.2"], "searches": ["my_zone.svc."]},
        "tolerations": [{"operator": "Exists"}, {"key": "k", "value": "v", "effect": "NoExecute", "tolerationSeconds": 3}],
        "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}, {"name": "h", "hostPath": {"path": "/x", "type": "Directory"}}],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"a": "b"}}}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {}}}]}},
        "initContainers": [{"name": "i", "image": "x"}, {"name": "s", "image": "x", "restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 1}}}],
        "containers": [{"name": "c", "image": "i:1", "ports": [{"name": "http", "containerPort": 80, "hostPort": 80}],
            "env": [{"name": "A", "value": "b"}, {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}, {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}}],
            "envFrom": [{"configMapRef": {"name": "x"}}],
            "volumeMounts": [{"name": "v", "mountPath": "/var/run/x", "readOnly": true}, {"name": "h", "mountPath": "/h", "subPath": "a/b"}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": 1}}, "securityContext": {"runAsUser": 1000, "allowPrivilegeEscalation": false},
            "livenessProbe": {"httpGet": {"port": "http"}}, "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}]
    }));
    assert_eq!(message, "[]");
}

#[test]
fn containers_need_names_and_images() {
    assert_eq!(create(json!({"containers": []})), "spec.containers: Required value");
    assert_eq!(
        create(json!({"containers": [{"image": "a"}, {"name": "x"}, {"name": "x", "image": "a"}]})),
        "[spec.containers[0].name: Required value, spec.containers[1].image: Required value, spec.containers[2].name: Duplicate value: \"x\"]"
    );
    assert!(
        container(json!({"name": "Foo"}))
            .starts_with("spec.containers[0].name: Invalid value: \"Foo\": a lowercase RFC 1123 label must consist of")
    );
    assert_eq!(
        container(json!({"imagePullPolicy": "Sometimes"})),
        "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\""
    );
    assert_eq!(
        container(json!({"image": " x"})),
        "spec.containers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace"
    );
}

#[test]
fn ports_are_unique_and_in_range() {
    for (ports, message) in [
        (json!([{"containerPort": 0}]), "spec.containers[0].ports[0].containerPort: Required value"),
        (
            json!([{"containerPort": 65536}]),
            "spec.containers[0].ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive",
        ),
        (
            json!([{"containerPort": 1, "protocol": "ICMP"}]),
            "spec.containers[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (
            json!([{"name": "a", "containerPort": 1}, {"name": "a", "containerPort": 2}]),
            "spec.containers[0].ports[1].name: Duplicate value: \"a\"",
        ),
        (
            json!([{"containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5}]),
            "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//5\"",
        ),
    ] {
        assert_eq!(container(json!({"ports": ports})), message);
    }
}

#[test]
fn environment_sources_are_exact() {
    for (env, message) in [
        (json!([{"value": "x"}]), "spec.containers[0].env[0].name: Required value"),
        (
            json!([{"name": "a=b"}]),
            "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
        ),
        (
            json!([{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ),
        (
            json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]),
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
        ),
        (
            json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.whoops"}}}]),
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"metadata.whoops\": error converting fieldPath: field label not supported: metadata.whoops",
        ),
        (
            json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c"}}}]),
            "spec.containers[0].env[0].valueFrom.configMapKeyRef.key: Required value",
        ),
    ] {
        assert_eq!(container(json!({"env": env})), message);
    }
}

#[test]
fn requests_stay_within_limits() {
    for (resources, message) in [
        (
            json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            json!({"requests": {"nvidia.com/gpu": "1"}}),
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (
            json!({"requests": {"memory": "-1"}}),
            "spec.containers[0].resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
        ),
        (
            json!({"limits": {"hugepages-2Mi": "4Mi"}}),
            "spec.containers[0].resources: Forbidden: HugePages require cpu or memory",
        ),
        (
            json!({"limits": {"nvidia.com/gpu": "500m"}}),
            "[spec.containers[0].resources.limits[nvidia.com/gpu]: Invalid value: \"500m\": must be an integer, spec.containers[0].resources.requests[nvidia.com/gpu]: Invalid value: \"500m\": must be an integer]",
        ),
        (
            json!({"requests": {"storage": "1Gi"}}),
            "spec.containers[0].resources.requests[storage]: Invalid value: \"storage\": must be a standard resource for containers",
        ),
    ] {
        assert_eq!(container(json!({"resources": resources})), message);
    }
}

#[test]
fn mounts_name_volumes_once() {
    for (mounts, message) in [
        (json!([{"name": "nope", "mountPath": "/a"}]), "spec.containers[0].volumeMounts[0].name: Not found: \"nope\""),
        (json!([{"name": "v"}]), "spec.containers[0].volumeMounts[0].mountPath: Required value"),
        (
            json!([{"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a"}]),
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
        ),
        (
            json!([{"name": "v", "mountPath": "/a", "subPath": "/x"}]),
            "spec.containers[0].volumeMounts.subPath: Invalid value: \"/x\": must be a relative path",
        ),
        (
            json!([{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}]),
            "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
        ),
    ] {
        assert_eq!(container(json!({"volumeMounts": mounts})), message);
    }
    assert_eq!(
        create(json!({"volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}}]})),
        "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"
    );
    assert_eq!(
        create(json!({"volumes": [{"name": "a"}, {"name": "a"}]})),
        "spec.volumes[1].name: Duplicate value: \"a\""
    );
    assert_eq!(
        create(json!({"volumes": [{"name": "a", "configMap": {"defaultMode": 1000}}]})),
        "[spec.volumes[0].configMap.name: Required value, spec.volumes[0].configMap.defaultMode: Invalid value: 1000: must be a number between 0 and 0777 (octal), both inclusive]"
    );
}

#[test]
fn probes_have_one_handler() {
    for (probe, message) in [
        (json!({}), "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
        (
            json!({"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}),
            "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        (
            json!({"tcpSocket": {"port": 0}}),
            "spec.containers[0].livenessProbe.port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"exec": {"command": ["a"]}, "successThreshold": 2}),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            json!({"httpGet": {"port": 1, "scheme": "FTP"}}),
            "spec.containers[0].livenessProbe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\"",
        ),
    ] {
        let shown =
            container(json!({"livenessProbe": probe})).replace("livenessProbe.tcpSocket.port", "livenessProbe.port");
        assert_eq!(shown, message);
    }
    assert!(create(json!({"initContainers": [{"name": "i", "image": "x", "readinessProbe": {"exec": {"command": ["a"]}}}]}))
        .starts_with("spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"));
}

#[test]
fn tolerations_are_consistent() {
    for (toleration, message) in [
        (
            json!({"key": "", "operator": "Equal"}),
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ),
        (
            json!({"key": "a", "operator": "Exists", "value": "b"}),
            "spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
        ),
        (
            json!({"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 1}),
            "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ),
    ] {
        assert_eq!(create(json!({"tolerations": [toleration]})), message);
    }
}

fn update(new: &Value, old: &Value) -> String {
    kind("", "Pod").validate_update(new, old, Subresource::None).message()
}

#[test]
fn images_may_change_and_the_rest_may_not() {
    let old = pod(
        json!({"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}]}),
    );
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = "i:2".into();
    new["spec"]["tolerations"][0]["tolerationSeconds"] = 9.into();
    new["spec"]["tolerations"].as_array_mut().unwrap().push(json!({"key": "b", "operator": "Exists"}));
    new["metadata"]["labels"] = json!({"x": "y"});
    assert_eq!(update(&new, &old), "[]");
    new["spec"]["nodeName"] = "other".into();
    new["spec"]["containers"][0]["command"] = json!(["x"]);
    assert_eq!(
        update(&new, &old),
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
         `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n\
         + spec.containers[0].command: [\"x\"]\n+ spec.nodeName: \"other\"\n"
    );
    let mut new = old.clone();
    new["spec"]["tolerations"] = json!([]);
    assert_eq!(
        update(&new, &old),
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    );
    let mut new = old.clone();
    new["spec"]["containers"] = json!([]);
    assert!(update(&new, &old).contains("spec.containers: Forbidden: pod updates may not add or remove containers"));
}

#[test]
fn gates_open_but_never_close() {
    let old = pod(json!({"schedulingGates": [{"name": "a"}, {"name": "b"}]}));
    let mut new = old.clone();
    new["spec"]["schedulingGates"] = json!([{"name": "b"}]);
    new["spec"]["nodeSelector"] = json!({"x": "y"});
    assert_eq!(update(&new, &old), "[]");
    new["spec"]["schedulingGates"] = json!([{"name": "c"}]);
    assert_eq!(
        update(&new, &old),
        "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c'"
    );
}

#[test]
fn an_ended_container_stays_ended() {
    let mut old = pod(json!({"restartPolicy": "Never"}));
    old["status"] = json!({"qosClass": "BestEffort", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]});
    let mut new = old.clone();
    new["status"]["containerStatuses"][0]["state"] = json!({"running": {}});
    new["status"]["qosClass"] = "Guaranteed".into();
    assert_eq!(
        kind("", "Pod").validate_update(&new, &old, Subresource::Status).message(),
        "[status.qosClass: Invalid value: \"Guaranteed\": field is immutable, status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state]"
    );
}

#[test]
fn very_many_unknown_claims_are_refused_at_once() {
    let used: Vec<Value> = (0..10_000).map(|at| json!({"name": format!("unknown-{at}")})).collect();
    let known: Vec<Value> =
        (0..10_000).map(|at| json!({"name": format!("c-{at}"), "resourceClaimName": "x"})).collect();
    let message = create(
        json!({"resourceClaims": known, "containers": [{"name": "c", "image": "i", "resources": {"claims": used}}]}),
    );
    assert!(message.contains("must be one of the names in pod.spec.resourceClaims: c-0, "));
    assert!(message.len() < 2 << 20, "{}", message.len());
}

#[test]
fn a_claim_is_used_whole_or_by_its_requests() {
    let claims = json!([{"name": "a", "request": "x"}, {"name": "a", "request": "y"}, {"name": "a"}]);
    let at = "spec.containers[0].resources.claims";
    let errors = kind("", "Pod")
        .validate_create(&pod(json!({"resourceClaims": [{"name": "a", "resourceClaimName": "r"}],
        "containers": [{"name": "c", "image": "i", "resources": {"claims": claims}}]})));
    let fields: Vec<&str> = errors.0.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, [format!("{at}[2]"), format!("{at}[2]")]);
}

#[test]
fn annotations_of_templates_are_checked_as_those_of_pods() {
    let template = json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "much"}}, "spec": pod(json!({}))["spec"]});
    let errors = kind("", "PodTemplate")
        .validate_create(&json!({"metadata": {"name": "t", "namespace": "n"}, "template": template}));
    assert_eq!(
        errors.message(),
        "template.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"much\": must be a 32bit integer"
    );
}

#[test]
fn what_would_be_refused_today_stays_where_it_is() {
    let plain = pod(json!({}));
    let old = pod(
        json!({"securityContext": {"seLinuxChangePolicy": "MountOption"}, "containers": [{"name": "c", "image": "i",
        "resources": {"requests": {"cpu": "1", "hugepages-2Mi": "3Mi"}, "limits": {"cpu": "1", "hugepages-2Mi": "3Mi"}}}]}),
    );
    let refused = kind("", "Pod").validate_create(&old).message();
    assert!(
        refused.contains("supported values: \"Recursive\"") && refused.contains("multiple of hugepages-2Mi"),
        "{refused}"
    );
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"x": "y"});
    assert_eq!(update(&new, &old), "[]");
    assert!(update(&old, &plain).contains("supported values: \"Recursive\""));
}
