//! What the runtime has of one pod, as the state machine's records. Calls CRI, decides nothing.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use futures::future::{try_join, try_join_all};
use orlop_cri::v1::{
    Container, ContainerFilter, ContainerState, ContainerStatus, PodSandboxFilter, PodSandboxState, PodSandboxStatus,
};
use orlop_cri::{CriClient, CriError};

use crate::spec::labels;
use crate::state::{Observed, Record, RunState, Sandbox};

/// Kubernetes' limit on a termination message, and on one taken from the log.
const MESSAGE_LIMIT: u64 = 4096;
const LOG_LIMIT: u64 = 2048;
const LOG_LINES: usize = 80;

/// Observes one pod again and again, and asks only once for what cannot change any more.
#[derive(Debug, Default)]
pub struct Observer {
    exited: HashMap<String, Record>,
    addresses: HashMap<String, Vec<String>>,
}

impl Observer {
    /// Everything that the runtime has of the pod with this UID, newest first.
    pub async fn observe(&mut self, cri: &CriClient, uid: &str) -> Result<Observed, CriError> {
        let selector = HashMap::from([(labels::POD_UID.to_owned(), uid.to_owned())]);
        let sandboxes = PodSandboxFilter { label_selector: selector.clone(), ..PodSandboxFilter::default() };
        let containers = ContainerFilter { label_selector: selector, ..ContainerFilter::default() };
        let (mut sandboxes, mut containers) =
            try_join(cri.list_pod_sandboxes(Some(sandboxes)), cri.list_containers(Some(containers))).await?;
        sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
        containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));

        let mut seen = Observed::default();
        for sandbox in sandboxes {
            let ready = sandbox.state() == PodSandboxState::SandboxReady;
            let ips = match self.addresses.get(&sandbox.id) {
                Some(ips) => ips.clone(),
                None if ready => match cri.pod_sandbox_status(&sandbox.id).await {
                    Ok(status) => {
                        let ips = addresses(&status);
                        if !ips.is_empty() {
                            self.addresses.insert(sandbox.id.clone(), ips.clone());
                        }
                        ips
                    }
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                },
                None => Vec::new(),
            };
            let attempt = sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
            seen.sandboxes.push(Sandbox { id: sandbox.id, attempt, ready, created_at: sandbox.created_at, ips });
        }
        self.exited.retain(|id, _| containers.iter().any(|container| container.id == *id));
        self.addresses.retain(|id, _| seen.sandboxes.iter().any(|sandbox| sandbox.id == *id));

        let records = try_join_all(containers.into_iter().map(|container| {
            let known = self.exited.get(&container.id).cloned();
            async move {
                match known {
                    Some(record) => Ok(Some(record)),
                    None => match cri.container_status(&container.id).await {
                        Ok(status) => Ok(Some(record(&container, &status))),
                        Err(error) if error.is_not_found() => Ok(None),
                        Err(error) => Err(error),
                    },
                }
            }
        }))
        .await?;
        for record in records.into_iter().flatten() {
            if record.state == RunState::Exited {
                self.exited.insert(record.id.clone(), record.clone());
            }
            seen.containers.push(record);
        }
        Ok(seen)
    }
}

fn addresses(status: &PodSandboxStatus) -> Vec<String> {
    let Some(network) = &status.network else { return Vec::new() };
    let all = std::iter::once(&network.ip).chain(network.additional_ips.iter().map(|ip| &ip.ip));
    all.filter(|ip| !ip.is_empty()).cloned().collect()
}

fn record(container: &Container, status: &ContainerStatus) -> Record {
    let annotation = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
    let state = match status.state() {
        ContainerState::ContainerCreated => RunState::Created,
        ContainerState::ContainerRunning => RunState::Running,
        ContainerState::ContainerExited => RunState::Exited,
        ContainerState::ContainerUnknown => RunState::Unknown,
    };
    let message = if state == RunState::Exited { termination_message(status) } else { String::new() };
    // Runtimes name the reason for an exit by its code when they have nothing better.
    let reason = match (state, status.reason.as_str(), status.exit_code) {
        (RunState::Exited, "", 0) => "Completed".to_owned(),
        (RunState::Exited, "", _) => "Error".to_owned(),
        (_, reason, _) => reason.to_owned(),
    };
    Record {
        id: container.id.clone(),
        name: container.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default(),
        sandbox: container.pod_sandbox_id.clone(),
        restart_count: annotation(labels::RESTART_COUNT).parse().unwrap_or(0),
        state,
        created_at: status.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code,
        reason,
        message,
        image: status.image.as_ref().map(|image| image.image.clone()).unwrap_or_default(),
        image_id: status.image_ref.clone(),
        hash: annotation(labels::HASH),
    }
}

/// What the container has written for its status, or the end of its log if it failed and asked for that.
fn termination_message(status: &ContainerStatus) -> String {
    let path = status.annotations.get(labels::MESSAGE_PATH);
    let mount = status.mounts.iter().find(|mount| Some(&mount.container_path) == path);
    let written = mount.and_then(|mount| head(Path::new(&mount.host_path), MESSAGE_LIMIT)).unwrap_or_default();
    let fallback = status.annotations.get(labels::MESSAGE_POLICY).map(String::as_str) == Some("FallbackToLogsOnError");
    let text = if written.is_empty() && fallback && status.exit_code != 0 {
        log_tail(Path::new(&status.log_path)).unwrap_or_default()
    } else {
        written
    };
    // The runtime's own words on why it could not start come last.
    if text.is_empty() { status.message.clone() } else { text }
}

fn head(path: &Path, limit: u64) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn log_tail(path: &Path) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    // Each line carries a time stamp that does not count: read more than is kept.
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_LIMIT * 4))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    let kept: String = lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| format!("{line}\n")).collect();
    let mut start = kept.len().saturating_sub(usize::try_from(LOG_LIMIT).ok()?);
    while !kept.is_char_boundary(start) {
        start += 1;
    }
    Some(kept[start..].to_owned())
}
