//! One task for each pod: look, decide, act, report, wait; and after the pod's end, stop and clean up. Whatever happens in
//! between, also a restart of the kubelet, the next look finds it.

mod hooks;
mod kill;
mod resize;
mod start;
mod stop;

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::TaskTracker;

use crate::kubelet::Kubelet;
use crate::observe::Observer;
use crate::pod;
use crate::probes::{Finding, ProbeKind, Probes};
use crate::publisher::Publisher;
use crate::state::resize::{Change, allocate, requests, summary};
use crate::state::{self, Memory, Observed, Reporter, Waiting, plan};
use crate::volumes::Paths;

/// How often a pod is looked at when nothing happens, and its volumes are refreshed.
const RESYNC: Duration = Duration::from_secs(60);
/// The pause after a failure that no back-off counts, doubled each time up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Until a change of resources that found no room is tried again.
const ROOM: SignedDuration = SignedDuration::from_secs(3);

/// Seconds for the containers of a pod that was deleted by force.
const FORCED_GRACE: u64 = 2;

/// What the cluster wants of a pod.
#[derive(Debug, Clone)]
pub struct Update {
    pub pod: Arc<Pod>,
    /// It is gone from the API server: stop it and tell nobody.
    pub removed: bool,
}

impl Update {
    /// The pod shall stop.
    fn ends(&self) -> bool {
        self.removed || self.pod.metadata.deletion_timestamp.is_some() || pod::is_terminal(&self.pod)
    }

    /// Seconds that its containers have to end. A pod that is gone without waiting for its node was deleted by force: another of
    /// its name may run already.
    fn grace_seconds(&self) -> u64 {
        let grace = pod::grace_seconds(&self.pod);
        if self.removed { grace.min(FORCED_GRACE) } else { grace }
    }
}

/// The way to a pod's worker.
#[derive(Debug, Clone)]
pub struct Handle {
    pub updates: watch::Sender<Update>,
    /// Something has changed in the runtime.
    pub poke: Arc<Notify>,
}

/// The worker of one pod.
pub struct Worker {
    kubelet: Arc<Kubelet>,
    updates: watch::Receiver<Update>,
    poke: Arc<Notify>,
    observer: Observer,
    memory: Memory,
    probes: Probes,
    findings: mpsc::Receiver<Finding>,
    publisher: Publisher,
    reporter: Reporter,
    /// The last report.
    status: PodStatus,
    volumes: Option<Paths>,
    /// Starts that the runtime is asked for; they end before the pod does.
    starts: TaskTracker,
    refreshed: Instant,
    /// Failures in a row that no back-off counts.
    failures: u32,
}

/// When to look again.
enum Next {
    Now,
    At(Option<Timestamp>),
    /// The pod has ended by itself.
    Ended,
}

impl Worker {
    /// A worker for the pod; it does nothing before `run`.
    pub fn new(kubelet: Arc<Kubelet>, update: Update) -> (Self, Handle) {
        let poke = Arc::new(Notify::new());
        let pod = update.pod.clone();
        let (sender, updates) = watch::channel(update);
        let (probes, findings) = Probes::new(kubelet.clone());
        let worker = Self {
            publisher: Publisher::start(
                kubelet.config.client.clone(),
                &pod,
                kubelet.known.clone(),
                kubelet.reconnected.subscribe(),
            ),
            reporter: Reporter { node_ips: kubelet.node_ips() },
            kubelet,
            updates,
            poke: poke.clone(),
            observer: Observer::default(),
            memory: Memory::default(),
            probes,
            findings,
            status: pod::status(&pod).clone(),
            volumes: None,
            starts: TaskTracker::new(),
            refreshed: Instant::now(),
            failures: 0,
        };
        (worker, Handle { updates: sender, poke })
    }

    /// Runs the pod until it is gone from the node.
    pub async fn run(mut self) {
        loop {
            let update = self.updates.borrow_and_update().clone();
            if update.ends() {
                break;
            }
            let mut ending = self.updates.clone();
            // The end of a pod interrupts what is being done for it, such as a long pull. Nothing is lost: the next look finds
            // what was half done.
            let next = tokio::select! {
                next = self.sync(&update.pod) => next,
                _ = ending.wait_for(Update::ends) => continue,
            };
            match next {
                Next::Now => {}
                Next::Ended => break,
                Next::At(at) => self.wait(at).await,
            }
        }
        self.stop().await;
    }

    /// One round: look, decide, report, act.
    async fn sync(&mut self, desired: &Arc<Pod>) -> Next {
        let pod = &self.allocate(desired);
        let observed = match self.observer.observe(&self.kubelet.cri, pod::uid(pod)).await {
            Ok(observed) => observed,
            Err(error) => {
                tracing::warn!(pod = pod::display(pod), %error, "the runtime does not answer");
                return Next::At(Some(self.pause()));
            }
        };
        let now = Timestamp::now();
        let deadline = self.deadline(pod);
        if deadline.is_some_and(|deadline| deadline <= now) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.memory.ended_by_kubelet = Some(Waiting { reason: "DeadlineExceeded".into(), message: message.into() });
            self.kubelet.recorder.normal(pod::reference(pod), "DeadlineExceeded", message);
            return Next::Ended;
        }
        state::resize::recall(pod, &observed, &mut self.memory);
        let ips = self.report(pod, &observed, false);
        self.probes.follow(pod, &observed, ips.first().map_or("", String::as_str));
        if state::is_finished(self.status.phase.as_deref()) {
            return Next::Ended;
        }
        let plan = plan(pod, &observed, &mut self.memory, now);
        for (container, _) in &plan.backing_off {
            let about = pod::container_reference(pod, container);
            let message = format!("Back-off restarting failed container {container} in pod {}", pod::display(pod));
            self.kubelet.recorder.warning(about, "BackOff", message);
        }
        let room_at = self.memory.resize_pending.as_ref().and_then(|_| now.checked_add(ROOM).ok());
        let mut wake_at = plan.wake_at.into_iter().chain(deadline).chain(room_at).min();
        if plan.actions.is_empty() {
            if !plan.backing_off.is_empty() {
                self.report(pod, &observed, false);
            }
            self.refresh_volumes(pod, &ips).await;
            return Next::At(wake_at);
        }
        let mut failed = false;
        for action in plan.actions {
            if let Err(retry) = self.act(pod, &observed, action).await {
                failed = true;
                wake_at = wake_at.into_iter().chain([retry]).min();
            }
        }
        if failed {
            self.report(pod, &observed, false);
            return Next::At(wake_at);
        }
        self.failures = 0;
        Next::Now
    }

    /// The pod with the resources that the node gives it.
    fn allocate(&mut self, desired: &Arc<Pod>) -> Arc<Pod> {
        let kubelet = self.kubelet.clone();
        let (pod, change) = {
            // One at a time: two may not be given the same room.
            let mut all = kubelet.allocated.lock().unwrap_or_else(PoisonError::into_inner);
            let known = kubelet.known.read().unwrap_or_else(PoisonError::into_inner);
            all.retain(|uid, _| known.contains_key(uid));
            drop(known);
            let (pod, change) = allocate(desired, &mut self.memory, || kubelet.room(pod::uid(desired), &all));
            all.insert(pod::uid(desired).to_owned(), requests(&pod));
            (pod, change)
        };
        let about = || pod::reference(desired);
        match change {
            None => {}
            Some(Change::Started) => {
                let message = format!("Pod resize started: {}", summary(desired, None));
                kubelet.recorder.normal(about(), "ResizeStarted", message);
            }
            Some(Change::Deferred(why)) => {
                let message = format!("Pod resize Deferred: {}", summary(desired, Some(&why)));
                kubelet.recorder.warning(about(), "ResizeDeferred", message);
            }
        }
        pod
    }

    /// Reports what is observed, and returns the pod's addresses.
    fn report(&mut self, pod: &Arc<Pod>, observed: &Observed, terminating: bool) -> Vec<String> {
        let now = Timestamp::now();
        let status = state::report(&self.reporter, pod, observed, &self.memory, &self.status, terminating, now);
        let ips = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
        self.publisher.publish(&status, pod);
        self.status = status;
        ips
    }

    /// When the pod has been active for as long as it may.
    fn deadline(&self, pod: &Pod) -> Option<Timestamp> {
        let seconds = pod::spec(pod).active_deadline_seconds?;
        let since = self.status.start_time.as_ref()?.0;
        since.checked_add(SignedDuration::from_secs(seconds)).ok()
    }

    /// Counts a failure and says when to try again.
    fn pause(&mut self) -> Timestamp {
        let (first, longest) = PAUSE;
        let pause = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures += 1;
        Timestamp::now() + pause
    }

    /// Waits for whatever comes first: news of the pod, of the runtime, of a probe, or the time.
    async fn wait(&mut self, at: Option<Timestamp>) {
        let until =
            at.map_or(RESYNC, |at| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO));
        let findings = &mut self.findings;
        tokio::select! {
            // An error means that the manager has ended, and this worker with it.
            _ = self.updates.changed() => {}
            () = self.poke.notified() => {}
            Some(finding) = findings.recv() => self.enter(&finding),
            () = tokio::time::sleep(until.min(RESYNC)) => {}
        }
        while let Ok(finding) = self.findings.try_recv() {
            self.enter(&finding);
        }
    }

    fn enter(&mut self, finding: &Finding) {
        finding.enter(self.memory.verdicts.entry(finding.container_id.clone()).or_default());
        if finding.kind == ProbeKind::Startup && finding.success {
            self.probes.mark_started(&finding.container_id);
        }
    }

    /// Writes changed ConfigMaps, Secrets, labels and tokens into the volumes of a running pod.
    async fn refresh_volumes(&mut self, pod: &Pod, ips: &[String]) {
        if self.refreshed.elapsed() < RESYNC {
            return;
        }
        self.refreshed = Instant::now();
        match crate::volumes::set_up(&self.kubelet, pod, ips, true).await {
            Ok(paths) => self.volumes = Some(paths),
            Err(error) => tracing::warn!(pod = pod::display(pod), %error, "a volume was not refreshed"),
        }
    }
}
