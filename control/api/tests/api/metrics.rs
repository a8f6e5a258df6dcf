use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::WatchParams;
use kube::{Api, api::ListParams};

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn requests_watches_and_objects_are_counted() {
    let cluster = Cluster::start().await;
    cluster.kubeconfig("eve", &[]);
    assert!(cluster.kubectl_as("eve", "get namespaces", "").await.is_err());
    let namespaces: Api<Namespace> = Api::all(cluster.admin());
    namespaces.list(&ListParams::default()).await.unwrap();
    let mut watch = namespaces.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert!(watch.next().await.unwrap().is_ok());
    cluster.kubectl("create namespace counted --dry-run=server").await.unwrap();
    cluster.kubectl("get --raw /livez").await.unwrap();
    let page = cluster.kubectl("get --raw /metrics").await.unwrap();
    let sample = |name: &str, labels: &[&str]| {
        let line = page.lines().find(|l| l.starts_with(name) && labels.iter().all(|label| l.contains(label)));
        line.unwrap_or_else(|| panic!("{name} {labels:?} in {page}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    let of = "resource=\"namespaces\"";
    assert!(sample("apiserver_request_total{", &["verb=\"LIST\"", of, "code=\"200\""]) >= 1.0);
    assert!(sample("apiserver_request_total{", &["verb=\"LIST\"", of, "code=\"403\""]) >= 1.0);
    assert!((sample("apiserver_longrunning_requests{", &["verb=\"WATCH\"", of]) - 1.0).abs() < 0.1);
    assert!((sample("apiserver_storage_objects{", &[of]) - 4.0).abs() < 0.1);
    assert!(sample("etcd_request_duration_seconds_count{", &["operation=\"create\"", of]) >= 4.0);
    assert!(sample("apiserver_watch_events_total{", &[of]) >= 4.0);
    assert!(sample("apiserver_response_sizes_sum{", &["verb=\"LIST\"", of]) > 1000.0);
    assert!((sample("apiserver_current_inflight_requests{", &["readOnly"]) - 1.0).abs() < 0.1, "this one");
    assert!(sample("process_resident_memory_bytes", &[]) > 1e6);
    assert!(sample("process_start_time_seconds", &[]) > 1.7e9);
    assert!(sample("apiserver_request_sli_duration_seconds_bucket{", &["verb=\"LIST\"", of, "le=\"1\""]) >= 1.0);
    assert!(sample("apiserver_request_total{", &["verb=\"GET\"", "subresource=\"/livez\"", "component=\"\""]) >= 1.0);
    assert!((sample("apiserver_resource_objects{", &[of, "group=\"\""]) - 4.0).abs() < 0.1);
    assert!(sample("apiserver_admission_step_admission_duration_seconds_count{", &["CREATE", "admit", "false"]) >= 1.0);
    assert!(sample("authenticated_user_requests{", &["username=\"other\""]) >= 1.0);
    assert!(sample("authorization_attempts_total{", &["result=\"no-opinion\""]) >= 1.0);
    for line in ["# TYPE apiserver_request_total counter\n", "# TYPE authentication_attempts counter\n"] {
        assert!(page.contains(line), "{line} in {page}");
    }
    assert!(!page.contains("# EOF"), "{page}");
    drop(watch);
    for _ in 0..50 {
        let page = cluster.kubectl("get --raw /metrics").await.unwrap();
        let line = page.lines().find(|l| l.starts_with("apiserver_longrunning_requests{")).unwrap();
        if line.ends_with(" 0") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the watch is still counted");
}
