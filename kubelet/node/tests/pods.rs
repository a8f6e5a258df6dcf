//! Pods from their creation in the API server to their end, through a real containerd.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "cluster/node.rs"]
mod cluster;

use std::time::{Duration, Instant};

use cluster::*;
use serde_json::{Value, json};

fn guest(arguments: &[&str]) -> Value {
    json!({ "name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": arguments })
}

fn with(mut container: Value, more: Value) -> Value {
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    container
}

#[test]
fn a_pod_becomes_ready_sees_what_it_was_promised_and_leaves_nothing() {
    with_cluster("a_pod_becomes_ready_sees_what_it_was_promised_and_leaves_nothing", |cluster| async move {
        cluster.create_config_map(json!({ "metadata": { "name": "m" }, "data": { "key": "from map" } })).await;
        let service = json!({ "metadata": { "name": "my-shop" }, "spec": { "clusterIP": "10.96.0.77", "ports": [{ "port": 80 }] } });
        cluster.create_service(service).await;
        cluster.create_secret(json!({ "metadata": { "name": "s" }, "data": { "key": "ZnJvbSBzZWNyZXQ=" } })).await;
        let verbs = [
            "env",
            ";",
            "cat",
            "/map/key",
            ";",
            "cat",
            "/secret/key",
            ";",
            "cat",
            "/etc/hosts",
            ";",
            "cat",
            "/all/labels",
            ";",
            "echo",
            "expanded",
            "$(A)",
            ";",
            "serve",
            "80",
        ];
        let container = with(
            guest(&verbs),
            json!({
                "env": [
                    { "name": "A", "value": "a" },
                    { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                    { "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "s", "key": "key" } } },
                ],
                "volumeMounts": [
                    { "name": "map", "mountPath": "/map" },
                    { "name": "secret", "mountPath": "/secret" },
                    { "name": "all", "mountPath": "/all" },
                    { "name": "empty", "mountPath": "/empty" },
                ],
                "resources": { "limits": { "memory": "64Mi", "cpu": "500m" } },
            }),
        );
        let started = Instant::now();
        let created = cluster
            .create("web", json!({
                "containers": [container],
                "volumes": [
                    { "name": "map", "configMap": { "name": "m" } },
                    { "name": "secret", "secret": { "secretName": "s" } },
                    { "name": "empty", "emptyDir": { "medium": "Memory" } },
                    { "name": "all", "projected": { "sources": [
                        { "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
                    ] } },
                ],
            }))
            .await;
        let pod = cluster.ready("web").await;
        println!("created to Ready: {:?}", started.elapsed());
        let status = pod.status.clone().unwrap();
        assert_eq!((phase(&pod), status.qos_class.as_deref()), ("Running", Some("Guaranteed")));
        let ip = status.pod_ip.unwrap();
        assert!(container_id(&pod).starts_with("containerd://"));

        let log = eventually("the log is written", async || {
            Some(cluster.log(&pod, "c", 0)).filter(|log| log.contains("serving"))
        })
        .await;
        for line in [
            "A=a",
            &format!("IP={ip}"),
            "KEY=from secret",
            "MY_SHOP_SERVICE_HOST=10.96.0.77",
            "MY_SHOP_PORT_80_TCP_PORT=80",
            "HOSTNAME=web",
            "from map",
            &format!("{ip}\tweb"),
            "app=\"web\"",
        ] {
            assert!(log.contains(line), "{line:?} is not in {log}");
        }
        assert!(log.contains("expanded a\n"), "$(A) is expanded in args: {log}");
        let memory = std::fs::read_to_string(format!(
            "/sys/fs/cgroup/memory/kubepods/pod{}/memory.limit_in_bytes",
            created.metadata.uid.as_deref().unwrap()
        ));
        assert_eq!(memory.unwrap().trim(), (64 << 20).to_string());
        let events = eventually("the events are there", async || {
            Some(cluster.events("web").await).filter(|events| events.len() >= 3)
        })
        .await;
        assert!(events.contains(&"Started: Container started".to_owned()), "{events:?}");

        cluster.delete("web").await;
        cluster.gone("web").await;
        assert!(cluster.cri.list_pod_sandboxes(None).await.unwrap().is_empty());
        assert!(cluster.cri.list_containers(None).await.unwrap().is_empty());
        assert_eq!(std::fs::read_dir(cluster.machine.dir("kubelet/pods")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(cluster.machine.dir("pods")).unwrap().count(), 0);
    });
}

fn container_id(pod: &k8s_openapi::api::core::v1::Pod) -> String {
    container(pod).container_id.unwrap()
}

#[test]
fn a_restarted_kubelet_finds_its_pods_and_ends_those_that_were_deleted_meanwhile() {
    with_cluster(
        "a_restarted_kubelet_finds_its_pods_and_ends_those_that_were_deleted_meanwhile",
        |mut cluster| async move {
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
        },
    );
}

#[test]
fn a_failing_container_is_restarted_once_and_then_backs_off() {
    with_cluster("a_failing_container_is_restarted_once_and_then_backs_off", |cluster| async move {
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
fn pods_that_shall_not_restart_succeed_or_fail_after_their_init_containers() {
    with_cluster("pods_that_shall_not_restart_succeed_or_fail_after_their_init_containers", |cluster| async move {
        let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
        let init = |name: &str, verbs: &[&str]| with(with(guest(verbs), mount.clone()), json!({ "name": name }));
        cluster
            .create(
                "job",
                json!({
                    "restartPolicy": "Never",
                    "volumes": [{ "name": "v", "emptyDir": {} }],
                    "initContainers": [init("i1", &["append", "/v/f", "one"]), init("i2", &["append", "/v/f", "two"])],
                    "containers": [with(guest(&["cat", "/v/f"]), mount.clone())],
                }),
            )
            .await;
        let pod = cluster.until("Succeeded", "job", |pod| phase(pod) == "Succeeded").await;
        assert_eq!(cluster.log(&pod, "c", 0), "one\ntwo\n");
        assert_eq!(state(&pod).terminated.unwrap().reason.as_deref(), Some("Completed"));

        let fails = json!({ "restartPolicy": "Never", "containers": [guest(&["exit", "5"])] });
        cluster.create("fails", fails).await;
        let pod = cluster.until("Failed", "fails", |pod| phase(pod) == "Failed").await;
        assert_eq!(state(&pod).terminated.unwrap().exit_code, 5);

        let never = with(guest(&["wait"]), json!({ "image": "localhost/orlop/absent:v1", "imagePullPolicy": "Never" }));
        cluster.create("absent", json!({ "containers": [never] })).await;
        cluster
            .until("in ErrImageNeverPull", "absent", |pod| {
                state(pod).waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("ErrImageNeverPull"))
            })
            .await;
        for pod in ["job", "fails", "absent"] {
            cluster.delete(pod).await;
            cluster.gone(pod).await;
        }
        assert!(cluster.cri.list_pod_sandboxes(None).await.unwrap().is_empty());
    });
}

#[test]
fn probes_decide_who_is_ready_and_who_is_restarted() {
    with_cluster("probes_decide_who_is_ready_and_who_is_restarted", |cluster| async move {
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
fn the_kubelets_api_serves_logs_to_those_who_may_and_nothing_to_others() {
    with_cluster("the_kubelets_api_serves_logs_to_those_who_may_and_nothing_to_others", |cluster| async move {
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
