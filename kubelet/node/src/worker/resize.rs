//! Giving a running container other limits, and the pod's own cgroup with it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::Worker;
use crate::cgroups;
use crate::pod;
use crate::spec::container_resources;
use crate::state::Observed;
use crate::state::resize::{Step, in_progress, steps, summary};

impl Worker {
    /// Tells the runtime. An error says when to try again.
    pub(super) async fn resize(
        &mut self,
        pod: &Arc<Pod>,
        observed: &Observed,
        id: &str,
        name: &str,
    ) -> Result<(), Timestamp> {
        let Some(container) = pod::container(pod, name) else { return Ok(()) };
        let kubelet = self.kubelet.clone();
        for step in steps(pod, observed, &self.memory, id, container) {
            if let Step::Group(limits) = step {
                cgroups::limit(&kubelet.config.cgroups, pod, &limits);
                continue;
            }
            let resources = container_resources(pod, container, kubelet.machine.memory);
            if let Err(error) = kubelet.cri.update_container_resources(id, resources).await {
                let message = format!("Pod resize error: {}", summary(pod, Some(&error.message)));
                if self.memory.resize_error.replace(error.message).is_none() {
                    kubelet.recorder.warning(pod::reference(pod), "ResizeError", message);
                }
                return Err(self.pause());
            }
        }
        self.memory.actuated.insert(id.to_owned(), container.resources.clone().unwrap_or_default());
        if !in_progress(pod, observed, &self.memory) {
            self.memory.resize_error = None;
            let message = format!("Pod resize completed: {}", summary(pod, None));
            kubelet.recorder.normal(pod::reference(pod), "ResizeCompleted", message);
        }
        Ok(())
    }
}
