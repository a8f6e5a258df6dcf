//! The kubelet's own end, and containers that end: what was running goes on running, what has died is soon known.

use std::time::{Duration, Instant};

use crate::cluster::*;
use serde_json::json;

#[test]
fn a_restarted_kubelet_finds_its_pods_and_ends_those_that_were_deleted_meanwhile() {
    with_cluster(async |mut cluster| {
        cluster.create("stays", json!({ "containers": [guest(&["wait"])] })).await;
        cluster.create("goes", json!({ "containers": [guest(&["wait"])] })).await;
        let before = cluster.ready("stays").await;
        cluster.ready("goes").await;
        cluster.stop_kubelet().await;
        let now = kube::api::DeleteParams::default().grace_period(0);
        cluster.pods().delete("goes", &now).await.unwrap();
        cluster.gone("goes").await;
        cluster.start_kubelet();
        eventually("the deleted pod's sandbox is removed", async || {
            (cluster.cri.list_pod_sandboxes(None).await.unwrap().len() == 1).then_some(())
        })
        .await;
        let after = cluster.ready("stays").await;
        assert_eq!(container_id(&before), container_id(&after));
        assert_eq!(container(&after).restart_count, 0);
        cluster.create("new", json!({ "containers": [guest(&["wait"])] })).await;
        cluster.ready("new").await;
    });
}

#[test]
fn a_failing_container_is_restarted_once_and_then_backs_off() {
    with_cluster(async |cluster| {
        let verbs = ["write", "/dev/termination-log", "no luck", ";", "exit", "3"];
        cluster.create("crash", json!({ "containers": [guest(&verbs)] })).await;
        let pod = cluster
            .until("in CrashLoopBackOff", "crash", |pod| {
                state(pod).waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
            })
            .await;
        let status = container(&pod);
        let last = status.last_state.unwrap().terminated.unwrap();
        assert_eq!((status.restart_count, last.exit_code), (1, 3));
        assert_eq!((last.reason.as_deref(), last.message.as_deref()), (Some("Error"), Some("no luck")));
        assert_eq!(phase(&pod), "Running");
        let message = state(&pod).waiting.unwrap().message.unwrap();
        assert!(message.starts_with("back-off 10s restarting failed container=c pod=crash_default("), "{message}");
        cluster.delete("crash").await;
        cluster.gone("crash").await;
    });
}

#[test]
fn a_kubelet_that_is_killed_at_any_moment_goes_on_where_it_was() {
    with_cluster(async |mut cluster| {
        cluster.create("stays", json!({ "containers": [guest(&["wait"])] })).await;
        let before = cluster.ready("stays").await;
        let slow = with(
            guest(&["wait"]),
            json!({ "lifecycle": { "preStop": { "exec": { "command": ["/guest", "sleep", "1000"] } } } }),
        );
        cluster.create("ends", json!({ "containers": [slow] })).await;
        cluster.ready("ends").await;
        cluster.delete("ends").await;
        // Killed while one pod ends, and then again and again while others begin.
        for life in 0..6 {
            cluster.create(&format!("begins{life}"), json!({ "containers": [guest(&["wait"])] })).await;
            tokio::time::sleep(Duration::from_millis(60 * life)).await;
            cluster.kill_kubelet().await;
            cluster.start_kubelet();
        }
        for life in 0..6 {
            cluster.ready(&format!("begins{life}")).await;
        }
        cluster.gone("ends").await;
        let after = cluster.ready("stays").await;
        assert_eq!(container_id(&before), container_id(&after));
        assert_eq!(container(&after).restart_count, 0);
        eventually("each pod has one sandbox", async || {
            let sandboxes = cluster.cri.list_pod_sandboxes(None).await.unwrap();
            (sandboxes.iter().filter(|sandbox| sandbox.state == 0).count() == 7).then_some(())
        })
        .await;
    });
}

#[test]
fn a_dead_container_is_reported_before_another_second_of_connections() {
    with_cluster(async |cluster| {
        for name in ["one", "two", "three"] {
            let pod = json!({ "restartPolicy": "Never", "containers": [guest(&["serve", "80"])] });
            cluster.create(name, pod).await;
        }
        for name in ["one", "two", "three"] {
            let pod = cluster.ready(name).await;
            cluster.kill_container(&pod, "c").await;
            let died = Instant::now();
            cluster.until("not ready", name, |pod| !is_ready(pod)).await;
            println!("dead to not ready: {:?}", died.elapsed());
            assert!(died.elapsed() < Duration::from_secs(1), "{:?}", died.elapsed());
        }
    });
}

#[test]
fn a_runtime_that_is_killed_and_started_again_takes_no_container_with_it() {
    with_cluster(async |mut cluster| {
        cluster.create("stays", json!({ "containers": [guest(&["serve", "80"])] })).await;
        let before = cluster.ready("stays").await;
        cluster.machine.restart_containerd();
        cluster.create("new", json!({ "containers": [guest(&["wait"])] })).await;
        cluster.ready("new").await;
        let after = cluster.ready("stays").await;
        assert_eq!(container_id(&before), container_id(&after));
        assert_eq!(container(&after).restart_count, 0);
        cluster.kill_container(&after, "c").await;
        cluster.until("restarted", "stays", |pod| container(pod).restart_count == 1).await;
    });
}

#[test]
fn a_node_that_was_cut_off_soon_does_what_it_missed() {
    with_cluster(async |cluster| {
        for name in ["stays", "goes"] {
            cluster.create(name, json!({ "containers": [guest(&["wait"])] })).await;
        }
        let before = cluster.ready("stays").await;
        cluster.ready("goes").await;
        cluster.cable.cut();
        cluster.delete("goes").await;
        cluster.create("new", json!({ "containers": [guest(&["wait"])] })).await;
        cluster.kill_container(&before, "c").await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(cluster.pods().get_opt("goes").await.unwrap().is_some(), "nobody told the node");
        cluster.cable.mend();
        let mended = Instant::now();
        cluster.ready("new").await;
        cluster.gone("goes").await;
        // The containers were looked after all the time.
        cluster.until("restarted", "stays", |pod| container(pod).restart_count == 1 && is_ready(pod)).await;
        println!("mended to caught up: {:?}", mended.elapsed());
        assert!(mended.elapsed() < Duration::from_secs(8), "{:?}", mended.elapsed());
    });
}
