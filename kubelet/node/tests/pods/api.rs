//! The kubelet's HTTP API.

use std::time::Duration;

use crate::cluster::*;
use serde_json::json;

#[test]
fn the_kubelets_api_serves_logs_to_those_who_may_and_nothing_to_others() {
    with_cluster(async |cluster| {
        let verbs =
            ["echo", "one", ";", "echo", "two", ";", "echo", "three", ";", "await", "/tmp/go", ";", "echo", "four"];
        cluster.create("talks", json!({ "restartPolicy": "Never", "containers": [guest(&verbs)] })).await;
        let pod = cluster.ready("talks").await;
        let id = container_id(&pod).trim_start_matches("containerd://").to_owned();
        let api = Some(("kube-apiserver-kubelet-client", &["system:masters"][..]));
        let log = async |query: &str| cluster.ask_kubelet(api, &format!("/containerLogs/default/talks/c{query}")).await;
        eventually("three lines are written", async || (log("").await.1 == "one\ntwo\nthree\n").then_some(())).await;
        assert_eq!(log("?tailLines=2").await, (200, "two\nthree\n".to_owned()));
        assert_eq!(log("?limitBytes=5").await, (200, "one\nt".to_owned()));
        assert!(log("?timestamps=true&tailLines=1").await.1.ends_with("Z three\n"));
        assert_eq!(log("?previous=true").await.0, 400);
        assert_eq!(cluster.ask_kubelet(api, "/containerLogs/default/nobody/c").await.0, 404);

        // Following ends when the container does, with all that it said.
        let go = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let command = ["/guest", "write", "/tmp/go", "x"].map(str::to_owned).to_vec();
            cluster.cri.exec_sync(&id, command, Duration::from_secs(5)).await.unwrap();
        };
        let (followed, ()) = tokio::join!(log("?follow=true"), go);
        assert_eq!(followed, (200, "one\ntwo\nthree\nfour\n".to_owned()));

        assert_eq!(cluster.ask_kubelet(api, "/healthz").await, (200, "ok".to_owned()));
        assert!(cluster.ask_kubelet(api, "/pods").await.1.contains("\"talks\""));
        assert_eq!(cluster.ask_kubelet(None, "/pods").await.0, 401);
        let (status, _) = cluster.ask_kubelet(Some(("mallory", &[])), "/containerLogs/default/talks/c").await;
        assert_ne!(status, 200);
    });
}

#[test]
fn a_log_that_grows_is_rotated_and_who_follows_it_misses_nothing() {
    with_cluster(async |cluster| {
        const LINES: usize = 6000;
        let lines = LINES.to_string();
        let container = guest(&["await", "/tmp/begin", ";", "count", &lines, ";", "await", "/tmp/go"]);
        cluster.create("talks", json!({ "restartPolicy": "Never", "containers": [container] })).await;
        let pod = cluster.until("running", "talks", |pod| state(pod).running.is_some()).await;
        let api = Some(("kube-apiserver-kubelet-client", &["system:masters"][..]));
        let follow = cluster.ask_kubelet(api, "/containerLogs/default/talks/c?follow=true");
        let rotate = async {
            // The follower is there from the first line.
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.exec(&pod, &["/guest", "write", "/tmp/begin", "x"]).await;
            let dir = cluster.log_dir(&pod, "c");
            let files = || -> Vec<String> {
                let entries = std::fs::read_dir(&dir).unwrap();
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
            };
            eventually("a rotated log is compressed", async || {
                files().iter().any(|f| f.ends_with(".gz")).then_some(())
            })
            .await;
            // What is being compressed may be seen beside the files that are kept.
            eventually("three files are kept", async || (files().len() <= 3).then_some(())).await;
            cluster.exec(&pod, &["/guest", "write", "/tmp/go", "x"]).await;
        };
        let ((status, log), ()) = tokio::join!(follow, rotate);
        assert_eq!(status, 200);
        let seen: Vec<usize> = log.lines().map(|line| line.parse().unwrap()).collect();
        let wrong = seen.iter().enumerate().find(|&(at, &line)| at != line);
        assert_eq!((wrong, seen.len()), (None, LINES), "the first line that does not follow the one before it");
    });
}
