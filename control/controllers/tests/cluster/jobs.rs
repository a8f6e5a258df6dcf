use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_completes_and_goes_when_its_time_is_over() {
    let cluster = Cluster::start().await;
    let _node = cluster.node("node1").await;
    cluster.ready("default").await;
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sum"}, "spec": {
        "completions": 3, "parallelism": 2, "completionMode": "Indexed",
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "c"}]}}}});
    cluster.create::<Job>(job).await;
    let (jobs, pods) =
        (Api::<Job>::namespaced(cluster.client(), "default"), Api::<Pod>::namespaced(cluster.client(), "default"));
    let mut seen = std::collections::BTreeSet::new();
    let done = eventually(async || {
        for pod in pods.list(&ListParams::default()).await.unwrap() {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            seen.extend(pod.annotations().get("batch.kubernetes.io/job-completion-index").cloned());
            if phase == Some("Running") {
                let done = json!({"status": {"phase": "Succeeded"}});
                let _ = pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(done)).await;
            }
        }
        let status = jobs.get("sum").await.unwrap().status.unwrap_or_default();
        let conditions = status.conditions.clone().unwrap_or_default();
        let complete = conditions.iter().any(|condition| condition.type_ == "Complete" && condition.status == "True");
        if complete { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert_eq!((done.succeeded, done.completed_indexes.as_deref()), (Some(3), Some("0-2")));
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["0", "1", "2"]);
    // Only now, so that it cannot go before its status was read.
    let ttl = json!({"spec": {"ttlSecondsAfterFinished": 1}});
    jobs.patch("sum", &PatchParams::default(), &Patch::Merge(ttl)).await.unwrap();
    eventually(async || {
        let (job, pods) =
            (jobs.get_opt("sum").await.unwrap(), pods.list(&ListParams::default()).await.unwrap().items.len());
        if job.is_none() && pods == 0 { Ok(()) } else { Err(format!("{pods} pods, {job:?}")) }
    })
    .await;
}
