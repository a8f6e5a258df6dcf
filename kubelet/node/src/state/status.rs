//! `status` of a pod: phase, conditions, addresses and containers in one value. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Memory, Observed, RunState, conditions, containers, phase};
use crate::pod;

/// What a report needs beside the pod.
#[derive(Debug, Clone)]
pub struct Reporter {
    /// The node's addresses, the primary one first.
    pub node_ips: Vec<String>,
}

/// The status to publish. `old` is what was last published, or what the API server had when the kubelet saw the pod first;
/// `terminating` when nothing will be started again.
pub fn report(
    reporter: &Reporter,
    pod: &Pod,
    observed: &Observed,
    memory: &Memory,
    old: &PodStatus,
    terminating: bool,
    now: Timestamp,
) -> PodStatus {
    let of = |statuses: &Option<Vec<ContainerStatus>>| statuses.clone().unwrap_or_default();
    let init = containers::statuses(
        pod,
        pod::init_containers(pod),
        observed,
        memory,
        &of(&old.init_container_statuses),
        terminating,
    );
    let main =
        containers::statuses(pod, pod::containers(pod), observed, memory, &of(&old.container_statuses), terminating);
    let ephemeral =
        containers::ephemeral_statuses(pod, observed, memory, &of(&old.ephemeral_container_statuses), terminating);
    let all: Vec<ContainerStatus> = init.iter().chain(&main).cloned().collect();
    let initialized = pod::containers(pod)
        .iter()
        .any(|container| observed.newest(&container.name).is_some_and(|record| record.started_at > 0));
    let mut phase = phase::phase(pod, &all, terminating, initialized).to_owned();
    let resized = |container: &Container| {
        let newest = observed.newest(&container.name);
        newest.is_some_and(|newest| newest.state == RunState::Exited && memory.resize_kills.contains(&newest.id))
    };
    if !terminating && phase::is_finished(Some(&phase)) && pod::containers(pod).iter().any(resized) {
        phase = "Running".into();
    }
    let mut reason = old.reason.clone().filter(|_| old.phase.as_deref() == Some(&phase));
    let mut message = old.message.clone().filter(|_| old.phase.as_deref() == Some(&phase));
    if let Some(ended) = &memory.ended_by_kubelet {
        phase = "Failed".into();
        (reason, message) = (Some(ended.reason.clone()), Some(ended.message.clone()));
    } else if let Some(ended) = old.phase.clone().filter(|phase| phase::is_finished(Some(phase))) {
        // A finished pod stays what it was.
        phase = ended;
        (reason, message) = (old.reason.clone(), old.message.clone());
    }
    let ips = addresses(reporter, pod, observed, old);
    let conditions =
        conditions::conditions(pod, observed, memory, &all, &phase, old.conditions.as_deref().unwrap_or_default(), now);
    PodStatus {
        phase: Some(phase),
        reason,
        message,
        conditions: Some(conditions),
        host_ip: reporter.node_ips.first().cloned(),
        host_ips: Some(reporter.node_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect::<Vec<_>>()).filter(|ips| !ips.is_empty()),
        start_time: old.start_time.clone().or_else(|| Some(Time(whole_seconds(now)))),
        init_container_statuses: Some(init).filter(|statuses| !statuses.is_empty()),
        container_statuses: Some(main).filter(|statuses| !statuses.is_empty()),
        qos_class: Some(pod::qos(pod).name().to_owned()),
        observed_generation: pod.metadata.generation,
        // What others write is not ours to change.
        nominated_node_name: pod::status(pod).nominated_node_name.clone(),
        resource_claim_statuses: pod::status(pod).resource_claim_statuses.clone(),
        ephemeral_container_statuses: Some(ephemeral).filter(|statuses| !statuses.is_empty()),
        ..PodStatus::default()
    }
}

fn addresses(reporter: &Reporter, pod: &Pod, observed: &Observed, old: &PodStatus) -> Vec<String> {
    if pod::is_host_network(pod) {
        // They stay what they were when the pod got them.
        return old
            .pod_ip
            .clone()
            .map_or_else(|| reporter.node_ips.first().cloned().into_iter().collect(), |ip| vec![ip]);
    }
    match observed.sandbox() {
        Some(sandbox) if !sandbox.ips.is_empty() => sandbox.ips.clone(),
        // A finished pod's address is still shown, as Kubernetes does.
        _ => old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
    }
}

/// The API keeps times in whole seconds.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
