//! What a pod that starts gets, and what its end leaves.

use std::time::Instant;

use crate::cluster::*;
use serde_json::json;

#[test]
fn a_pod_becomes_ready_sees_what_it_was_promised_and_leaves_nothing() {
    with_cluster(async |cluster| {
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
            "cat",
            "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
            ";",
            "cat",
            "/var/run/secrets/kubernetes.io/serviceaccount/token",
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
            "-----BEGIN CERTIFICATE-----",
            // A JSON Web Token begins with `{"`.
            "eyJ",
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

#[test]
fn pods_that_shall_not_restart_succeed_or_fail_after_their_init_containers() {
    with_cluster(async |cluster| {
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
fn the_containers_of_a_pod_live_and_die_each_for_itself() {
    with_cluster(async |cluster| {
        let named = |name: &str, verbs: &[&str]| with(guest(verbs), json!({ "name": name }));
        let second = with(
            named("second", &[]),
            json!({
                "command": ["/guest", "echo", "$(GREETING)-$$(GREETING)-$(NONE)", "$(MY_POD)"],
                "args": [";", "wait"],
                "env": [
                    { "name": "GREETING", "value": "ahoy" },
                    { "name": "MY_POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                ],
            }),
        );
        cluster.create("pair", json!({ "containers": [named("first", &["wait"]), second] })).await;
        let before = cluster.ready("pair").await;
        eventually("the second container has spoken", async || {
            (cluster.log(&before, "second", 0) == "ahoy-$(GREETING)-$(NONE) pair\n").then_some(())
        })
        .await;
        cluster.kill_container(&before, "first").await;
        let after = cluster.until("restarted", "pair", |pod| status_of(pod, "first").restart_count == 1).await;
        let after = if is_ready(&after) { after } else { cluster.ready("pair").await };
        assert_ne!(status_of(&before, "first").container_id, status_of(&after, "first").container_id);
        assert_eq!(status_of(&before, "second").container_id, status_of(&after, "second").container_id);
        assert_eq!(status_of(&after, "first").last_state.unwrap().terminated.unwrap().exit_code, 137);
    });
}

#[test]
fn a_pod_in_the_nodes_network_has_the_nodes_address() {
    with_cluster(async |cluster| {
        let verbs = ["cat", "/proc/net/fib_trie", ";", "cat", "/etc/hostname", ";", "wait"];
        cluster.create("host", json!({ "hostNetwork": true, "containers": [guest(&verbs)] })).await;
        let pod = cluster.ready("host").await;
        let status = pod.status.clone().unwrap();
        assert_eq!((status.pod_ip.as_deref(), status.host_ip.as_deref()), (Some("127.0.0.1"), Some("127.0.0.1")));
        let log = eventually("the log is written", async || {
            Some(cluster.log(&pod, "c", 0)).filter(|log| log.contains("10.88.255.254"))
        })
        .await;
        assert!(log.contains("LOCAL"), "{log}");
        cluster.delete("host").await;
        cluster.gone("host").await;
    });
}

#[test]
fn a_sidecar_begins_before_the_others_and_ends_after_them() {
    with_cluster(async |cluster| {
        let mount = json!({ "volumeMounts": [{ "name": "host", "mountPath": "/host" }] });
        let container = |name: &str, verbs: &[&str]| with(with(guest(verbs), mount.clone()), json!({ "name": name }));
        let dir = cluster.machine.dir("host");
        let sidecar = container(
            "sidecar",
            &["append", "/host/log", "sidecar begins", ";", "wait", ";", "append", "/host/log", "sidecar ends"],
        );
        let begun = json!({ "exec": { "command": ["/guest", "exists", "/host/log"] }, "periodSeconds": 1 });
        let sidecar = with(sidecar, json!({ "restartPolicy": "Always", "startupProbe": begun }));
        let main = container(
            "c",
            &["append", "/host/log", "main begins", ";", "wait", ";", "append", "/host/log", "main ends"],
        );
        let pod = json!({
            "initContainers": [sidecar],
            "containers": [main],
            "volumes": [{ "name": "host", "hostPath": { "path": dir } }],
        });
        cluster.create("pair", pod).await;
        cluster.ready("pair").await;
        eventually("both have begun", async || {
            (std::fs::read_to_string(dir.join("log")).ok()?.lines().count() == 2).then_some(())
        })
        .await;
        cluster.delete("pair").await;
        cluster.gone("pair").await;
        let log = std::fs::read_to_string(dir.join("log")).unwrap();
        assert_eq!(log, "sidecar begins\nmain begins\nmain ends\nsidecar ends\n");
    });
}
