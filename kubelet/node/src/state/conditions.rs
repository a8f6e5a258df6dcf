//! The pod's conditions, by the rules and with the words of the kubelet's `status/generate.go`. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Memory, Observed, resize};
use crate::pod;

/// The types that the kubelet owns; all others are kept as they are.
const OWNED: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
];

struct Finding {
    status: bool,
    reason: &'static str,
    message: String,
}

impl Finding {
    fn yes() -> Self {
        Self { status: true, reason: "", message: String::new() }
    }

    fn no(reason: &'static str, message: String) -> Self {
        Self { status: false, reason, message }
    }
}

/// All conditions: those of others as the API server has them, then the kubelet's own.
pub fn conditions(
    pod: &Pod,
    observed: &Observed,
    memory: &Memory,
    statuses: &[ContainerStatus],
    phase: &str,
    old: &[PodCondition],
    now: Timestamp,
) -> Vec<PodCondition> {
    let others =
        pod::status(pod).conditions.iter().flatten().filter(|condition| !OWNED.contains(&condition.type_.as_str()));
    let mut conditions: Vec<PodCondition> = others.cloned().collect();
    let containers_ready = containers_ready(pod, statuses, phase);
    let ready = ready(pod, &containers_ready, &conditions);
    let sandbox = if observed.ready_sandbox().is_some() { Finding::yes() } else { Finding::no("", String::new()) };
    for (type_, finding) in [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(pod, statuses, phase)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Finding::yes()),
    ] {
        conditions.push(condition(pod, type_, finding, old, now));
    }
    if let Some(pending) = &memory.resize_pending {
        let finding = Finding { status: true, reason: "Deferred", message: pending.message.clone() };
        conditions.push(condition(pod, "PodResizePending", finding, old, now));
    }
    if resize::in_progress(pod, observed, memory) {
        let error = memory.resize_error.clone();
        let reason = if error.is_some() { "Error" } else { "" };
        let finding = Finding { status: true, reason, message: error.unwrap_or_default() };
        conditions.push(condition(pod, "PodResizeInProgress", finding, old, now));
    }
    conditions
}

fn condition(pod: &Pod, type_: &str, finding: Finding, old: &[PodCondition], now: Timestamp) -> PodCondition {
    let status = if finding.status { "True" } else { "False" };
    let old = old.iter().find(|old| old.type_ == type_);
    let since = old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: text(finding.reason),
        message: text(&finding.message),
        last_transition_time: since.or_else(|| Some(Time(super::status::whole_seconds(now)))),
        observed_generation: pod.metadata.generation,
        last_probe_time: None,
    }
}

/// `[a b]`, as Go prints a list of names.
fn list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn containers_ready(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> Finding {
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let sidecars = pod::init_containers(pod).iter().filter(|container| pod::is_sidecar(container));
    for container in sidecars.chain(pod::containers(pod)) {
        match statuses.iter().find(|status| status.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Finding::no("PodCompleted", String::new());
    }
    if phase == "Failed" {
        return Finding::no("PodFailed", String::new());
    }
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!("containers with unknown status: {}", list(&unknown)));
    }
    if !unready.is_empty() {
        messages.push(format!("containers with unready status: {}", list(&unready)));
    }
    if messages.is_empty() { Finding::yes() } else { Finding::no("ContainersNotReady", messages.join(", ")) }
}

fn ready(pod: &Pod, containers_ready: &Finding, conditions: &[PodCondition]) -> Finding {
    if !containers_ready.status {
        return Finding::no(containers_ready.reason, containers_ready.message.clone());
    }
    let mut messages = Vec::new();
    for gate in pod::spec(pod).readiness_gates.iter().flatten() {
        let type_ = &gate.condition_type;
        match conditions.iter().find(|condition| condition.type_ == *type_) {
            None => messages.push(format!("corresponding condition of pod readiness gate {type_:?} does not exist.")),
            Some(condition) if condition.status != "True" => messages
                .push(format!("the status of pod readiness gate {type_:?} is not \"True\", but {}", condition.status)),
            Some(_) => {}
        }
    }
    if messages.is_empty() { Finding::yes() } else { Finding::no("ReadinessGatesNotReady", messages.join(", ")) }
}

fn initialized(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> Finding {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in pod::init_containers(pod) {
        let Some(status) = statuses.iter().find(|status| status.name == container.name) else {
            unknown.push(container.name.as_str());
            continue;
        };
        let done = if pod::is_sidecar(container) { status.started == Some(true) } else { status.ready };
        if !done {
            incomplete.push(container.name.as_str());
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Finding { status: true, reason: "PodCompleted", message: String::new() };
    }
    let has_run = |name: &str| {
        let status = statuses.iter().find(|status| status.name == name);
        let ran = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
            state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        };
        status.is_some_and(|status| ran(&status.state) || ran(&status.last_state))
    };
    if pod::containers(pod).iter().any(|container| has_run(&container.name)) {
        return Finding::yes();
    }
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!("containers with unknown status: {}", list(&unknown)));
    }
    if !incomplete.is_empty() {
        messages.push(format!("containers with incomplete status: {}", list(&incomplete)));
    }
    if messages.is_empty() { Finding::yes() } else { Finding::no("ContainersNotInitialized", messages.join(", ")) }
}
