//! The end of a pod: its containers are stopped, its last status is sent, its files and records are removed, and last of all the
//! API server may forget it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};

use super::{Update, Worker, kill};
use crate::cgroups;
use crate::pod;
use crate::state::{Observed, Record};
use crate::volumes;
use crate::within::{CALL, still_has, within};

impl Worker {
    /// Stops the pod and returns when nothing of it is left, here or in the API server.
    pub(super) async fn stop(mut self) {
        self.probes.stop_killing();
        // What has just been asked for is not seen before it is there.
        self.starts.close();
        self.starts.wait().await;
        let mut told = false;
        let observed = loop {
            let observed = self.observe().await;
            let update = self.update();
            self.tell(&update, &observed);
            if observed.is_stopped() {
                break observed;
            }
            self.stop_everything(&update, &observed, !told).await;
            told = true;
        };
        let update = self.update();
        self.tell(&update, &observed);
        let pod_dir = self.kubelet.config.pod_dir(pod::uid(&update.pod));
        while let Err(error) = volumes::tear_down(&pod_dir) {
            tracing::warn!(pod = pod::display(&update.pod), %error, "a volume was not removed");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        cgroups::remove(&self.kubelet.config.cgroups, &update.pod);
        // A finished pod stays to be read: its containers' logs go when the pod goes.
        let _ =
            self.updates.wait_for(|update| update.removed || update.pod.metadata.deletion_timestamp.is_some()).await;
        self.forget(&observed).await;
    }

    fn update(&mut self) -> Update {
        self.updates.borrow_and_update().clone()
    }

    async fn observe(&mut self) -> Observed {
        loop {
            let uid = pod::uid(&self.updates.borrow().pod).to_owned();
            match self.observer.observe(&self.kubelet.cri, &uid).await {
                Ok(observed) => return observed,
                Err(error) => tracing::warn!(uid, %error, "the runtime does not answer"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn tell(&mut self, update: &Update, observed: &Observed) {
        if !update.removed {
            self.report(&update.pod.clone(), observed, true);
        }
    }

    /// Stops the containers, then the sandboxes. A deletion with less grace that comes meanwhile shortens the rest.
    async fn stop_everything(&mut self, update: &Update, observed: &Observed, tell: bool) {
        let grace = update.grace_seconds();
        let (mut sidecars, others): (Vec<&Record>, Vec<&Record>) =
            observed.alive().partition(|record| pod::container(&update.pod, &record.name).is_some_and(pod::is_sidecar));
        // Sidecars end after the others, the last started first.
        let order = |record: &Record| pod::init_containers(&update.pod).iter().position(|c| c.name == record.name);
        sidecars.sort_by_key(|record| std::cmp::Reverse(order(record)));
        if tell {
            for record in others.iter().chain(&sidecars) {
                let about = pod::container_reference(&update.pod, &record.name);
                self.kubelet.recorder.normal(about, "Killing", format!("Stopping container {}", record.name));
            }
        }
        let started = std::time::Instant::now();
        let ip = self.status.pod_ip.clone().unwrap_or_default();
        let own = self.kubelet.clone();
        let stop = |record: &Record| {
            let left = Duration::from_secs(grace).saturating_sub(started.elapsed());
            let (kubelet, pod) = (own.clone(), update.pod.clone());
            kill::kill(kubelet, pod, record.id.clone(), record.name.clone(), ip.clone(), left)
        };
        let all = async {
            let mut results = join_all(others.into_iter().map(stop)).await;
            for record in sidecars {
                results.push(stop(record).await);
            }
            results
        };
        let mut updates = self.updates.clone();
        let less = updates.wait_for(|update| update.grace_seconds() < grace);
        tokio::pin!(all, less);
        let results = loop {
            tokio::select! {
                results = &mut all => break results,
                _ = &mut less => return,
                // Who is ready is followed to the end: a container that ends slowly may say that it serves no more.
                Some(finding) = self.findings.recv() => {
                    self.enter(&finding);
                    self.tell(update, observed);
                }
            }
        };
        for error in results.into_iter().filter_map(Result::err) {
            tracing::warn!(pod = pod::display(&update.pod), %error, "a container was not stopped");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // The containers' end is news: whoever waits for it need not wait for the network to be taken down.
        let stopped = self.observe().await;
        self.tell(&update.clone(), &stopped);
        let _turn = self.kubelet.sandbox_turns.take().await;
        for sandbox in &stopped.sandboxes {
            if let Err(error) = self.kubelet.cri.stop_pod_sandbox(&sandbox.id).await {
                let message = format!(
                    "error killing pod: failed to \"KillPodSandbox\" for {:?} with error: {:?}",
                    pod::uid(&update.pod),
                    error.message
                );
                self.kubelet.recorder.warning(pod::reference(&update.pod), "FailedKillPod", message);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }

    /// Removes the records and logs, and deletes the pod from the API server.
    async fn forget(mut self, observed: &Observed) {
        let update = self.update();
        let pod = update.pod;
        if !update.removed {
            self.publisher.flush().await;
        }
        for sandbox in &observed.sandboxes {
            if let Err(error) = self.kubelet.cri.remove_pod_sandbox(&sandbox.id).await {
                tracing::warn!(pod = pod::display(&pod), %error, "a sandbox was not removed");
            }
        }
        for record in &observed.containers {
            // Removed with its sandbox, unless that was gone before.
            let _ = self.kubelet.cri.remove_container(&record.id).await;
        }
        let logs = self.kubelet.config.pod_log_dir(pod::namespace(&pod), pod::name(&pod), pod::uid(&pod));
        let _ = std::fs::remove_dir_all(logs);
        self.delete(&pod).await;
    }

    async fn delete(&mut self, pod: &Arc<Pod>) {
        let api: Api<Pod> = Api::namespaced(self.kubelet.config.client.clone(), pod::namespace(pod));
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        let mut pause = Duration::from_millis(200);
        while !self.update().removed {
            match within(CALL, api.delete(pod::name(pod), &parameters)).await {
                Ok(_) => return,
                Err(kube::Error::Api(answer)) if answer.code == 404 => return,
                // A conflict is another pod of the same name, or somebody who wrote at the same moment.
                Err(kube::Error::Api(answer))
                    if matches!(answer.code, 403 | 409)
                        && still_has(&api, &self.kubelet.known, pod::name(pod), pod::uid(pod))
                            .await
                            .is_ok_and(|has| !has) =>
                {
                    return;
                }
                Err(error) => tracing::warn!(pod = pod::display(pod), %error, "the pod was not deleted"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    }
}
