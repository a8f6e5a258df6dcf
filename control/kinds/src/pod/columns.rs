//! `kubectl get pods`: READY, STATUS and RESTARTS computed from container states as `printers/internalversion` does.
use super::is_sidecar;
use crate::table::{AGE, Column, NAME, age, name, or_none, parse_time, since};
use crate::value::{flag, int, items, text};
use jiff::Timestamp;
use serde_json::Value;

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    Column::text("Status", "The aggregate status of the containers in this pod."),
    Column::text(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    Column::text("IP", "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.").wide(),
    Column::text("Node", "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible for the lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled on a specific node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename").wide(),
    Column::text("Nominated Node", "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods. This field does not guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become available sooner. Scheduler may also decide to give the resources on this node to a higher priority pod that is created after preemption. As a result, this field may be different than PodSpec.nodeName when the pod is scheduled.").wide(),
    Column::text("Readiness Gates", "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are ready AND all conditions specified in the readiness gates have status equal to \"True\" More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates").wide(),
];

pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let summary = Summary::of(pod);
    let restarts = match summary.last_restart {
        Some(last) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, since(&last.to_string().into(), now))
        }
        _ => summary.restarts.to_string(),
    };
    let ip = items(&status["podIPs"]).first().map_or("", |ip| text(&ip["ip"]));
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        age(pod, now),
        or_none(ip),
        or_none(text(&spec["nodeName"])),
        or_none(text(&status["nominatedNodeName"])),
        readiness_gates(pod).into(),
    ]
}

fn readiness_gates(pod: &Value) -> String {
    let gates = items(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let passed = gates.iter().filter(|gate| condition_is_true(pod, text(&gate["conditionType"]))).count();
    format!("{passed}/{}", gates.len())
}

fn condition_is_true(pod: &Value, wanted: &str) -> bool {
    let mut conditions = items(&pod["status"]["conditions"]).iter();
    conditions
        .find(|condition| text(&condition["type"]) == wanted)
        .is_some_and(|found| text(&found["status"]) == "True")
}

/// What the containers' states add up to.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let phase = text(&status["phase"]);
        let mut summary = Self {
            reason: [text(&status["reason"]), phase].into_iter().find(|s| !s.is_empty()).unwrap_or_default().to_owned(),
            ready: 0,
            total: items(&spec["containers"]).len()
                + items(&spec["initContainers"]).iter().filter(|container| is_sidecar(container)).count(),
            restarts: 0,
            last_restart: None,
        };
        let gated = |condition: &Value| {
            text(&condition["type"]) == "PodScheduled" && text(&condition["reason"]) == "SchedulingGated"
        };
        if items(&status["conditions"]).iter().any(gated) {
            summary.reason = "SchedulingGated".to_owned();
        }
        let initializing = summary.init_containers(pod);
        if !initializing || condition_is_true(pod, "Initialized") {
            summary.main_containers(pod);
        }
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            if text(&status["reason"]) == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if phase != "Failed" && phase != "Succeeded" {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Reads init container states up to the first that has not finished; whether there is one.
    fn init_containers(&mut self, pod: &Value) -> bool {
        let specs = items(&pod["spec"]["initContainers"]);
        let sidecar = |status: &Value| specs.iter().any(|spec| spec["name"] == status["name"] && is_sidecar(spec));
        let (mut sidecar_restarts, mut sidecar_last) = (0, None);
        let mut initializing = false;
        for (index, status) in items(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
            self.count_restarts(status);
            if sidecar(status) {
                sidecar_restarts += int(&status["restartCount"]);
                sidecar_last = sidecar_last.max(last_finished(status));
            }
            let (terminated, waiting) = (&status["state"]["terminated"], text(&status["state"]["waiting"]["reason"]));
            if terminated.is_object() && int(&terminated["exitCode"]) == 0 {
                continue;
            }
            if sidecar(status) && flag(&status["started"]) {
                self.ready += usize::from(flag(&status["ready"]));
                continue;
            }
            self.reason = if terminated.is_object() {
                format!("Init:{}", ended(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", specs.len())
            };
            initializing = true;
            break;
        }
        if !initializing || condition_is_true(pod, "Initialized") {
            (self.restarts, self.last_restart) = (sidecar_restarts, sidecar_last);
        }
        initializing
    }

    fn main_containers(&mut self, pod: &Value) {
        let (mut running, mut error) = (false, String::new());
        for status in items(&pod["status"]["containerStatuses"]).iter().rev() {
            self.count_restarts(status);
            let (terminated, waiting) = (&status["state"]["terminated"], text(&status["state"]["waiting"]["reason"]));
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if terminated.is_object() {
                self.reason = ended(terminated);
                if int(&terminated["exitCode"]) != 0 {
                    error.clone_from(&self.reason);
                }
            } else if flag(&status["ready"]) && status["state"]["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            if running && condition_is_true(pod, "Ready") {
                self.reason = "Running".to_owned();
            } else if !error.is_empty() {
                self.reason = error;
            } else if running {
                self.reason = "NotReady".to_owned();
            }
        }
    }

    fn count_restarts(&mut self, status: &Value) {
        self.restarts += int(&status["restartCount"]);
        self.last_restart = self.last_restart.max(last_finished(status));
    }
}

fn last_finished(status: &Value) -> Option<Timestamp> {
    parse_time(&status["lastState"]["terminated"]["finishedAt"])
}

fn ended(terminated: &Value) -> String {
    let (reason, signal) = (text(&terminated["reason"]), int(&terminated["signal"]));
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", int(&terminated["exitCode"]))
    }
}

#[cfg(test)]
mod tests;
