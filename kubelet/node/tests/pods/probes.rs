//! Probes: who is ready, and who is restarted.

use std::time::Duration;

use crate::cluster::*;
use serde_json::json;

#[test]
fn probes_decide_who_is_ready_and_who_is_restarted() {
    with_cluster(async |cluster| {
        let probe =
            |path: &str| json!({ "httpGet": { "path": path, "port": 80 }, "periodSeconds": 1, "failureThreshold": 1 });
        let web = with(
            guest(&["serve", "80"]),
            json!({ "readinessProbe": probe("/tmp/unready"), "livenessProbe": probe("/tmp/dead") }),
        );
        cluster.create("web", json!({ "containers": [web] })).await;
        let pod = cluster.ready("web").await;
        let first = container_id(&pod);
        let write = |path: &str| {
            let command = ["/guest", "write", path, "x"].map(str::to_owned).to_vec();
            let id = first.trim_start_matches("containerd://").to_owned();
            let cri = cluster.cri.clone();
            async move { cri.exec_sync(&id, command, Duration::from_secs(5)).await.unwrap() }
        };
        write("/tmp/unready").await;
        cluster.until("unready", "web", |pod| !is_ready(pod)).await;
        write("/tmp/dead").await;
        let pod =
            cluster.until("restarted and ready", "web", |pod| container(pod).restart_count == 1 && is_ready(pod)).await;
        assert_ne!(container_id(&pod), first);
        let events = cluster.events("web").await;
        let killing = "Killing: Container c failed liveness probe, will be restarted".to_owned();
        assert!(events.contains(&killing), "{events:?}");
    });
}

#[test]
fn a_container_is_neither_ready_nor_killed_before_its_startup_probe_succeeds() {
    with_cluster(async |cluster| {
        let often = |probe: serde_json::Value| with(probe, json!({ "periodSeconds": 1, "failureThreshold": 30 }));
        let exists = |path: &str| often(json!({ "exec": { "command": ["/guest", "exists", path] } }));
        let container = with(
            guest(&["serve", "80"]),
            json!({
                "ports": [{ "name": "web", "containerPort": 80 }],
                "startupProbe": exists("/tmp/started"),
                "readinessProbe": often(json!({ "tcpSocket": { "port": "web" } })),
                "livenessProbe": with(exists("/tmp/started"), json!({ "failureThreshold": 1 })),
            }),
        );
        cluster.create("slow", json!({ "containers": [container] })).await;
        let pod = cluster.until("running", "slow", |pod| state(pod).running.is_some()).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let pod_later = cluster.until("running", "slow", |pod| state(pod).running.is_some()).await;
        assert_eq!(
            (container_id(&pod), container_status(&pod_later)),
            (container_id(&pod_later), (Some(false), false, 0))
        );
        cluster.exec(&pod, &["/guest", "write", "/tmp/started", "x"]).await;
        let pod = cluster.ready("slow").await;
        assert_eq!(container_status(&pod), (Some(true), true, 0));
    });
}

fn container_status(pod: &k8s_openapi::api::core::v1::Pod) -> (Option<bool>, bool, i32) {
    let status = container(pod);
    (status.started, status.ready, status.restart_count)
}

#[test]
fn a_container_whose_startup_probe_gives_up_is_restarted() {
    with_cluster(async |cluster| {
        let probe = json!({ "tcpSocket": { "port": 81 }, "periodSeconds": 1, "failureThreshold": 1 });
        let container = with(guest(&["wait"]), json!({ "startupProbe": probe }));
        cluster.create("never", json!({ "containers": [container] })).await;
        cluster.until("restarted", "never", |pod| status_of(pod, "c").restart_count == 1).await;
        let killing = "Killing: Container c failed startup probe, will be restarted".to_owned();
        let events = cluster.events("never").await;
        assert!(events.contains(&killing), "{events:?}");
    });
}
