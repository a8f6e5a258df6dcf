use super::*;
use crate::kind;
use serde_json::json;

/// A defaulted Service with these members of its spec replaced, as the allocator leaves it.
fn service(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "s", "namespace": "n", "resourceVersion": "1"}, "spec": {
        "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "selector": {"app": "web"}, "ports": [{"port": 80}]}});
    for (key, value) in crate::value::entries(&spec) {
        object["spec"][key] = value.clone();
    }
    kind("", "Service").default("v1", &mut object);
    object
}

fn create(spec: Value) -> String {
    kind("", "Service").validate_create(&service(spec)).message()
}

#[test]
fn every_type_has_a_valid_form() {
    for spec in [
        json!({}),
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "targetPort": "http"}]}),
        json!({"type": "LoadBalancer", "loadBalancerClass": "x.io/y", "loadBalancerSourceRanges": ["10.0.0.0/8"]}),
        json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": null}),
        json!({"type": "ExternalName", "externalName": "a.b.", "clusterIP": null, "clusterIPs": null, "ipFamilies": null, "ipFamilyPolicy": null}),
        json!({"sessionAffinity": "ClientIP", "externalIPs": ["1.2.3.4"], "ports": [{"name": "a", "port": 53, "protocol": "UDP"}, {"name": "b", "port": 53}]}),
    ] {
        assert_eq!(create(spec.clone()), "[]", "{spec}");
    }
}

#[test]
fn faults_are_named_as_kubernetes_names_them() {
    for (spec, message) in [
        (json!({"ports": []}), "spec.ports: Required value"),
        (
            json!({"type": "Foo"}),
            "[spec.type: Unsupported value: \"Foo\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"]",
        ),
        (
            json!({"ports": [{"port": 0, "targetPort": 1}]}),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (json!({"ports": [{"port": 1}, {"port": 2, "name": "b"}]}), "spec.ports[0].name: Required value"),
        (
            json!({"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]}),
            "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":1,\"TargetPort\":0,\"NodePort\":0}",
        ),
        (
            json!({"ports": [{"port": 1, "nodePort": 30000}]}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            json!({"type": "NodePort", "clusterIP": "None", "clusterIPs": ["None"]}),
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ),
        (
            json!({"sessionAffinity": "Cookie"}),
            "spec.sessionAffinity: Unsupported value: \"Cookie\": supported values: \"ClientIP\", \"None\"",
        ),
        (
            json!({"clusterIP": "10.96.0.11"}),
            "spec.clusterIPs: Invalid value: [\"10.96.0.10\"]: first value must match `clusterIP`",
        ),
        (
            json!({"ipFamilies": ["IPv6"]}),
            "spec.clusterIPs[0]: Invalid value: \"10.96.0.10\": expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        (
            json!({"externalTrafficPolicy": "Local"}),
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ),
        (
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 70000}),
            "spec.healthCheckNodePort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"externalIPs": ["127.0.0.1"]}),
            "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            json!({"loadBalancerSourceRanges": ["10.0.0.1/8"]}),
            "[spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer', spec.LoadBalancerSourceRanges[0]: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length]",
        ),
    ] {
        let shown = create(spec);
        assert_eq!(shown.trim_matches(['[', ']']), message.trim_matches(['[', ']']));
    }
}

#[test]
fn the_primary_address_stays() {
    let rules = kind("", "Service");
    let old = service(json!({}));
    let new = service(json!({"clusterIP": "10.96.0.11", "clusterIPs": ["10.96.0.11"]}));
    assert_eq!(
        rules.validate_update(&new, &old, Subresource::None).message(),
        "spec.clusterIPs[0]: Invalid value: [\"10.96.0.11\"]: may not change once set"
    );
    let gone = service(json!({"clusterIP": null, "clusterIPs": null}));
    assert!(
        rules
            .validate_update(&gone, &old, Subresource::None)
            .message()
            .contains("spec.clusterIPs[0]: Invalid value: null: primary clusterIP can not be unset")
    );
    let dual = service(
        json!({"clusterIPs": ["10.96.0.10", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}),
    );
    assert_eq!(rules.validate_update(&dual, &old, Subresource::None).message(), "[]");
    assert_eq!(rules.validate_update(&old, &dual, Subresource::None).message(), "[]");
}

#[test]
fn only_load_balancers_report_an_ingress() {
    let rules = kind("", "Service");
    let mut new = service(json!({}));
    new["status"] = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}});
    assert_eq!(
        rules.validate_update(&new, &new, Subresource::Status).message(),
        "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
    );
}
