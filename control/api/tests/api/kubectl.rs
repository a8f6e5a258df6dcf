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
    cluster.kubectl("create clusterrole reader --verb=get,list --resource=pods").await.unwrap();
    cluster.kubectl("create clusterrolebinding eve --clusterrole=reader --user=eve").await.unwrap();
    assert!(cluster.kubectl_as("eve", "get pods", "").await.is_ok());
    assert!(cluster.kubectl_as("eve", "create configmap x", "").await.unwrap_err().contains("forbidden"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_of_the_readme() {
    let cluster = Cluster::start().await;
    let run = |text: &'static str| cluster.kubectl(text);
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    let create = |file: &str| format!("create -f {examples}/{file}");
    assert_eq!(cluster.kubectl(&create("mytomcat.rc.yaml")).await.unwrap(), "replicationcontroller/mytomcat created\n");
    assert_eq!(cluster.kubectl(&create("mytomcat.svc.yaml")).await.unwrap(), "service/mytomcat created\n");
    let all = run("get nodes,rc,pods,svc,endpoints -o wide").await.unwrap();
    assert!(
        all.lines().any(|l| l.starts_with("replicationcontroller/mytomcat") && l.contains("app=mytomcat")),
        "{all}"
    );
    assert!(all.lines().any(|l| l.starts_with("service/mytomcat") && l.contains("8080:30001/TCP")), "{all}");
    assert!(all.contains("endpoints/kubernetes   172.30.0.11:6443"), "{all}");
    assert_eq!(run("scale rc mytomcat --replicas=5").await.unwrap(), "replicationcontroller/mytomcat scaled\n");
    assert_eq!(run("get rc mytomcat -o jsonpath={.spec.replicas}").await.unwrap(), "5");
    let mismatch = run("scale rc mytomcat --current-replicas=2 --replicas=3").await.unwrap_err();
    assert!(mismatch.contains("Expected replicas to be 2, was 5"), "{mismatch}");
    assert!(run("describe rc mytomcat").await.unwrap().contains("0 current / 5 desired"));
    assert!(run("describe svc mytomcat").await.unwrap().contains("30001/TCP"));
    assert!(run("label rc mytomcat tier=web").await.unwrap().contains("labeled"));
    assert!(run("annotate rc mytomcat note=x").await.unwrap().contains("annotated"));
    let taken = run("create service nodeport other --tcp=80 --node-port=30001").await.unwrap_err();
    assert!(taken.contains("provided port is already allocated"), "{taken}");
    let gone = run("delete rc,svc --all").await.unwrap();
    assert!(gone.contains("replicationcontroller \"mytomcat\" deleted"), "{gone}");
    assert_eq!(run("get rc -o name").await.unwrap(), "");
    assert!(run("create service nodeport other --tcp=80 --node-port=30001").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_learns_what_there_is() {
    let cluster = Cluster::start().await;
    let run = |text: &'static str| cluster.kubectl(text);
    let resources = run("api-resources --sort-by=name").await.unwrap();
    for line in ["pods", "replicationcontrollers", "endpointslices", "leases", "roles"] {
        assert!(resources.lines().any(|l| l.starts_with(line)), "{resources}");
    }
    assert!(run("api-versions").await.unwrap().contains("apps/v1\n"));
    let explained = run("explain rc.spec.template.spec.containers.ports").await.unwrap();
    assert!(explained.contains("containerPort") && explained.contains("-required-"), "{explained}");
    assert!(run("version").await.unwrap().contains("Server Version: v1.36"));
    let ready = run("get --raw /readyz?verbose&exclude=etcd&exclude=what").await.unwrap();
    assert!(ready.contains("[+]etcd excluded: ok\n[+]etcd-readiness ok\n"), "{ready}");
    let told = "warn: some health checks cannot be excluded: no matches for \"what\"\nreadyz check passed\n";
    assert!(ready.ends_with(told), "{ready}");
    assert_eq!(run("get --raw /livez/poststarthook/rbac/bootstrap-roles").await.unwrap(), "ok");
    assert!(run("cluster-info").await.unwrap().contains("is running at"));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_a_deployment_and_changes_it() {
    let cluster = Cluster::start().await;
    let manifest = |image: &str| {
        format!(
            r#"{{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {{"name": "web"}}, "spec": {{
                "replicas": 3, "selector": {{"matchLabels": {{"app": "web"}}}},
                "template": {{"metadata": {{"labels": {{"app": "web"}}}}, "spec": {{"containers": [
                    {{"name": "web", "image": "{image}", "ports": [{{"containerPort": 80}}]}}]}}}}}}}}"#
        )
    };
    let apply =
        |image: &'static str| cluster.kubectl_as("admin", "apply -f -", Box::leak(manifest(image).into_boxed_str()));
    assert_eq!(apply("x:1").await.unwrap(), "deployment.apps/web created\n");
    assert_eq!(apply("x:1").await.unwrap(), "deployment.apps/web unchanged\n");
    assert_eq!(apply("x:2").await.unwrap(), "deployment.apps/web configured\n");
    let run = |text: &'static str| cluster.kubectl(text);
    assert_eq!(run("get deploy web -o jsonpath={..image},{.metadata.generation}").await.unwrap(), "x:2,2");
    assert!(run("scale deploy web --replicas=7").await.unwrap().contains("scaled"));
    assert!(run("set image deploy/web web=x:3").await.unwrap().contains("image updated"));
    assert!(
        run(
            "patch deploy web --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/template/spec/containers/0/ports\"}]"
        )
        .await
        .is_ok()
    );
    assert_eq!(run("get deploy web -o jsonpath={.spec.replicas},{..image},{..ports}").await.unwrap(), "7,x:3,");
    let invalid = run("patch deploy web -p {\"spec\":{\"replicas\":-1}}").await.unwrap_err();
    assert!(invalid.contains("spec.replicas: Invalid value: -1: must be greater than or equal to 0"), "{invalid}");
    assert!(run("delete deploy --all").await.unwrap().contains("deleted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_closes_ends_its_watches() {
    let mut cluster = Cluster::start().await;
    let config = cluster.directory.path().join("admin.kubeconfig");
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::config::Kubeconfig::read_from(config).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await.unwrap();
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> =
        kube::Api::all(kube::Client::try_from(config).unwrap());
    let mut events = Box::pin(namespaces.watch(&Default::default(), "0").await.unwrap());
    assert!(futures::StreamExt::next(&mut events).await.unwrap().is_ok());
    let started = std::time::Instant::now();
    cluster.close().await;
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "the grace is for requests that do not last");
    while futures::StreamExt::next(&mut events).await.is_some() {}
}
