//! Events about the Node and its Services: what kube-proxy tells the cluster.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

/// The reporting controller.
const CONTROLLER: &str = "kube-proxy";

/// Tells without waiting for it: an API server that is away, or a right that is lacking, holds nothing up.
#[derive(Clone)]
pub(crate) struct Events {
    recorder: Recorder,
    node: String,
}

impl Events {
    /// Of the proxy of a node.
    pub fn new(client: kube::Client, node: &str) -> Self {
        let reporter = Reporter { controller: CONTROLLER.into(), instance: Some(format!("{CONTROLLER}-{node}")) };
        Self { recorder: Recorder::new(client, reporter), node: node.into() }
    }

    /// The proxy of this node starts.
    pub fn starting(&self) {
        let about = reference("Node", None, &self.node);
        self.tell(about, EventType::Normal, "Starting", "StartKubeProxy", None);
    }

    /// The port of a Service's health check cannot be had on this node: says so of the Service, and gives the words.
    pub fn health_check_refused(&self, service: &str, port: u16, why: &str) -> String {
        let (namespace, name) = service.split_once('/').unwrap_or(("default", service));
        let note = format!("node {} failed to start healthcheck {service:?} on port {port}: {why}", self.node);
        let about = reference("Service", Some(namespace), name);
        self.tell(about, EventType::Warning, "FailedToStartServiceHealthcheck", "Listen", Some(note.clone()));
        note
    }

    fn tell(&self, about: ObjectReference, type_: EventType, reason: &str, action: &str, note: Option<String>) {
        let event = Event { type_, reason: reason.into(), note, action: action.into(), secondary: None };
        let recorder = self.recorder.clone();
        tokio::spawn(async move {
            if let Err(error) = recorder.publish(&event, &about).await {
                tracing::debug!(%error, reason = event.reason, "an Event cannot be told");
            }
        });
    }
}

fn reference(kind: &str, namespace: Option<&str>, name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some(kind.into()),
        namespace: namespace.map(str::to_owned),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}
