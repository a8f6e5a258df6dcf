//! The end of a pod: hooks, signals, grace.

use std::time::{Duration, Instant};

use crate::cluster::*;
use kube::api::DeleteParams;
use serde_json::json;

#[test]
fn a_deleted_pod_runs_its_hook_then_gets_the_signal_and_then_is_gone() {
    with_cluster(async |cluster| {
        let dir = cluster.machine.dir("host");
        let container = with(
            guest(&["wait", ";", "append", "/host/log", "terminated"]),
            json!({
                "volumeMounts": [{ "name": "host", "mountPath": "/host" }],
                "lifecycle": { "preStop": { "exec": { "command": ["/guest", "append", "/host/log", "hook"] } } },
            }),
        );
        let pod = json!({ "containers": [container], "volumes": [{ "name": "host", "hostPath": { "path": dir } }] });
        cluster.create("polite", pod).await;
        cluster.ready("polite").await;
        let start = Instant::now();
        cluster.delete("polite").await;
        cluster.until_gone_or("not ready", "polite", |pod| !is_ready(pod)).await;
        cluster.gone("polite").await;
        println!("deleted to gone: {:?}", start.elapsed());
        assert_eq!(std::fs::read_to_string(dir.join("log")).unwrap(), "hook\nterminated\n");
        let events = cluster.events("polite").await;
        assert!(events.contains(&"Killing: Stopping container c".to_owned()), "{events:?}");
    });
}

#[test]
fn who_is_ready_is_followed_while_a_pod_ends() {
    with_cluster(async |cluster| {
        let unready =
            json!({ "httpGet": { "path": "/tmp/unready", "port": 80 }, "periodSeconds": 1, "failureThreshold": 1 });
        let slow = with(
            guest(&["serve", "80"]),
            json!({
                "readinessProbe": unready,
                "lifecycle": { "preStop": { "exec": { "command": ["/guest", "write", "/tmp/unready", "x", ";", "sleep", "5000"] } } },
            }),
        );
        cluster.create("slow", json!({ "terminationGracePeriodSeconds": 20, "containers": [slow] })).await;
        cluster.ready("slow").await;
        cluster.delete("slow").await;
        cluster.until("unready before its end", "slow", |pod| !is_ready(pod) && state(pod).running.is_some()).await;
        cluster.gone("slow").await;
    });
}

#[test]
fn a_container_that_ignores_the_signal_is_killed_when_its_grace_is_over() {
    with_cluster(async |cluster| {
        let deaf = || json!({ "terminationGracePeriodSeconds": 2, "containers": [guest(&["sleep", "600000"])] });
        cluster.create("deaf", deaf()).await;
        cluster.ready("deaf").await;
        let start = Instant::now();
        cluster.delete("deaf").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(cluster.pods().get_opt("deaf").await.unwrap().is_some(), "it has its grace");
        cluster.gone("deaf").await;
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    });
}

#[test]
fn a_forced_deletion_does_not_wait_for_the_node_and_the_node_follows() {
    with_cluster(async |cluster| {
        let deaf = json!({ "terminationGracePeriodSeconds": 60, "containers": [guest(&["sleep", "600000"])] });
        cluster.create("deaf", deaf).await;
        cluster.ready("deaf").await;
        // A polite deletion first: the forced one cuts its grace short.
        cluster.delete("deaf").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.pods().delete("deaf", &DeleteParams::default().grace_period(0)).await.unwrap();
        cluster.gone("deaf").await;
        let start = Instant::now();
        eventually("nothing of it runs", async || {
            cluster.cri.list_pod_sandboxes(None).await.unwrap().is_empty().then_some(())
        })
        .await;
        assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    });
}

#[test]
fn a_pod_that_is_active_for_too_long_fails() {
    with_cluster(async |cluster| {
        cluster.create("late", json!({ "activeDeadlineSeconds": 2, "containers": [guest(&["wait"])] })).await;
        cluster.ready("late").await;
        let pod = cluster.until("Failed", "late", |pod| phase(pod) == "Failed").await;
        assert_eq!(pod.status.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
        let pod = cluster.until("ended", "late", |pod| state(pod).terminated.is_some()).await;
        assert_eq!(state(&pod).terminated.unwrap().exit_code, 0);
        assert!(!is_ready(&pod));
    });
}
