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
    use super::is_restricted;

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
