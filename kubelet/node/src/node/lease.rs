//! The Node's Lease in `kube-node-lease`: the heartbeat that says the node is alive. Renewed every 10 seconds, valid for 40.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams, PostParams};

const NAMESPACE: &str = "kube-node-lease";
const SECONDS: i32 = 40;
const RENEW: Duration = Duration::from_secs(10);

/// Renews the Lease for ever.
pub async fn keep(client: kube::Client, node: String, uid: String) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let mut pause = Duration::from_millis(200);
    loop {
        match renew(&api, &node, &uid).await {
            Ok(()) => {
                pause = Duration::from_millis(200);
                tokio::time::sleep(RENEW).await;
            }
            Err(error) => {
                tracing::warn!(%error, node, "the Lease was not renewed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(7));
            }
        }
    }
}

async fn renew(api: &Api<Lease>, node: &str, uid: &str) -> kube::Result<()> {
    let spec = LeaseSpec {
        holder_identity: Some(node.to_owned()),
        lease_duration_seconds: Some(SECONDS),
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
