//! Pods that cannot start say why, in Kubernetes' words, and start when the reason is gone.

use crate::cluster::*;
use serde_json::{Value, json};

async fn waits(cluster: &Cluster, name: &str, container: Value, reason: &str) -> String {
    cluster.create(name, json!({ "containers": [container] })).await;
    let pod = cluster
        .until(reason, name, |pod| state(pod).waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some(reason)))
        .await;
    assert_eq!(phase(&pod), "Pending");
    state(&pod).waiting.unwrap().message.unwrap_or_default()
}

#[test]
fn an_image_that_cannot_be_had_is_named_and_not_asked_for_all_the_time() {
    with_cluster(async |cluster| {
        let image =
            |image: &str, policy: &str| with(guest(&["wait"]), json!({ "image": image, "imagePullPolicy": policy }));
        // Nobody listens on this port.
        let unreachable = "127.0.0.1:9/absent:v1";
        let message = waits(&cluster, "pull", image(unreachable, "Always"), "ErrImagePull").await;
        assert!(message.contains("connection refused"), "{message}");
        let pod = cluster
            .until("ImagePullBackOff", "pull", |pod| {
                state(pod).waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("ImagePullBackOff"))
            })
            .await;
        let message = state(&pod).waiting.unwrap().message.unwrap();
        assert!(message.starts_with(&format!("Back-off pulling image {unreachable:?}: ErrImagePull: ")), "{message}");
        for event in ["Failed: Error: ErrImagePull".to_owned(), format!("Pulling: Pulling image {unreachable:?}")] {
            eventually(&event, async || cluster.events("pull").await.contains(&event).then_some(())).await;
        }
        let absent = "localhost/orlop/absent:v1";
        let message = waits(&cluster, "never", image(absent, "Never"), "ErrImageNeverPull").await;
        assert_eq!(message, format!("Container image {absent:?} is not present with pull policy of Never"));
    });
}

#[test]
fn what_a_container_refers_to_is_waited_for() {
    with_cluster(async |cluster| {
        let key = json!({ "configMapKeyRef": { "name": "later", "key": "k" } });
        let container = with(guest(&["env", ";", "wait"]), json!({ "env": [{ "name": "K", "valueFrom": key }] }));
        let message = waits(&cluster, "env", container, "CreateContainerConfigError").await;
        assert_eq!(message, "configmap \"later\" not found");
        let failed = "Failed: Error: configmap \"later\" not found".to_owned();
        eventually("the event", async || cluster.events("env").await.contains(&failed).then_some(())).await;

        let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
        let pod = json!({
            "containers": [with(guest(&["cat", "/v/k", ";", "wait"]), mount)],
            "volumes": [{ "name": "v", "secret": { "secretName": "later" } }],
        });
        cluster.create("mount", pod).await;
        let failed = "FailedMount: MountVolume.SetUp failed for volume \"v\" : secret \"later\" not found".to_owned();
        eventually("the mount has failed", async || cluster.events("mount").await.contains(&failed).then_some(()))
            .await;
        assert_eq!(state(&cluster.pod("mount").await).waiting.unwrap().reason.as_deref(), Some("ContainerCreating"));

        cluster.create_config_map(json!({ "metadata": { "name": "later" }, "data": { "k": "v" } })).await;
        cluster.create_secret(json!({ "metadata": { "name": "later" }, "data": { "k": "c2VjcmV0Cg==" } })).await;
        let pod = cluster.ready("env").await;
        eventually("K is set", async || cluster.log(&pod, "c", 0).contains("K=v").then_some(())).await;
        let pod = cluster.ready("mount").await;
        eventually("the secret is read", async || cluster.log(&pod, "c", 0).contains("secret").then_some(())).await;
    });
}
