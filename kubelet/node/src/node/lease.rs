//! The Node's Lease in `kube-node-lease`: the heartbeat that says the node is alive.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio::sync::watch;

use crate::config::Config;
use crate::kubelet::Kubelet;
use crate::within::within;

const NAMESPACE: &str = "kube-node-lease";

/// Renews the Lease for ever. `owner` is the Node's UID.
pub async fn keep(kubelet: &Kubelet, owner: watch::Receiver<String>) {
    let config = &kubelet.config;
    let api: Api<Lease> = Api::namespaced(config.client.clone(), NAMESPACE);
    let interval = config.node_lease_renew_interval;
    let first = interval.min(Duration::from_millis(200));
    let (mut pause, mut failed) = (first, false);
    loop {
        let uid = owner.borrow().clone();
        match within(interval.max(Duration::from_secs(1)), renew(&api, config, &uid)).await {
            Ok(()) => {
                if std::mem::take(&mut failed) {
                    kubelet.reconnected.send_modify(|count| *count += 1);
                }
                pause = first;
                tokio::time::sleep(interval).await;
            }
            Err(error) => {
                tracing::warn!(%error, node = config.node_name, "the Lease was not renewed");
                failed = true;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(interval).min(Duration::from_secs(7));
            }
        }
    }
}

async fn renew(api: &Api<Lease>, config: &Config, uid: &str) -> kube::Result<()> {
    let node = config.node_name.as_str();
    let seconds = config.node_lease_duration.as_secs().max(1);
    let spec = LeaseSpec {
        holder_identity: Some(node.to_owned()),
        lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    };
    let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
    match api.patch(node, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => {}
        other => return other.map(drop),
    }
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.to_owned(),
        uid: uid.to_owned(),
        ..OwnerReference::default()
    };
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}
