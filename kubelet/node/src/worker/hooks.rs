//! Lifecycle hooks: what a container wants done after its start and before its end.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::handlers::{self, Outcome};
use crate::kubelet::Kubelet;

/// A postStart hook may take as long as it likes; a command that never ends keeps its container from being ready.
pub const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Runs one hook.
pub async fn run(
    kubelet: &Kubelet,
    container: &Container,
    container_id: &str,
    hook: &LifecycleHandler,
    pod_ip: &str,
    limit: Duration,
) -> Outcome {
    if let Some(action) = &hook.exec {
        handlers::exec(kubelet, container_id, action, limit).await
    } else if let Some(action) = &hook.http_get {
        handlers::http_get(container, action, pod_ip, limit, "kube-lifecycle/1.36").await
    } else if let Some(action) = &hook.sleep {
        let seconds = u64::try_from(action.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds).min(limit)).await;
        Ok(())
    } else {
        Err("invalid handler: it has neither exec, httpGet nor sleep".to_owned())
    }
}
