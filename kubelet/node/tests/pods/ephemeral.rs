//! Containers that are added to a running pod, to look into it.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::cluster::*;

fn ephemeral(pod: &Pod, name: &str) -> Option<ContainerStatus> {
    let statuses = pod.status.iter().flat_map(|status| status.ephemeral_container_statuses.iter().flatten());
    statuses.into_iter().find(|status| status.name == name).cloned()
}

fn exit_code(pod: &Pod, name: &str) -> Option<i32> {
    Some(ephemeral(pod, name)?.state?.terminated?.exit_code)
}

#[test]
fn an_ephemeral_container_sees_its_target_runs_once_and_the_pod_goes_on() {
    with_cluster(async |mut cluster| {
        cluster.create("looked-at", json!({ "containers": [guest(&["wait"])] })).await;
        let before = cluster.ready("looked-at").await;
        let add = async |container: serde_json::Value| {
            let patch = Patch::Strategic(json!({ "spec": { "ephemeralContainers": [container] } }));
            let parameters = PatchParams::default();
            cluster.pods().patch_subresource("ephemeralcontainers", "looked-at", &parameters, &patch).await.unwrap();
        };
        let verbs = ["cat", "/proc/1/cmdline", ";", "exit", "3"];
        add(with(guest(&verbs), json!({ "name": "with", "targetContainerName": "c" }))).await;
        let pod = cluster.until("looked at", "looked-at", |pod| exit_code(pod, "with").is_some()).await;
        assert_eq!(exit_code(&pod, "with"), Some(3));
        assert_eq!(cluster.log(&pod, "with", 0), "/guest\0wait\0\n", "its process 1 is the target's");
        let status = ephemeral(&pod, "with").unwrap();
        assert_eq!((status.ready, status.started, status.restart_count), (false, None, 0));

        add(with(guest(&["cat", "/proc/1/cmdline"]), json!({ "name": "without" }))).await;
        let pod = cluster.until("looked at again", "looked-at", |pod| exit_code(pod, "without").is_some()).await;
        assert_eq!(cluster.log(&pod, "without", 0), "/guest\0cat\0/proc/1/cmdline\0\n", "its processes are its own");
        add(with(
            guest(&["wait"]),
            json!({ "name": "lost", "targetContainerName": "c", "image": "localhost/none:v1",
            "imagePullPolicy": "Never" }),
        ))
        .await;
        let reason = |pod: &Pod| ephemeral(pod, "lost")?.state?.waiting?.reason;
        let lost = |pod: &Pod| reason(pod).as_deref() == Some("ErrImageNeverPull");
        let pod = cluster.until("without an image", "looked-at", lost).await;
        assert!(is_ready(&pod), "{:?}", pod.status);
        assert_eq!(container_id(&pod), container_id(&before), "the pod's own container is left alone");

        cluster.stop_kubelet().await;
        cluster.start_kubelet();
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        let after = cluster.pod("looked-at").await;
        let id = |pod: &Pod| ephemeral(pod, "with").unwrap().container_id;
        assert_eq!(id(&after), id(&pod), "an ended ephemeral container is not started again");
        let events = cluster.events("looked-at").await;
        assert_eq!(
            events.iter().filter(|event| event.as_str() == "Started: Container started").count(),
            3,
            "{events:?}"
        );
        let (status, log) =
            cluster.ask_kubelet(Some(("api", &["system:masters"])), "/containerLogs/default/looked-at/with").await;
        assert_eq!((status, log.as_str()), (200, "/guest\0wait\0"));

        cluster.delete("looked-at").await;
        cluster.gone("looked-at").await;
    });
}
