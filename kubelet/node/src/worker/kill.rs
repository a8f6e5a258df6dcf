//! Stopping containers: the preStop hook, the stop signal, the grace period.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use orlop_cri::CriError;

use super::{Worker, hooks};
use crate::kubelet::Kubelet;
use crate::pod;
use crate::state::KillReason;

/// Every container gets at least this long between signal and kill.
const LEAST: Duration = Duration::from_secs(2);

/// The grace period of one container that is killed while its pod goes on.
pub fn grace_for(pod: &Pod, container: &str, why: KillReason) -> Duration {
    let container = pod::container(pod, container);
    let probe = match why {
        KillReason::StartupProbe => container.and_then(|container| container.startup_probe.as_ref()),
        KillReason::LivenessProbe => container.and_then(|container| container.liveness_probe.as_ref()),
        KillReason::Other => None,
    };
    let seconds = probe.and_then(|probe| probe.termination_grace_period_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_else(|| pod::grace_seconds(pod));
    Duration::from_secs(seconds)
}

/// Stops one container and returns when it is dead.
pub async fn kill(
    kubelet: Arc<Kubelet>,
    pod: Arc<Pod>,
    id: String,
    name: String,
    pod_ip: String,
    grace: Duration,
) -> Result<(), CriError> {
    let started = Instant::now();
    let container = pod::container(&pod, &name);
    let hook = container.and_then(|c| c.lifecycle.as_ref()).and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    if let (Some(container), Some(hook)) = (container, hook.filter(|_| !grace.is_zero())) {
        let run = hooks::run(&kubelet, container, &id, hook, &pod_ip, grace);
        match tokio::time::timeout(grace, run).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::info!(pod = pod::display(&pod), container = name, error, "the preStop hook failed");
                let about = pod::container_reference(&pod, &name);
                kubelet.recorder.warning(about, "FailedPreStopHook", "PreStopHook failed");
            }
            Err(_) => tracing::info!(pod = pod::display(&pod), container = name, "the preStop hook outlasts its grace"),
        }
    }
    kubelet.cri.stop_container(&id, grace.saturating_sub(started.elapsed()).max(LEAST)).await
}

impl Worker {
    /// Stops one container, with an event that says why.
    pub(super) async fn kill(
        &self,
        pod: &Arc<Pod>,
        id: &str,
        name: &str,
        message: &str,
        grace: Duration,
    ) -> Result<(), CriError> {
        self.kubelet.recorder.normal(pod::container_reference(pod, name), "Killing", message);
        let ip = self.status.pod_ip.clone().unwrap_or_default();
        let result = kill(self.kubelet.clone(), pod.clone(), id.to_owned(), name.to_owned(), ip, grace).await;
        if let Err(error) = &result {
            tracing::warn!(pod = pod::display(pod), %error, "a container was not stopped");
        }
        result
    }
}
