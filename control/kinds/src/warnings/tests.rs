use crate::{Subresource, kind};
use serde_json::{Value, json};

fn created(group: &str, name: &str, object: Value) -> Vec<String> {
    kind(group, name).warnings(&object, &Value::Null, Subresource::None)
}

fn pod(spec: Value) -> Vec<String> {
    created("", "Pod", json!({"metadata": {"name": "p"}, "spec": spec}))
}

/// Cases of Kubernetes' `TestWarnings` (`pkg/api/pod`).
#[test]
fn pods_are_warned_of_what_is_deprecated_or_hidden() {
    assert_eq!(pod(json!({"containers": [{"name": "c", "image": "i"}]})), [""; 0]);
    assert_eq!(
        pod(json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}})),
        [r#"spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead"#]
    );
    assert_eq!(
        pod(json!({"volumes": [{"name": "g", "gitRepo": {}}, {"name": "s", "storageos": {}}]})),
        [
            "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
            "spec.volumes[1].storageOS: deprecated in v1.22, non-functional in v1.25+"
        ]
    );
    assert_eq!(
        pod(
            json!({"containers": [{"env": [{"name": "a", "value": "1"}, {"name": "a", "value": "$(a)2"}, {"name": "a", "value": "3"}],
            "resources": {"limits": {"memory": "1500m"}}}]})
        ),
        [
            r#"spec.containers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer"#,
            r#"spec.containers[0].env[2]: hides previous definition of "a", which may be dropped when using apply"#
        ]
    );
    assert_eq!(
        pod(json!({"imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}], "terminationGracePeriodSeconds": -1})),
        [
            r#"spec.imagePullSecrets[1].name: duplicate name "a""#,
            r#"spec.imagePullSecrets[2].name: invalid empty name """#,
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ]
    );
    assert_eq!(
        pod(
            json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": {"topologyKey": "z"}}]}}})
        ),
        [
            "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod"
        ]
    );
}

#[test]
fn ports_that_overlap_are_told_apart() {
    let port = |host: i64, ip: &str, name: &str| json!({"containerPort": 80, "protocol": "TCP", "hostPort": host, "hostIP": ip, "name": name});
    let two = |a: Value, b: Value| pod(json!({"containers": [{"ports": [a]}, {"ports": [b]}]}));
    let at = "spec.containers[1].ports[0]";
    let other = "spec.containers[0].ports[0]";
    assert_eq!(two(port(0, "", ""), port(0, "", "")), [format!("{at}: duplicate port definition with {other}")]);
    assert_eq!(two(port(0, "", ""), port(81, "", "")), [format!("{at}: overlapping port definition with {other}")]);
    assert_eq!(
        two(port(80, "10.0.0.1", ""), port(80, "", "")),
        [format!("{at}: dangerously ambiguous port definition with {other}")]
    );
    assert_eq!(two(port(80, "10.0.0.1", ""), port(80, "10.0.0.2", "")), [""; 0]);
    assert_eq!(
        two(port(1, "", "web"), port(2, "", "web")),
        [format!(
            "{at}: duplicate port name \"web\" with {other}, services and probes that select ports by name will use {other}"
        )]
    );
    assert_eq!(
        pod(json!({"containers": [{"ports": [port(0, "10.0.0.1", "")]}]})),
        [format!(
            "{other}: hostIP set without hostPort: {{Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:10.0.0.1}}"
        )]
    );
}

#[test]
fn files_of_a_volume_do_not_lie_in_one_another() {
    let item = |path: &str| json!({"key": "k", "path": path});
    assert_eq!(
        pod(
            json!({"volumes": [{"name": "v", "configMap": {"name": "c", "items": [item("a"), item("a/b"), item("ab")]}}]})
        ),
        [r#"volume "v" (ConfigMap "c"): overlapping paths: "a/b" with "a""#]
    );
    assert_eq!(
        pod(
            json!({"volumes": [{"name": "v", "projected": {"sources": [{}, {"secret": {"name": "s", "items": [item("t")]}}, {"serviceAccountToken": {"path": "t"}}]}}]})
        ),
        [
            r#"volume "v" (Projected) has no sources provided"#,
            r#"volume "v" (Projected): overlapping paths: "t" (ServiceAccountToken) with "t" (Secret "s")"#
        ]
    );
}

#[test]
fn app_armor_annotations_are_warned_of_where_no_field_says_the_same() {
    let annotated = |spec: Value| json!({"metadata": {"name": "p", "annotations": {"container.apparmor.security.beta.kubernetes.io/c": "runtime/default"}}, "spec": spec});
    let warning = r#"metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the "appArmorProfile" field instead"#;
    let mut object = annotated(json!({"containers": [{"name": "c", "image": "i"}]}));
    kind("", "Pod").prepare_create(&mut object);
    assert_eq!(
        object["spec"]["containers"][0]["securityContext"]["appArmorProfile"],
        json!({"type": "RuntimeDefault"})
    );
    assert_eq!(created("", "Pod", object), [warning]);
    let template = annotated(json!({"containers": [{"name": "c"}]}));
    assert_eq!(
        created("apps", "Deployment", json!({"metadata": {"name": "d"}, "spec": {"template": template}})),
        [format!("spec.template.{warning}")]
    );
}

#[test]
fn names_that_are_no_labels_make_surprising_host_names() {
    let found = created("apps", "ReplicaSet", json!({"metadata": {"name": "a.b"}}));
    assert_eq!(
        found,
        [
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
        ]
    );
}

#[test]
fn an_update_that_changes_no_spec_is_not_warned_of() {
    let template = json!({"spec": {"nodeSelector": {"beta.kubernetes.io/os": "x"}}});
    let old = json!({"metadata": {"name": "d", "generation": 1}, "spec": {"template": template}});
    let mut new = old.clone();
    let rules = kind("apps", "Deployment");
    assert_eq!(rules.warnings(&new, &old, Subresource::None), [""; 0]);
    new["metadata"]["generation"] = 2.into();
    assert_eq!(rules.warnings(&new, &old, Subresource::None).len(), 1);
    assert_eq!(rules.warnings(&new, &old, Subresource::Status), [""; 0]);
}

/// Cases of Kubernetes' `TestGetWarningsForService` and `TestGetWarningsForIP`.
#[test]
fn services_are_warned_of_fields_that_say_nothing() {
    let service = |spec: Value| created("", "Service", json!({"spec": spec}));
    assert_eq!(
        service(
            json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "ClientIP", "externalIPs": ["1.2.3.4"]})
        ),
        ["spec.externalIPs is ignored for headless services", "spec.SessionAffinity is ignored for headless services"]
    );
    assert_eq!(
        service(json!({"type": "ClusterIP", "externalIPs": ["2001:db8:0:0::1"]})),
        [
            r#"spec.externalIPs[0]: IPv6 address "2001:db8:0:0::1" should be in RFC 5952 canonical format ("2001:db8::1")"#,
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
        ]
    );
    assert_eq!(
        service(
            json!({"type": "LoadBalancer", "loadBalancerIP": "::ffff:1.2.3.4", "loadBalancerSourceRanges": ["10.0.0.1/8", "010.0.0.0/8", "2001:DB8::/32"]})
        ),
        [
            r#"spec.loadBalancerIP: non-standard IP address "::ffff:1.2.3.4" is invalid: use "1.2.3.4""#,
            r#"spec.loadBalancerSourceRanges[0]: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)"#,
            r#"spec.loadBalancerSourceRanges[1]: non-standard CIDR value "010.0.0.0/8" is invalid: use "10.0.0.0/8""#,
            r#"spec.loadBalancerSourceRanges[2]: IPv6 CIDR value "2001:DB8::/32" should be in RFC 5952 canonical format ("2001:db8::/32")"#
        ]
    );
}

#[test]
fn volumes_quotas_and_secrets_have_warnings_of_their_own() {
    assert_eq!(
        created("", "PersistentVolume", json!({"spec": {"persistentVolumeReclaimPolicy": "Recycle", "rbd": {}}})),
        [
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
            "spec.rbd: deprecated in v1.28, non-functional in v1.31+"
        ]
    );
    assert_eq!(
        created("", "PersistentVolumeClaim", json!({"spec": {"resources": {"requests": {"storage": "1500m"}}}})),
        [r#"spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer"#]
    );
    assert_eq!(
        created("", "ResourceQuota", json!({"spec": {"hard": {"cpu": "2", "limits.cpu": "1"}}})),
        ["ResourceQuota cpu (2) should be less than limits.cpu (1)"]
    );
    assert_eq!(
        created("", "Secret", json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "eA==", "tls.key": "eA=="}})),
        ["tls: failed to find any PEM data in certificate input"]
    );
}

#[test]
fn very_many_warnings_are_cut_and_cheap() {
    let ports = |ip: &str, hosts: i64| -> Value {
        (0..20_000)
            .map(|at| json!({"containerPort": 80, "protocol": "TCP", "hostPort": at % hosts, "hostIP": ip}))
            .collect()
    };
    assert_eq!(pod(json!({"containers": [{"ports": ports("", 1)}]})).len(), 64);
    assert_eq!(pod(json!({"containers": [{"ports": ports("10.0.0.1", 20_000)}]})).len(), 64);
    let distinct: Value =
        (1..20_000).map(|port| json!({"containerPort": 80, "protocol": "TCP", "hostPort": port})).collect();
    assert_eq!(pod(json!({"containers": [{"ports": distinct}]})), [""; 0]);
    let files = |path: fn(usize) -> String| -> Value { (0..20_000).map(|at| json!({"path": path(at)})).collect() };
    let volume = |items: Value| pod(json!({"volumes": [{"name": "v", "configMap": {"name": "c", "items": items}}]}));
    assert_eq!(volume(files(|_| "same".to_owned())).len(), 64);
    assert_eq!(volume(files(|at| format!("{}/{}/f", at % 100, at / 100))), [""; 0]);
    let begins = "-----BEGIN CERTIFICATE-----\n".repeat(50_000);
    let certificate = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, begins);
    assert_eq!(
        created("", "Secret", json!({"type": "kubernetes.io/tls", "data": {"tls.crt": certificate}})),
        ["tls: failed to find any PEM data in certificate input"]
    );
}

#[test]
fn files_collide_above_and_below_and_with_nothing_beside() {
    let items: Value =
        ["a/b/c", "a/b.d", "a/x", "a-", "a", "a/b"].map(|path| json!({"path": path})).into_iter().collect();
    let found = pod(json!({"volumes": [{"name": "v", "configMap": {"name": "c", "items": items}}]}));
    let pair =
        |one: &str, other: &str| format!(r#"volume "v" (ConfigMap "c"): overlapping paths: "{one}" with "{other}""#);
    assert_eq!(
        found,
        [pair("a", "a/b/c"), pair("a", "a/b.d"), pair("a", "a/x"), pair("a/b", "a/b/c"), pair("a/b", "a")]
    );
}
