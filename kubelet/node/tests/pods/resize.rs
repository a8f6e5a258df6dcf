//! Processors and memory of a running pod.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cluster::*;

fn has(pod: &Pod, name: &str, amount: &str) -> bool {
    let limits = container(pod).resources.and_then(|resources| resources.limits).unwrap_or_default();
    limits.get(name).is_some_and(|quantity| quantity.0 == amount)
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

/// The processor quota that the kernel holds the pod's container to.
async fn quota(cluster: &Cluster, pod: &Pod) -> String {
    let id = container_id(pod);
    let words = ["/guest", "cat", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"].map(str::to_owned).to_vec();
    let id = id.trim_start_matches("containerd://");
    let reply = cluster.cri.exec_sync(id, words, Duration::from_secs(5)).await.unwrap();
    String::from_utf8(reply.stdout.to_vec()).unwrap().trim().to_owned()
}

#[test]
fn a_running_container_gets_other_limits_and_restarts_only_if_it_wants_to() {
    with_cluster(async |mut cluster| {
        let resources = json!({ "cpu": "100m", "memory": "64Mi" });
        let policy = json!([
            { "resourceName": "cpu", "restartPolicy": "NotRequired" },
            { "resourceName": "memory", "restartPolicy": "RestartContainer" },
        ]);
        let sized = json!({ "resources": { "requests": resources, "limits": resources }, "resizePolicy": policy });
        cluster.create("sized", json!({ "containers": [with(guest(&["wait"]), sized)] })).await;
        let before = cluster.ready("sized").await;
        let pods = cluster.pods();
        let resize = async |name: &str, amount: &str| {
            let resources = json!({ "requests": { name: amount }, "limits": { name: amount } });
            let patch =
                Patch::Strategic(json!({ "spec": { "containers": [{ "name": "c", "resources": resources }] } }));
            pods.patch_subresource("resize", "sized", &PatchParams::default(), &patch).await.unwrap();
        };
        assert_eq!(quota(&cluster, &before).await, "10000");
        resize("cpu", "200m").await;
        let pod = cluster.until("resized", "sized", |pod| has(pod, "cpu", "200m")).await;
        assert_eq!((container_id(&pod), container(&pod).restart_count), (container_id(&before), 0));
        assert_eq!(quota(&cluster, &pod).await, "20000");
        let allocated = container(&pod).allocated_resources.unwrap();
        assert_eq!(allocated["cpu"].0, "200m");
        resize("cpu", "150m").await;
        let pod = cluster.until("smaller", "sized", |pod| has(pod, "cpu", "150m")).await;
        assert_eq!((quota(&cluster, &pod).await.as_str(), container(&pod).restart_count), ("15000", 0));
        cluster
            .until("calm", "sized", |pod| {
                let observed = pod.status.as_ref().and_then(|status| status.observed_generation);
                condition(pod, "PodResizeInProgress").is_none() && observed == pod.metadata.generation
            })
            .await;

        resize("memory", "96Mi").await;
        let pod = cluster.until("restarted", "sized", |pod| has(pod, "memory", "96Mi") && is_ready(pod)).await;
        assert_eq!(container(&pod).restart_count, 1);
        assert_eq!(quota(&cluster, &pod).await, "15000");

        resize("cpu", "4000").await;
        let deferred = |pod: &Pod| condition(pod, "PodResizePending").is_some();
        let pod = cluster.until("deferred", "sized", deferred).await;
        let pending = condition(&pod, "PodResizePending").unwrap();
        assert_eq!((pending.status.as_str(), pending.reason.as_deref()), ("True", Some("Deferred")));
        let message = pending.message.clone().unwrap();
        assert!(message.starts_with("Node didn't have enough resource: cpu, requested: 4000000, used: 0"), "{message}");
        assert!(has(&pod, "cpu", "150m") && is_ready(&pod), "{:?}", pod.status);

        cluster.stop_kubelet().await;
        cluster.start_kubelet();
        tokio::time::sleep(Duration::from_millis(700)).await;
        let after = cluster.pod("sized").await;
        assert_eq!((container_id(&after), quota(&cluster, &after).await.as_str()), (container_id(&pod), "15000"));
        resize("cpu", "250m").await;
        let pod = cluster.until("possible", "sized", |pod| has(pod, "cpu", "250m")).await;
        assert_eq!((quota(&cluster, &pod).await.as_str(), container_id(&pod)), ("25000", container_id(&after)));
        cluster.until("calm again", "sized", |pod| condition(pod, "PodResizePending").is_none()).await;
        cluster.delete("sized").await;
        cluster.gone("sized").await;
    });
}
