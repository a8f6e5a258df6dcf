//! `NodeRestriction`: a kubelet writes its own Node and its own pods, and takes no label that decides where others run
//! (`plugin/pkg/admission/noderestriction`).

use serde_json::Value;

use crate::object::meta;
use crate::rest::Call;
use crate::status::Status;

/// Labels of `kubernetes.io` and `k8s.io` that a kubelet may set on its Node.
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

pub(super) fn validate(call: &Call, object: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
    let Some(node) = orlop_auth::node_name(&call.user) else { return Ok(()) };
    let resource = &call.resource;
    let any = object.or(old).unwrap_or(&Value::Null);
    let refuse = |why: String| Err(Status::forbidden(&resource.group, &resource.plural, meta(any, "name"), why));
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => {
            let bound = any["spec"]["nodeName"].as_str().unwrap_or_default();
            let mirror = any["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some();
            match old {
                None if !mirror => refuse(format!(
                    "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"{node}\" can only create mirror pods"
                )),
                None if bound != node => {
                    refuse(format!("node \"{node}\" can only create pods with spec.nodeName set to itself"))
                }
                None => match referenced(any) {
                    Some(what) => refuse(format!("node \"{node}\" can not create pods that reference {what}")),
                    None => Ok(()),
                },
                Some(_) if bound != node && object.is_none() => {
                    refuse(format!("node \"{node}\" can only delete pods with spec.nodeName set to itself"))
                }
                Some(_) if bound != node => refuse(format!(
                    "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
                )),
                _ => Ok(()),
            }
        }
        ("", "nodes") => {
            if meta(any, "name") != node {
                return refuse(format!("node \"{node}\" is not allowed to modify node \"{}\"", meta(any, "name")));
            }
            let Some(object) = object else { return Ok(()) };
            if let Some(old) = old
                && object["spec"]["taints"] != old["spec"]["taints"]
            {
                return refuse(format!("node \"{node}\" is not allowed to modify taints"));
            }
            let none = Value::Null;
            let before = old.map_or(&none, |o| &o["metadata"]["labels"]);
            let mut changed: Vec<&str> = object["metadata"]["labels"]
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(key, value)| before.get(key.as_str()) != Some(*value) && is_restricted(key))
                .map(|(key, _)| key.as_str())
                .collect();
            changed.sort_unstable();
            if changed.is_empty() {
                Ok(())
            } else {
                refuse(format!("is not allowed to modify labels: {}", changed.join(", ")))
            }
        }
        ("coordination.k8s.io", "leases") if object.is_some() => {
            if meta(any, "namespace") != "kube-node-lease" {
                return refuse("can only access leases in the \"kube-node-lease\" system namespace".into());
            }
            if meta(any, "name") != node {
                return refuse("can only access node lease with the same name as the requesting node".into());
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What a pod refers to that a kubelet may read once the pod is bound to its node. A mirror pod must not: the kubelet could read
/// whatever it likes.
fn referenced(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    if !spec["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
        return Some("a service account");
    }
    if !list(&spec["imagePullSecrets"]).is_empty() {
        return Some("secrets");
    }
    if !list(&spec["resourceClaims"]).is_empty() {
        return Some("resourceclaims");
    }
    let volumes = list(&spec["volumes"]);
    let projected = volumes.iter().flat_map(|volume| list(&volume["projected"]["sources"]));
    let containers = ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|c| list(&spec[c]));
    let environment = containers.flat_map(|container| {
        let values = list(&container["env"]).into_iter().map(|variable| variable["valueFrom"].clone());
        values.chain(list(&container["envFrom"])).collect::<Vec<_>>()
    });
    let sources: Vec<Value> = volumes.iter().cloned().chain(projected).chain(environment).collect();
    sources.iter().find_map(|source| source.as_object()?.iter().find_map(|(name, inner)| what(name, inner)))
}

/// What a volume, a projection or an environment's source refers to.
fn what(source: &str, inner: &Value) -> Option<&'static str> {
    match source {
        _ if inner.is_null() => None,
        "secret" | "secretRef" | "secretKeyRef" => Some("secrets"),
        "configMap" | "configMapRef" | "configMapKeyRef" => Some("configmaps"),
        "persistentVolumeClaim" | "ephemeral" => Some("persistentvolumeclaims"),
        "serviceAccountToken" => Some("service account tokens"),
        "clusterTrustBundle" => Some("clustertrustbundles"),
        "podCertificate" => Some("pod certificates"),
        // Drivers of other volumes take a secret by reference.
        _ if !inner["secretRef"].is_null()
            || !inner["nodePublishSecretRef"].is_null()
            || !inner["secretName"].is_null() =>
        {
            Some("secrets")
        }
        _ => None,
    }
}

fn is_restricted(label: &str) -> bool {
    if OWN_LABELS.contains(&label) {
        return false;
    }
    let Some((domain, _)) = label.split_once('/') else { return false };
    let within = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|d| d.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    if within("kubelet.kubernetes.io") || within("node.kubernetes.io") {
        return false;
    }
    within("kubernetes.io") || within("k8s.io")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{is_restricted, referenced};

    #[test]
    fn a_mirror_pod_that_refers_to_other_objects_is_found_out() {
        for spec in [
            json!({"serviceAccountName": "admin"}),
            json!({"imagePullSecrets": [{"name": "s"}]}),
            json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
            json!({"volumes": [{"name": "v", "configMap": {"name": "s"}}]}),
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]}),
            json!({"volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "s"}}}]}),
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]}),
            json!({"initContainers": [{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}]}),
            json!({"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"key": "k"}}}]}]}),
        ] {
            assert!(referenced(&json!({"spec": spec})).is_some(), "{spec}");
        }
        let own = json!({
            "containers": [{"name": "c", "env": [
                {"name": "A", "value": "b"}, {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ]}],
            "volumes": [{"name": "h", "hostPath": {"path": "/etc"}}, {"name": "e", "emptyDir": {}}],
        });
        assert_eq!(referenced(&json!({"spec": own})), None);
    }

    #[test]
    fn only_labels_that_steer_pods_are_kept_from_kubelets() {
        for free in
            ["kubernetes.io/hostname", "kubelet.kubernetes.io/x", "node.kubernetes.io/x", "example.com/x", "plain"]
        {
            assert!(!is_restricted(free), "{free}");
        }
        for kept in ["node-restriction.kubernetes.io/x", "node-role.kubernetes.io/control-plane", "foo.k8s.io/x"] {
            assert!(is_restricted(kept), "{kept}");
        }
    }
}
