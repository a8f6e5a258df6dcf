use serde_json::json;

use crate::cluster::Cluster;

const GROUP: &str = "/apis/authorization.k8s.io/v1";

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_may_do_can_be_asked() {
    let cluster = Cluster::start().await;
    cluster.kubectl("create clusterrole reader --verb=get,list,watch --resource=pods").await.unwrap();
    cluster.kubectl("create rolebinding eve --clusterrole=reader --user=eve").await.unwrap();
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
    assert_eq!(local("kube-system").await.0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_has_no_table() {
    let cluster = Cluster::start().await;
    let review = json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let request = http::Request::post(format!("{GROUP}/selfsubjectaccessreviews"))
        .header("content-type", "application/json")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    assert_eq!(cluster.send(request.body(review.to_string().into_bytes()).unwrap()).await.status(), 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_tells_what_it_may_do() {
    let cluster = Cluster::start().await;
    cluster.kubeconfig("eve", &["dev"]);
    cluster.kubectl("create clusterrole reader --verb=get,list,watch --resource=pods").await.unwrap();
    cluster.kubectl("create rolebinding eve --clusterrole=reader --user=eve").await.unwrap();
    let eve = |arguments: &'static str| cluster.kubectl_as("eve", arguments, "");
    assert_eq!(eve("auth can-i list pods").await.unwrap(), "yes\n");
    assert_eq!(eve("auth can-i delete pods -q").await, Err(String::new()));
    let listed = eve("auth can-i --list").await.unwrap();
    assert!(listed.lines().any(|l| l.starts_with("pods ") && l.contains("[get list watch]")), "{listed}");
    assert!(eve("auth whoami").await.unwrap().contains("[dev system:authenticated]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn acting_as_somebody_may_be_allowed_for_one_thing_alone() {
    let cluster = Cluster::start().await;
    cluster.kubeconfig("eve", &[]);
    cluster.kubectl("create role work --verb=list --resource=pods,configmaps").await.unwrap();
    cluster.kubectl("create rolebinding bob --role=work --user=bob").await.unwrap();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "act"},
        "rules": [{"verbs": ["impersonate:user-info"], "apiGroups": ["authentication.k8s.io"], "resources": ["users"], "resourceNames": ["bob"]}],
    });
    cluster.kubectl_as("admin", "create -f -", &role.to_string()).await.unwrap();
    for command in [
        "create clusterrolebinding act --clusterrole=act --user=eve",
        "create role act --verb=impersonate-on:user-info:list --resource=pods",
        "create rolebinding act --role=act --user=eve",
    ] {
        cluster.kubectl(command).await.unwrap();
    }
    let eve = |arguments: &'static str| cluster.kubectl_as("eve", arguments, "");
    eve("get pods --as=bob").await.unwrap();
    for refused in ["get configmaps --as=bob", "get pods --as=bob --as-group=dev", "get pods --as=alice", "get pods"] {
        let told = eve(refused).await.unwrap_err();
        assert!(told.contains("(Forbidden)"), "{refused}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acting_as_somebody_needs_permission_and_gives_theirs() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.kubectl("auth can-i create pods --as=eve -q").await, Err(String::new()));
    let shown = cluster.kubectl("auth whoami --as=eve --as-group=dev").await.unwrap();
    assert!(shown.contains("eve") && shown.contains("[dev system:authenticated]"), "{shown}");
    cluster.kubeconfig("eve", &[]);
    let refused = cluster.kubectl_as("eve", "get pods --as=admin --as-group=system:masters", "").await.unwrap_err();
    assert!(
        refused.contains("pods is forbidden: User \"eve\" cannot impersonate-on:user-info:list resource \"pods\""),
        "{refused}"
    );
    cluster.kubectl("create clusterrole as-bob --verb=impersonate --resource=users --resource-name=bob").await.unwrap();
    cluster.kubectl("create clusterrolebinding as-bob --clusterrole=as-bob --user=eve").await.unwrap();
    assert!(cluster.kubectl_as("eve", "auth whoami --as=bob", "").await.unwrap().contains("bob"));
    let refused = cluster.kubectl_as("eve", "get pods --as=bob --as-group=system:masters", "").await.unwrap_err();
    assert!(refused.contains("User \"eve\" cannot impersonate-on:user-info:list"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_away_what_they_do_not_have() {
    let cluster = Cluster::start().await;
    cluster.kubeconfig("eve", &[]);
    cluster
        .kubectl("create role rbac --verb=create --resource=roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io")
        .await
        .unwrap();
    cluster.kubectl("create rolebinding rbac --role=rbac --user=eve").await.unwrap();
    cluster.kubectl("create role look --verb=get --resource=pods").await.unwrap();
    cluster.kubectl("create rolebinding look --role=look --user=eve").await.unwrap();
    let eve = |arguments: &'static str| cluster.kubectl_as("eve", arguments, "");
    let refused = eve("create role more --verb=delete --resource=pods").await.unwrap_err();
    let why = "is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}";
    assert!(refused.contains(why), "{refused}");
    assert!(eve("create role same --verb=get --resource=pods").await.is_ok());
    assert!(
        eve("create rolebinding all --clusterrole=cluster-admin --user=eve")
            .await
            .unwrap_err()
            .contains("not currently held")
    );
    assert!(eve("create rolebinding friend --role=look --user=bob").await.is_ok());
    cluster.kubectl("create clusterrole killer --verb=delete --resource=pods").await.unwrap();
    let give = "create rolebinding killer --clusterrole=killer --user=bob";
    assert!(eve(give).await.unwrap_err().contains("not currently held"));
    cluster
        .kubectl(
            "create role binder --verb=bind --resource=clusterroles.rbac.authorization.k8s.io --resource-name=killer",
        )
        .await
        .unwrap();
    cluster.kubectl("create rolebinding binder --role=binder --user=eve").await.unwrap();
    assert!(eve(give).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_one_name_may_list_and_watch_it() {
    let cluster = Cluster::start().await;
    cluster.kubeconfig("eve", &["dev"]);
    cluster.kubectl("create role one --verb=list --resource=configmaps --resource-name=mine").await.unwrap();
    cluster.kubectl("create rolebinding eve --role=one --user=eve").await.unwrap();
    let eve = |arguments: &'static str| cluster.kubectl_as("eve", arguments, "");
    eve("get configmaps --field-selector metadata.name=mine").await.unwrap();
    assert!(eve("get configmaps --field-selector metadata.name=other").await.is_err());
    assert!(eve("get configmaps").await.is_err());
}
