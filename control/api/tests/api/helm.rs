//! helm 4, which installs by server-side apply and keeps its releases in Secrets.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Cluster;

fn helm() -> PathBuf {
    std::env::var_os("ORLOP_TOOLS").map_or_else(|| "helm".into(), |tools| PathBuf::from(tools).join("bin/helm"))
}

async fn run(cluster: &Cluster, arguments: &str) -> String {
    let directory: &Path = cluster.directory.path();
    let mut command = Command::new(helm());
    command.current_dir(directory).env("KUBECONFIG", directory.join("admin.kubeconfig"));
    for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(home, directory.join(home));
    }
    command.args(arguments.split_whitespace());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.expect("helm must be there: run `cargo xtask setup`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_upgrades_and_removes_a_chart() {
    let cluster = Cluster::start().await;
    run(&cluster, "create web").await;
    assert!(run(&cluster, "install web ./web").await.contains("STATUS: deployed"));
    let replicas = "get deployment web -o jsonpath={.spec.replicas}";
    assert_eq!(cluster.kubectl(replicas).await.unwrap(), "1");
    run(&cluster, "upgrade web ./web --set replicaCount=3").await;
    assert_eq!(cluster.kubectl(replicas).await.unwrap(), "3");
    let list = run(&cluster, "list").await;
    assert!(list.lines().any(|l| l.starts_with("web") && l.contains("deployed") && l.contains("\t2 ")), "{list}");
    run(&cluster, "rollback web 1").await;
    assert_eq!(cluster.kubectl(replicas).await.unwrap(), "1");
    run(&cluster, "uninstall web").await;
    assert_eq!(cluster.kubectl("get deployments,secrets -o name").await.unwrap(), "");
}
