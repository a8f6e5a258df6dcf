//! Events about the Node: what kube-proxy tells the cluster.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

/// The reporting controller.
const CONTROLLER: &str = "kube-proxy";
const ACTION: &str = "StartKubeProxy";

/// Tells that the proxy of this node starts, without waiting for it: an API server that is away, or a right that is lacking,
/// is no reason not to.
pub(crate) fn starting(client: kube::Client, node: &str) {
    let node = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Node".into()),
        name: Some(node.to_owned()),
        ..ObjectReference::default()
    };
    tokio::spawn(async move {
        let instance = node.name.as_ref().map(|name| format!("{CONTROLLER}-{name}"));
        let recorder = Recorder::new(client, Reporter { controller: CONTROLLER.into(), instance });
        let event = Event {
            type_: EventType::Normal,
            reason: "Starting".into(),
            note: None,
            action: ACTION.into(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &node).await {
            tracing::debug!(%error, "cannot tell that the proxy starts");
        }
    });
}
