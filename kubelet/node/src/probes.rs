//! Startup, readiness and liveness probes: one task for each probe of each running container, which ends with the container.
//! A task reports only what changes the verdict; what that means is the state machine's to decide.

mod tally;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::handlers::{self, Outcome};
use crate::kubelet::Kubelet;
use crate::pod;
use crate::state::{Observed, RunState, Verdict, timestamp};
use tally::Tally;

/// Which of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];

    fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

/// A verdict that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub container_id: String,
    pub kind: ProbeKind,
    pub success: bool,
}

impl Finding {
    /// Enters the finding into the container's verdict.
    pub fn enter(&self, verdict: &mut Verdict) {
        match self.kind {
            ProbeKind::Startup => verdict.started = Some(self.success),
            ProbeKind::Readiness => verdict.ready = Some(self.success),
            ProbeKind::Liveness => verdict.live = Some(self.success),
        }
    }
}

/// The probes of one pod.
pub struct Probes {
    kubelet: Arc<Kubelet>,
    findings: mpsc::Sender<Finding>,
    tasks: HashMap<(String, ProbeKind), JoinHandle<()>>,
    /// By container: whether the startup probe has succeeded, for the other two to begin.
    started: HashMap<String, watch::Sender<bool>>,
}

impl Probes {
    /// No probes yet; findings go to the receiver.
    pub fn new(kubelet: Arc<Kubelet>) -> (Self, mpsc::Receiver<Finding>) {
        let (findings, receiver) = mpsc::channel(64);
        (Self { kubelet, findings, tasks: HashMap::new(), started: HashMap::new() }, receiver)
    }

    /// Makes the running probes those of the running containers.
    pub fn follow(&mut self, pod: &Arc<Pod>, observed: &Observed, pod_ip: &str) {
        let running: HashMap<&str, &crate::state::Record> = observed
            .containers
            .iter()
            .filter(|record| record.state == RunState::Running)
            .map(|record| (record.id.as_str(), record))
            .collect();
        self.tasks.retain(|(id, _), task| {
            let keep = running.contains_key(id.as_str());
            if !keep {
                task.abort();
            }
            keep
        });
        self.started.retain(|id, _| running.contains_key(id.as_str()));
        for (id, record) in running {
            let Some(container) = pod::container(pod, &record.name) else { continue };
            for kind in ProbeKind::ALL {
                let Some(probe) = kind.of(container) else { continue };
                if self.tasks.contains_key(&(id.to_owned(), kind)) {
                    continue;
                }
                let without_startup = container.startup_probe.is_none();
                let started = self.started.entry(id.to_owned()).or_insert_with(|| watch::channel(without_startup).0);
                let worker = Worker {
                    kubelet: self.kubelet.clone(),
                    pod: pod.clone(),
                    container: container.clone(),
                    probe: probe.clone(),
                    kind,
                    container_id: id.to_owned(),
                    pod_ip: pod_ip.to_owned(),
                    since: timestamp(record.started_at),
                    findings: self.findings.clone(),
                };
                let task = tokio::spawn(worker.run(started.subscribe()));
                self.tasks.insert((id.to_owned(), kind), task);
            }
        }
    }

    /// Lets readiness and liveness probes begin after a startup probe's success.
    pub fn mark_started(&self, container_id: &str) {
        if let Some(started) = self.started.get(container_id) {
            started.send_replace(true);
        }
    }

    /// Ends those probes that may not disturb the end of the pod: only readiness is still asked.
    pub fn stop_killing(&mut self) {
        self.tasks.retain(|(_, kind), task| {
            let keep = *kind == ProbeKind::Readiness;
            if !keep {
                task.abort();
            }
            keep
        });
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

struct Worker {
    kubelet: Arc<Kubelet>,
    pod: Arc<Pod>,
    container: Container,
    probe: Probe,
    kind: ProbeKind,
    container_id: String,
    pod_ip: String,
    since: Timestamp,
    findings: mpsc::Sender<Finding>,
}

impl Worker {
    async fn run(self, mut started: watch::Receiver<bool>) {
        if self.kind != ProbeKind::Startup && started.wait_for(|&started| started).await.is_err() {
            return;
        }
        let seconds =
            |value: Option<i32>, default: u64| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default);
        let delay = Duration::from_secs(seconds(self.probe.initial_delay_seconds, 0));
        let age = Duration::try_from(Timestamp::now().duration_since(self.since)).unwrap_or_default();
        tokio::time::sleep(delay.saturating_sub(age)).await;
        let period = Duration::from_secs(seconds(self.probe.period_seconds, 10).max(1));
        let mut tally = Tally::new(self.probe.success_threshold, self.probe.failure_threshold);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = None;
        loop {
            ticks.tick().await;
            let outcome = self.ask().await;
            if let Err(words) = &outcome {
                let message = format!("{:?} probe failed: {words}", self.kind);
                let about = pod::container_reference(&self.pod, &self.container.name);
                self.kubelet.recorder.warning(about, "Unhealthy", message);
            }
            let Some(success) = tally.count(outcome.is_ok()) else { continue };
            if last == Some(success) {
                continue;
            }
            last = Some(success);
            let finding = Finding { container_id: self.container_id.clone(), kind: self.kind, success };
            if self.findings.send(finding).await.is_err() {
                return;
            }
            // A startup probe has said all it can; a failed liveness probe is followed by a kill.
            if self.kind == ProbeKind::Startup || (self.kind == ProbeKind::Liveness && !success) {
                return;
            }
        }
    }

    async fn ask(&self) -> Outcome {
        let limit =
            Duration::from_secs(self.probe.timeout_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(1).max(1));
        if let Some(action) = &self.probe.exec {
            handlers::exec(&self.kubelet, &self.container_id, action, limit).await
        } else if let Some(action) = &self.probe.http_get {
            handlers::http_get(&self.container, action, &self.pod_ip, limit, "kube-probe/1.36").await
        } else if let Some(action) = &self.probe.tcp_socket {
            handlers::tcp_socket(&self.container, action, &self.pod_ip, limit).await
        } else if self.kind == ProbeKind::Readiness {
            Err("this kubelet asks by exec, httpGet and tcpSocket only".to_owned())
        } else {
            // What cannot be asked (grpc) is no reason to kill a container.
            Ok(())
        }
    }
}
