//! Bootstrap tokens (`pkg/controller/bootstrap`): one controller takes away those that have ended, the other signs the ConfigMap
//! `cluster-info` in kube-public with each token that signs, so that a new node can believe what it reads there.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use orlop_auth::bootstrap_token::{BootstrapToken, Expiry};
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::{Informer, Key, Queue};

pub(crate) const CLEANER: &str = "token-cleaner";
pub(crate) const SIGNER: &str = "bootstrap-signer";
pub(crate) const CLUSTER_INFO: &str = "cluster-info";
const PUBLIC: &str = "kube-public";
const CONTENT: &str = "kubeconfig";
const SIGNATURE: &str = "jws-kubeconfig-";

/// The Secrets of bootstrap tokens.
pub(crate) fn secrets() -> Informer<Secret> {
    let (kind, namespace) = (orlop_auth::bootstrap_token::SECRET_TYPE, orlop_auth::bootstrap_token::NAMESPACE);
    Informer::selected(&format!("type={kind},metadata.namespace={namespace}"))
}

/// Takes tokens away that have ended, until cancelled.
pub(crate) async fn clean(client: Client, secrets: Arc<Informer<Secret>>, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    controller::enqueue(&secrets, &queue);
    secrets.synced().await;
    let reconcile = move |key: Key| {
        let (client, secrets) = (client.clone(), secrets.clone());
        async move {
            let Some(secret) = secrets.get(&key) else { return Ok(Next::Settled) };
            let now = Timestamp::now();
            match expiry(&secret, now) {
                Expiry::Never => Ok(Next::Settled),
                Expiry::At(at) => Ok(Next::After(at.duration_since(now).unsigned_abs())),
                Expiry::Past => {
                    let uid = secret.uid();
                    // Its end may just have been put off.
                    let only = Preconditions { uid, resource_version: secret.resource_version() };
                    let how = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
                    match Api::<Secret>::namespaced(client, &key.namespace).delete(&key.name, &how).await {
                        // It has changed, or another has taken its place: that is told.
                        Err(error) if controller::is_conflict(&error) => Ok(Next::Settled),
                        result => controller::gone_is_fine(result).map(|()| Next::Settled),
                    }
                }
            }
        }
    };
    controller::work(CLEANER, queue, 1, stop, reconcile).await;
}

/// Keeps the signatures of `cluster-info`, until cancelled.
pub(crate) async fn sign(
    client: Client,
    secrets: Arc<Informer<Secret>>,
    infos: Arc<Informer<ConfigMap>>,
    stop: CancellationToken,
) {
    let queue = Queue::<Key>::default();
    let info = Key { namespace: PUBLIC.into(), name: CLUSTER_INFO.into() };
    for_any_change(&secrets, &queue, &info);
    for_any_change(&infos, &queue, &info);
    secrets.synced().await;
    infos.synced().await;
    let reconcile = move |key: Key| {
        let (client, secrets, infos) = (client.clone(), secrets.clone(), infos.clone());
        async move {
            let Some(info) = infos.get(&key) else { return Ok(Next::Settled) };
            let data = info.data.clone().unwrap_or_default();
            if let Some(signed) = signed(&data, &secrets.all(), Timestamp::now()) {
                let changed = ConfigMap { data: Some(signed), ..info.as_ref().clone() };
                let api = Api::<ConfigMap>::namespaced(client, &key.namespace);
                controller::gone_is_fine(api.replace(&key.name, &PostParams::default(), &changed).await)?;
            }
            Ok(Next::Settled)
        }
    };
    controller::work(SIGNER, queue, 1, stop, reconcile).await;
}

fn for_any_change<K>(objects: &Informer<K>, queue: &Queue<Key>, key: &Key)
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
    K::DynamicType: Default,
{
    let (queue, key) = (queue.clone(), key.clone());
    objects.on_change(move |_, _| queue.add(key.clone()));
}

fn text(secret: &Secret, key: &str) -> Option<Vec<u8>> {
    secret.data.as_ref()?.get(key).map(|value| value.0.clone())
}

fn token(secret: &Secret) -> Option<BootstrapToken> {
    BootstrapToken::read(&secret.name_any(), |key| text(secret, key))
}

/// When a Secret ends, whatever else is wrong with it.
fn expiry(secret: &Secret, now: Timestamp) -> Expiry {
    let expiration = text(secret, "expiration").unwrap_or_default();
    Expiry::read(&String::from_utf8_lossy(&expiration), now)
}

/// The data with the signatures that it should have; `None` if it has them, or nothing to sign.
fn signed(
    data: &BTreeMap<String, String>,
    secrets: &[Arc<Secret>],
    now: Timestamp,
) -> Option<BTreeMap<String, String>> {
    let content = data.get(CONTENT)?;
    let mut wanted = data.clone();
    wanted.retain(|key, _| !key.starts_with(SIGNATURE));
    for token in secrets.iter().filter_map(|secret| token(secret)) {
        if let Some(signature) = token.sign(content, now) {
            wanted.insert(format!("{SIGNATURE}{}", token.id), signature);
        }
    }
    (wanted != *data).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(id: &str, more: &[(&str, &str)]) -> Arc<Secret> {
        let mut data = json!({});
        let usual = [("token-id", id), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")];
        for (key, value) in usual.iter().chain(more) {
            data[*key] = serde_json::to_value(k8s_openapi::ByteString(value.as_bytes().to_vec())).unwrap();
        }
        let object = json!({"metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
            "type": "bootstrap.kubernetes.io/token", "data": data});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn signatures_come_and_go_with_their_tokens() {
        let now = Timestamp::now();
        let info = BTreeMap::from([(CONTENT.to_owned(), "payload".to_owned())]);
        let tokens = [secret("abc123", &[]), secret("def456", &[("usage-bootstrap-signing", "no")])];
        let made = signed(&info, &tokens, now).unwrap();
        assert_eq!(made.keys().collect::<Vec<_>>(), ["jws-kubeconfig-abc123", CONTENT]);
        assert_eq!(signed(&made, &tokens, now), None);
        assert_eq!(signed(&made, &[], now), Some(info));
        assert_eq!(signed(&BTreeMap::new(), &tokens, now), None, "there is nothing to sign");
    }

    #[test]
    fn a_token_whose_end_cannot_be_read_has_ended() {
        let now = Timestamp::now();
        let of = |text: &str| expiry(&secret("abc123", &[("expiration", text)]), now);
        assert_eq!((of("soon"), of("2026-01-01T00:00:00Z"), of("")), (Expiry::Past, Expiry::Past, Expiry::Never));
        assert!(matches!(of("2999-01-01T00:00:00Z"), Expiry::At(_)));
    }
}
