use serde_json::json;

use crate::cluster::Cluster;

const GROUP: &str = "/apis/authorization.k8s.io/v1";

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_may_do_can_be_asked() {
    let cluster = Cluster::start().await;
    cluster.kubectl("create rolebinding eve --clusterrole=view --user=eve").await.unwrap();
    let ask = |path: &str, kind: &str, verb: &str, namespace: &str| {
        let review = json!({
            "kind": kind, "apiVersion": "authorization.k8s.io/v1",
            "spec": {"user": "eve", "resourceAttributes": {"verb": verb, "resource": "pods", "namespace": namespace}},
        });
        let path = format!("{GROUP}/{path}");
        let cluster = &cluster;
        async move { cluster.json("POST", &path, review).await }
    };
    let subject = |verb, namespace| ask("subjectaccessreviews", "SubjectAccessReview", verb, namespace);
    assert_eq!(subject("list", "default").await.1["status"]["allowed"], true);
    assert_eq!(subject("delete", "default").await.1["status"]["allowed"], false);
    assert_eq!(subject("list", "kube-system").await.1["status"]["allowed"], false);
    let local =
        |namespace| ask("namespaces/default/localsubjectaccessreviews", "LocalSubjectAccessReview", "list", namespace);
    assert_eq!(local("default").await.1["status"]["allowed"], true);
    assert_eq!(local("kube-system").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_tells_what_it_may_do() {
    let cluster = Cluster::start().await;
    cluster.kubeconfig("eve", &["dev"]);
    cluster.kubectl("create rolebinding eve --clusterrole=view --user=eve").await.unwrap();
    let eve = |arguments: &'static str| cluster.kubectl_as("eve", arguments, "");
    assert_eq!(eve("auth can-i list pods").await.unwrap(), "yes\n");
    assert_eq!(eve("auth can-i delete pods -q").await, Err(String::new()));
    let listed = eve("auth can-i --list").await.unwrap();
    assert!(listed.lines().any(|l| l.starts_with("pods ") && l.contains("[get list watch]")), "{listed}");
    assert!(eve("auth whoami").await.unwrap().contains("[dev system:authenticated]"));
}
