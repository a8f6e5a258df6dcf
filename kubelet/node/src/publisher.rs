//! Sends a pod's status to the API server: what differs, as a merge patch, with the pod's UID as precondition. While one patch is
//! on its way newer statuses replace each other, and no pod sends more than its share.

mod merge_patch;
mod rate;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::pod;
use crate::pods::Known;
use crate::watches::Reconnected;
use crate::within::{CALL, still_has, within};
use merge_patch::difference;
use rate::Rate;

/// How often a failing patch is tried again.
const RETRY: [u64; 5] = [100, 300, 1000, 3000, 5000];

#[derive(Debug, Clone, Default)]
struct Wanted {
    version: u64,
    status: Option<PodStatus>,
    /// The pod as it was last heard of from the API server.
    heard: Option<Arc<Pod>>,
}

/// The sender of one pod's status.
pub struct Publisher {
    wanted: watch::Sender<Wanted>,
    sent: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Starts from what the API server has.
    pub fn start(client: kube::Client, pod: &Pod, known: Known, reconnected: Reconnected) -> Self {
        let (wanted, receiver) = watch::channel(Wanted::default());
        let (done, sent) = watch::channel(0);
        let api = Api::namespaced(client, pod::namespace(pod));
        let sender = Sender {
            api,
            known,
            name: pod::name(pod).to_owned(),
            uid: pod::uid(pod).to_owned(),
            base: serde_json::to_value(pod::status(pod)).unwrap_or_default(),
            base_version: version(pod),
            done,
            reconnected,
        };
        Self { wanted, sent, task: tokio::spawn(sender.run(receiver)) }
    }

    /// Hands in the status to send, and the pod it was made for. Never waits; the same status twice is sent once, unless the API
    /// server has come to have another.
    pub fn publish(&self, status: &PodStatus, pod: &Arc<Pod>) {
        self.wanted.send_if_modified(|wanted| {
            let heard = wanted.heard.as_ref().is_some_and(|heard| version(heard) >= version(pod));
            if heard && wanted.status.as_ref() == Some(status) {
                return false;
            }
            *wanted = Wanted { version: wanted.version + 1, status: Some(status.clone()), heard: Some(pod.clone()) };
            true
        });
    }

    /// Waits until what was handed in last is with the API server, or the pod is gone from there.
    pub async fn flush(&mut self) {
        let version = self.wanted.borrow().version;
        // An error means that the sender has ended because the pod is gone.
        let _ = self.sent.wait_for(|&sent| sent >= version).await;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A pod's resourceVersion as a number: of two versions of one object the greater is the newer (KEP-5504).
fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

struct Sender {
    api: Api<Pod>,
    known: Known,
    name: String,
    uid: String,
    /// The status as the API server has it.
    base: Value,
    /// The resourceVersion of which `base` is.
    base_version: u64,
    done: watch::Sender<u64>,
    reconnected: Reconnected,
}

impl Sender {
    /// Sends a patch; gives it up when the API server was reached again on another connection.
    async fn send(&mut self, patch: &Patch<Value>) -> kube::Result<Pod> {
        self.reconnected.mark_unchanged();
        let parameters = PatchParams::default();
        tokio::select! {
            answer = within(CALL, self.api.patch_status(&self.name, &parameters, patch)) => answer,
            Ok(()) = self.reconnected.changed() => Err(kube::Error::Service("the connection was cut off".into())),
        }
    }

    async fn run(mut self, mut wanted: watch::Receiver<Wanted>) {
        let mut rate = Rate::new(5.0, 5.0);
        let mut failures = 0;
        while wanted.changed().await.is_ok() {
            loop {
                tokio::time::sleep(rate.wait(std::time::Instant::now())).await;
                let newest = wanted.borrow_and_update().clone();
                let Some(status) = newest.status else { break };
                if let Some(heard) = newest.heard.filter(|heard| version(heard) > self.base_version) {
                    self.base = serde_json::to_value(pod::status(&heard)).unwrap_or_default();
                    self.base_version = version(&heard);
                }
                let Ok(value) = serde_json::to_value(&status) else { break };
                let Some(patch) = difference(&self.base, &value) else {
                    self.done.send_replace(newest.version);
                    break;
                };
                rate.take(std::time::Instant::now());
                let body = json!({ "metadata": { "uid": self.uid }, "status": patch });
                let patch = Patch::Merge(body);
                match self.send(&patch).await {
                    Ok(answer) => {
                        self.base = serde_json::to_value(pod::status(&answer)).unwrap_or_default();
                        self.base_version = version(&answer);
                        self.done.send_replace(newest.version);
                        failures = 0;
                        break;
                    }
                    Err(kube::Error::Api(answer)) if answer.code == 404 => return,
                    // A conflict is another pod of the same name, or somebody who wrote at the same moment; of what is another
                    // node's, the node may not even ask.
                    Err(kube::Error::Api(answer))
                        if matches!(answer.code, 403 | 409)
                            && still_has(&self.api, &self.known, &self.name, &self.uid).await.is_ok_and(|has| !has) =>
                    {
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(pod = self.name, %error, "the status was not sent");
                        let pause = RETRY[usize::min(failures, RETRY.len() - 1)];
                        failures += 1;
                        tokio::time::sleep(Duration::from_millis(pause)).await;
                    }
                }
            }
        }
    }
}
