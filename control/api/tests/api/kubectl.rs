use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_lists_the_system_namespaces() {
    let cluster = Cluster::start().await;
    let table = cluster.kubectl("get namespaces").await.unwrap();
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(table.lines().any(|l| l.starts_with(name) && l.contains("Active")), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_reads_changes_and_deletes() {
    let cluster = Cluster::start().await;
    let run = |text: &'static str| cluster.kubectl(text);
    assert_eq!(run("create configmap colours --from-literal=sky=blue").await.unwrap(), "configmap/colours created\n");
    assert!(run("create configmap colours").await.unwrap_err().contains("configmaps \"colours\" already exists"));
    assert_eq!(run("get configmap colours -o jsonpath={.data.sky}").await.unwrap(), "blue");
    assert!(run("get configmaps").await.unwrap().contains("colours   1"));
    run("patch configmap colours --type=merge -p {\"data\":{\"sea\":\"green\"}}").await.unwrap();
    run("label configmap colours kind=test").await.unwrap();
    assert_eq!(run("get configmap -l kind=test -o name").await.unwrap(), "configmap/colours\n");
    assert_eq!(run("get configmap -l kind!=test -o name").await.unwrap(), "");
    assert_eq!(run("get configmap colours -o jsonpath={.data.sky},{.data.sea}").await.unwrap(), "blue,green");
    run("delete configmap colours").await.unwrap();
    assert!(run("get configmap colours").await.unwrap_err().contains("configmaps \"colours\" not found"));
    assert!(run("-n nowhere create configmap x").await.unwrap_err().contains("namespaces \"nowhere\" not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_what_he_may_not_do() {
    let cluster = Cluster::start().await;
    cluster.kubeconfig("eve", &[]);
    let refused = cluster.kubectl_as("eve", "get pods", "").await.unwrap_err();
    assert!(
        refused.contains("pods is forbidden: User \"eve\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""),
        "{refused}"
    );
    cluster.kubectl("create clusterrolebinding eve --clusterrole=view --user=eve").await.unwrap();
    assert!(cluster.kubectl_as("eve", "get pods", "").await.is_ok());
    assert!(cluster.kubectl_as("eve", "create configmap x", "").await.unwrap_err().contains("forbidden"));
}
