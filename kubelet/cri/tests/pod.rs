//! One pod by hand, through a real containerd: what every later part of the kubelet stands on.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "bed/machine.rs"]
mod machine;

use std::time::Duration;

use machine::{IMAGE, Machine, inside_machine};
use orlop_cri::CriClient;
use orlop_cri::v1::*;

fn sandbox_config(machine: &Machine) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: "by-hand".into(),
            uid: "1".into(),
            namespace: "default".into(),
            attempt: 0,
        }),
        hostname: "by-hand".into(),
        log_directory: machine.dir("pods/by-hand").display().to_string(),
        labels: [("io.kubernetes.pod.uid".to_owned(), "1".to_owned())].into(),
        linux: Some(LinuxPodSandboxConfig { cgroup_parent: "/kubepods".into(), ..Default::default() }),
        ..Default::default()
    }
}

fn container_config(arguments: &[&str]) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: "guest".into(), attempt: 0 }),
        image: Some(ImageSpec { image: IMAGE.into(), ..Default::default() }),
        args: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        log_path: "guest.log".into(),
        linux: Some(LinuxContainerConfig::default()),
        ..Default::default()
    }
}

#[test]
fn a_pod_by_hand_runs_logs_answers_exec_and_leaves_nothing() {
    inside_machine("a_pod_by_hand_runs_logs_answers_exec_and_leaves_nothing", |machine| async move {
        let cri = CriClient::new(machine.socket());
        assert_eq!(cri.version().await.unwrap().runtime_name, "containerd");
        let ready = |conditions: &[RuntimeCondition]| conditions.iter().all(|condition| condition.status);
        assert!(ready(&cri.status(false).await.unwrap().status.unwrap().conditions));
        assert!(cri.image_status(IMAGE).await.unwrap().is_some());
        assert!(cri.image_status("localhost/orlop/absent:v1").await.unwrap().is_none());

        let config = sandbox_config(&machine);
        let sandbox = match cri.run_pod_sandbox(config.clone(), "").await {
            Ok(id) => id,
            Err(error) => panic!("{error}\n{}", machine.containerd_log()),
        };
        let status = cri.pod_sandbox_status(&sandbox).await.unwrap();
        assert_eq!(status.state(), PodSandboxState::SandboxReady);
        assert!(status.network.unwrap().ip.starts_with("10.88."));

        let container = container_config(&["echo", "ahoy", ";", "wait", ";", "exit", "7"]);
        let id = cri.create_container(&sandbox, container, config).await.unwrap();
        if let Err(error) = cri.start_container(&id).await {
            panic!("{error}\n{}", machine.containerd_log());
        }
        let exec = |verb: &[&str]| {
            let command = std::iter::once("/guest").chain(verb.iter().copied()).map(str::to_owned).collect();
            cri.exec_sync(&id, command, Duration::from_secs(5))
        };
        assert_eq!(exec(&["echo", "from", "inside"]).await.unwrap().stdout, b"from inside\n");
        assert_eq!(exec(&["exit", "3"]).await.unwrap().exit_code, 3);

        cri.stop_container(&id, Duration::from_secs(10)).await.unwrap();
        let status = cri.container_status(&id).await.unwrap();
        assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 7));
        let log = std::fs::read_to_string(machine.dir("pods/by-hand").join("guest.log")).unwrap();
        let lines: Vec<&str> = log.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap()).collect();
        assert_eq!(lines, ["ahoy", "terminated"]);

        cri.stop_pod_sandbox(&sandbox).await.unwrap();
        cri.remove_pod_sandbox(&sandbox).await.unwrap();
        cri.remove_pod_sandbox(&sandbox).await.expect("removing what is gone is no error");
        assert!(cri.list_pod_sandboxes(None).await.unwrap().is_empty());
        assert!(cri.list_containers(None).await.unwrap().is_empty());
        assert!(cri.container_status(&id).await.unwrap_err().is_not_found());
    });
}
