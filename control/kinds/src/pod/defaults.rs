//! Defaulting of Pods and of pod specs in templates, as `pkg/apis/core/v1/defaults.go` does it.
use crate::resources::{canonical_list, canonical_requirements};
use crate::value::{at, copy, default_to, default_zero, flag, int, items_at, object_at, set, text};
use serde_json::{Value, json};

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// A Pod: what every pod spec gets, and what only Pods get (requests from limits, service links, host ports).
pub(crate) fn pod(pod: &mut Value) {
    object_at(pod, "spec");
    if let Some(spec) = at(pod, &["spec"]) {
        for list in ["containers", "initContainers"] {
            items_at(spec, &[list]).iter_mut().for_each(requests_from_limits);
        }
        default_to(spec, "enableServiceLinks", true);
        if flag(&spec["hostNetwork"]) {
            for list in ["containers", "initContainers"] {
                items_at(spec, &[list]).iter_mut().for_each(host_ports);
            }
        }
    }
    if let Some(spec) = at(pod, &["spec"]) {
        pod_spec(spec);
        crate::resources::default_pod_level(spec);
    }
    if let Some(status) = at(pod, &["status"]) {
        status_ips(status);
    }
}

/// The template of a workload.
pub(crate) fn template(template: &mut Value) {
    if template.is_object() {
        object_at(template, "spec");
        if let Some(spec) = at(template, &["spec"]) {
            pod_spec(spec);
        }
    }
}

fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container["resources"]["limits"].as_object().cloned() else { return };
    if let Some(resources) = at(container, &["resources"])
        && let Some(requests) = object_at(resources, "requests")
    {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

fn host_ports(container: &mut Value) {
    for port in items_at(container, &["ports"]) {
        let number = int(&port["containerPort"]);
        default_zero(port, "hostPort", number);
    }
}

/// podIP is the first of podIPs, whichever the kubelet wrote.
fn status_ips(status: &mut Value) {
    let ip = text(&status["podIP"]).to_owned();
    if crate::value::is_empty(&status["podIPs"]) {
        if !ip.is_empty() {
            set(status, "podIPs", json!([{"ip": ip}]));
        }
    } else if let Some(first) = status["podIPs"][0].get("ip").cloned() {
        set(status, "podIP", first);
    }
}

fn pod_spec(spec: &mut Value) {
    default_zero(spec, "restartPolicy", "Always");
    default_to(spec, "terminationGracePeriodSeconds", 30);
    default_zero(spec, "dnsPolicy", "ClusterFirst");
    mirror_service_account(spec);
    default_to(spec, "securityContext", json!({}));
    default_zero(spec, "schedulerName", "default-scheduler");
    if let Some(overhead) = at(spec, &["overhead"]) {
        canonical_list(overhead);
    }
    items_at(spec, &["volumes"]).iter_mut().for_each(volume);
    for list in CONTAINER_LISTS {
        items_at(spec, &[list]).iter_mut().for_each(container);
    }
    if let Some(resources) = at(spec, &["resources"]) {
        canonical_requirements(resources);
    }
}

/// `serviceAccount` is the deprecated alias of `serviceAccountName`.
pub(crate) fn mirror_service_account(spec: &mut Value) {
    if text(&spec["serviceAccountName"]).is_empty() {
        let alias = text(&spec["serviceAccount"]).to_owned();
        if !alias.is_empty() {
            set(spec, "serviceAccountName", alias);
        }
    } else {
        let name = spec["serviceAccountName"].clone();
        set(spec, "serviceAccount", name);
    }
}

/// A container of any list.
fn container(container: &mut Value) {
    for port in items_at(container, &["ports"]) {
        default_zero(port, "protocol", "TCP");
    }
    for env in items_at(container, &["env"]) {
        if let Some(field) = at(env, &["valueFrom", "fieldRef"]) {
            default_zero(field, "apiVersion", "v1");
        }
        if let Some(resource) = at(env, &["valueFrom", "resourceFieldRef"]) {
            divisor(resource);
        }
        if let Some(file) = at(env, &["valueFrom", "fileKeyRef"]) {
            default_to(file, "optional", false);
        }
    }
    object_at(container, "resources");
    if let Some(resources) = at(container, &["resources"]) {
        canonical_requirements(resources);
    }
    for probe_name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(value) = at(container, &[probe_name]) {
            probe(value);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(get) = at(container, &["lifecycle", hook, "httpGet"]) {
            http_get(get);
        }
    }
    default_zero(container, "terminationMessagePath", "/dev/termination-log");
    default_zero(container, "terminationMessagePolicy", "File");
    let policy = pull_policy(text(&container["image"]));
    default_zero(container, "imagePullPolicy", policy);
}

fn divisor(resource: &mut Value) {
    if resource["divisor"].is_null() {
        set(resource, "divisor", "0");
    } else {
        crate::resources::canonical(&mut resource["divisor"]);
    }
}

fn probe(probe: &mut Value) {
    if let Some(get) = at(probe, &["httpGet"]) {
        http_get(get);
    }
    if let Some(grpc) = at(probe, &["grpc"]) {
        default_to(grpc, "service", "");
    }
    default_zero(probe, "timeoutSeconds", 1);
    default_zero(probe, "periodSeconds", 10);
    default_zero(probe, "successThreshold", 1);
    default_zero(probe, "failureThreshold", 3);
}

fn http_get(get: &mut Value) {
    default_zero(get, "path", "/");
    default_zero(get, "scheme", "HTTP");
}

/// `Always` for the tag latest (or none), `IfNotPresent` for any other and for a digest.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    };
    let readable = is_repository(repository) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
    if readable && (tag == Some("latest") || (tag.is_none() && digest.is_none())) { "Always" } else { "IfNotPresent" }
}

/// A registry's host and port, unless it is left out, and a path of lower-case parts.
fn is_repository(repository: &str) -> bool {
    let (host, path) = match repository.split_once('/') {
        Some((host, path))
            if host.contains(['.', ':']) || host == "localhost" || host.contains(|c: char| c.is_ascii_uppercase()) =>
        {
            (host, path)
        }
        _ => ("docker.io", repository),
    };
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "0"));
    let is_host = name.split('.').all(|part| {
        let word = |c: char| c.is_ascii_alphanumeric();
        part.starts_with(word) && part.ends_with(word) && part.chars().all(|c| word(c) || c == '-')
    });
    (is_host || name.starts_with('['))
        && !port.is_empty()
        && port.bytes().all(|c| c.is_ascii_digit())
        && host.len() + path.len() < 255
        && path.split('/').all(is_path_part)
}

/// Words of lower-case letters and digits with `.`, `_`, `__` or dashes between them.
fn is_path_part(part: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separated = part.split(word).filter(|separator| !separator.is_empty());
    part.starts_with(word)
        && part.ends_with(word)
        && separated
            .into_iter()
            .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|c| c == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128 && tag.starts_with(word) && tag.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && hex.len() >= 32
            && hex.bytes().all(|c| c.is_ascii_hexdigit())
    })
}

/// A volume: an emptyDir when it names no source, and each source's own defaults.
fn volume(volume: &mut Value) {
    let Some(map) = volume.as_object_mut() else { return };
    if map.iter().all(|(key, value)| key == "name" || value.is_null()) {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    volume_source(volume);
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = at(volume, &[source]) {
            default_to(source, "defaultMode", 420);
        }
    }
    if let Some(path) = at(volume, &["hostPath"]) {
        default_to(path, "type", "");
    }
    items_at(volume, &["downwardAPI", "items"]).iter_mut().for_each(downward_item);
    for source in items_at(volume, &["projected", "sources"]) {
        items_at(source, &["downwardAPI", "items"]).iter_mut().for_each(downward_item);
        if let Some(token) = at(source, &["serviceAccountToken"]) {
            default_to(token, "expirationSeconds", 3600);
        }
    }
    if let Some(limit) = at(volume, &["emptyDir", "sizeLimit"]) {
        crate::resources::canonical(limit);
    }
    if let Some(spec) = at(volume, &["ephemeral", "volumeClaimTemplate", "spec"]) {
        crate::storage::default_claim_spec(spec);
    }
    if let Some(image) = at(volume, &["image"]) {
        let policy = pull_policy(text(&image["reference"]));
        default_zero(image, "pullPolicy", policy);
    }
}

/// The defaults that pod volumes and PersistentVolumes share.
pub(crate) fn volume_source(volume: &mut Value) {
    const DEFAULTS: &[(&str, &[(&str, &str)])] = &[
        ("iscsi", &[("iscsiInterface", "default")]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("fsType", "ext4"), ("kind", "Shared")]),
    ];
    for (name, fields) in DEFAULTS {
        if let Some(source) = at(volume, &[name]) {
            for &(field, value) in *fields {
                // Those of azureDisk are pointers in Go: what is empty stays so, and is refused.
                let default = if *name == "azureDisk" { default_to } else { default_zero };
                default(source, field, value);
            }
        }
    }
    if let Some(disk) = at(volume, &["azureDisk"]) {
        default_to(disk, "readOnly", false);
    }
}

fn downward_item(item: &mut Value) {
    if let Some(field) = at(item, &["fieldRef"]) {
        default_zero(field, "apiVersion", "v1");
    }
    if let Some(resource) = at(item, &["resourceFieldRef"]) {
        divisor(resource);
    }
}

/// Keeps the alias fields of a stored Pod in step after admission has written one of them.
pub(crate) fn mirror(pod: &mut Value) {
    if let Some(spec) = at(pod, &["spec"]) {
        mirror_service_account(spec);
        if spec["serviceAccountName"].is_null() {
            copy(spec, &Value::Null, "serviceAccount");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_pod_becomes_what_kubernetes_stores() {
        let mut object = json!({"spec": {"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}],
            "livenessProbe": {"httpGet": {"port": 80}}, "resources": {"limits": {"cpu": 0.1, "memory": "0.5Gi"}},
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}],
            "volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "x"}},
                {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}});
        pod(&mut object);
        assert_eq!(
            object["spec"],
            json!({
            "containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "resources": {"limits": {"cpu": "100m", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "512Mi"}},
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP", "apiVersion": "v1"}}}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}],
            "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "x", "defaultMode": 420}},
                {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}], "defaultMode": 420}}],
            "enableServiceLinks": true, "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler"})
        );
        let once = object.clone();
        pod(&mut object);
        assert_eq!(object, once, "defaulting twice changes nothing");
    }

    #[test]
    fn the_pull_policy_follows_the_tag() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.25", "IfNotPresent"),
            ("registry:5000/nginx", "Always"),
            ("registry:5000/nginx:v1", "IfNotPresent"),
            ("nginx@sha256:aaaa", "IfNotPresent"),
            ("nginx:latest@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "Always"),
            ("nginx:latest@sha256:aaaa", "IfNotPresent"),
            ("My_Registry.io/a", "IfNotPresent"),
            ("a b", "IfNotPresent"),
            ("a__b/c--d", "Always"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn templates_get_no_service_links_and_no_requests() {
        let mut object = json!({"spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "a:1", "ports": [{"containerPort": 1}], "resources": {"limits": {"cpu": "1"}}}]}});
        template(&mut object);
        assert!(object["spec"]["enableServiceLinks"].is_null());
        assert!(object["spec"]["containers"][0]["resources"]["requests"].is_null());
        assert!(object["spec"]["containers"][0]["ports"][0]["hostPort"].is_null());
    }

    #[test]
    fn host_network_takes_host_ports_and_the_alias_follows() {
        let mut object = json!({"spec": {"hostNetwork": true, "serviceAccount": "sa", "containers": [{"name": "c", "image": "a:1", "ports": [{"containerPort": 80}]}]}});
        pod(&mut object);
        assert_eq!(object["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
        assert_eq!(object["spec"]["serviceAccountName"], "sa");
    }
}
