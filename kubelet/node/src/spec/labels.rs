//! The labels and annotations by which a kubelet finds its pods again after a restart. They are Kubernetes' own, so that `crictl`
//! shows pods by name. Pure.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::pod;

pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
pub const HASH: &str = "io.kubernetes.container.hash";
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
const CONTAINER_PORTS: &str = "io.kubernetes.container.ports";
const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";

fn pod_labels(pod: &Pod) -> HashMap<String, String> {
    [(POD_NAME, pod::name(pod)), (POD_NAMESPACE, pod::namespace(pod)), (POD_UID, pod::uid(pod))]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// A sandbox carries the pod's own labels too.
pub fn sandbox_labels(pod: &Pod) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.extend(pod_labels(pod));
    labels
}

/// A sandbox carries the pod's own annotations.
pub fn sandbox_annotations(pod: &Pod) -> HashMap<String, String> {
    pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect()
}

pub fn container_labels(pod: &Pod, container: &str) -> HashMap<String, String> {
    let mut labels = pod_labels(pod);
    labels.insert(CONTAINER_NAME.to_owned(), container.to_owned());
    labels
}

/// What a later life of the kubelet must know to judge and to stop this container.
pub fn container_annotations(pod: &Pod, container: &Container, restart_count: u32) -> HashMap<String, String> {
    let mut annotations = HashMap::from([
        (HASH.to_owned(), definition_hash(container)),
        (RESTART_COUNT.to_owned(), restart_count.to_string()),
        (MESSAGE_PATH.to_owned(), message_path(container).to_owned()),
        (MESSAGE_POLICY.to_owned(), container.termination_message_policy.clone().unwrap_or_else(|| "File".to_owned())),
    ]);
    if let Some(seconds) = pod::spec(pod).termination_grace_period_seconds {
        annotations.insert(GRACE_PERIOD.to_owned(), seconds.to_string());
    }
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    if let Some(ports) = container.ports.as_ref().filter(|ports| !ports.is_empty()) {
        annotations.insert(CONTAINER_PORTS.to_owned(), json(serde_json::to_string(ports)));
    }
    if let Some(handler) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()) {
        annotations.insert(PRE_STOP.to_owned(), json(serde_json::to_string(handler)));
    }
    annotations
}

/// Where the container writes its termination message, as it sees it.
pub fn message_path(container: &Container) -> &str {
    container.termination_message_path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/dev/termination-log")
}

/// The hash of what cannot change without a new container: its name and image, as in Kubernetes since 1.31. FNV-1a, 32 bits.
pub fn definition_hash(container: &Container) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    let text = serde_json::json!({ "name": container.name, "image": image }).to_string();
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}
