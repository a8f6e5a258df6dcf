//! Fields of pod specs whose feature gates are off in Kubernetes v1.36: they are dropped, as kube-apiserver drops them, unless
//! the stored object has them already.
use crate::value::{at, items, items_at, remove};
use serde_json::Value;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Where a kind keeps the spec of its pods.
fn spec_path(group: &str, kind: &str) -> Option<&'static [&'static str]> {
    Some(match (group, kind) {
        ("", "Pod") => &["spec"],
        ("", "PodTemplate") => &["template", "spec"],
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template", "spec"],
        ("", "ReplicationController") | ("batch", "Job") => &["spec", "template", "spec"],
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet") => &["spec", "template", "spec"],
        _ => return None,
    })
}

/// Drops them from an object of any kind; `old` is null on creation.
pub(crate) fn drop_fields(group: &str, kind: &str, object: &mut Value, old: &Value) {
    let Some(path) = spec_path(group, kind) else { return };
    let before = path.iter().fold(old, |value, key| &value[*key]);
    let Some(spec) = at(object, path) else { return };
    // GenericWorkload
    if before["schedulingGroup"].is_null() {
        remove(spec, "schedulingGroup");
    }
    // ContainerStopSignals
    if !has_stop_signal(before) {
        for list in LISTS {
            for container in items_at(spec, &[list]) {
                let Some(lifecycle) = at(container, &["lifecycle"]) else { continue };
                if remove(lifecycle, "stopSignal").is_some() && crate::value::is_empty(lifecycle) {
                    remove(container, "lifecycle");
                }
            }
        }
    }
    // ClusterTrustBundleProjection, PodCertificateRequest
    for source in ["clusterTrustBundle", "podCertificate"] {
        if !projects(before, source) {
            for volume in items_at(spec, &["volumes"]) {
                items_at(volume, &["projected", "sources"]).iter_mut().for_each(|one| {
                    remove(one, source);
                });
            }
        }
    }
}

fn has_stop_signal(spec: &Value) -> bool {
    LISTS.iter().any(|list| items(&spec[*list]).iter().any(|one| !one["lifecycle"]["stopSignal"].is_null()))
}

fn projects(spec: &Value, source: &str) -> bool {
    items(&spec["volumes"])
        .iter()
        .any(|volume| items(&volume["projected"]["sources"]).iter().any(|one| !one[source].is_null()))
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::json;

    #[test]
    fn fields_behind_closed_gates_are_dropped_unless_they_are_stored() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"schedulingGroup": {"podGroupName": "g"},
            "containers": [{"name": "c", "lifecycle": {"stopSignal": "SIGUSR1"}}],
            "volumes": [{"name": "v", "projected": {"sources": [{"clusterTrustBundle": {"name": "b", "path": "p"}}, {"podCertificate": {}}]}}]}});
        let mut new = pod.clone();
        kind("", "Pod").prepare_create(&mut new);
        assert_eq!(
            new["spec"],
            json!({"containers": [{"name": "c"}], "volumes": [{"name": "v", "projected": {"sources": [{}, {}]}}]})
        );
        let mut kept = pod.clone();
        kind("", "Pod").prepare_update(&mut kept, &pod, Subresource::None);
        assert_eq!(kept["spec"], pod["spec"]);
    }
}
