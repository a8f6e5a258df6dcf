//! What every namespace has: the ServiceAccount `default` (`pkg/controller/serviceaccount`) and the ConfigMap `kube-root-ca.crt`
//! with the CA by which pods know the API server (`pkg/controller/certificates/rootcacertpublisher`).
//!
//! Both controllers are one loop over namespaces: [`Wanted`] says what must be there.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::{Informer, Key, Queue};

const WORKERS: usize = 2;

/// An object that every namespace has.
pub(crate) trait Wanted: Clone + Send + Sync + 'static {
    /// The controller's name, also of its service account.
    const CONTROLLER: &'static str;
    /// The object's kind.
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// Its name.
    fn name(&self) -> &'static str;
    /// The object as it should be, given the one that is there; `None` if that will do.
    fn object(&self, current: Option<&Self::Object>) -> Option<Self::Object>;
}

/// The ServiceAccount `default`.
#[derive(Clone)]
pub(crate) struct DefaultAccount;

impl Wanted for DefaultAccount {
    const CONTROLLER: &'static str = "service-account-controller";
    type Object = ServiceAccount;

    fn name(&self) -> &'static str {
        "default"
    }

    fn object(&self, current: Option<&ServiceAccount>) -> Option<ServiceAccount> {
        let metadata = ObjectMeta { name: Some(self.name().into()), ..ObjectMeta::default() };
        current.is_none().then(|| ServiceAccount { metadata, ..ServiceAccount::default() })
    }
}

/// The ConfigMap `kube-root-ca.crt`.
#[derive(Clone)]
pub(crate) struct RootCa(pub(crate) Arc<str>);

impl RootCa {
    /// The ConfigMap's name.
    pub(crate) const NAME: &'static str = "kube-root-ca.crt";
}

impl Wanted for RootCa {
    const CONTROLLER: &'static str = "root-ca-cert-publisher";
    type Object = ConfigMap;

    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn object(&self, current: Option<&ConfigMap>) -> Option<ConfigMap> {
        let data = BTreeMap::from([("ca.crt".to_owned(), self.0.to_string())]);
        if current.is_some_and(|current| current.data.as_ref() == Some(&data)) {
            return None;
        }
        let mut wanted = current.cloned().unwrap_or_default();
        wanted.metadata.name = Some(Self::NAME.into());
        // Who reads it should know what it is for.
        wanted.metadata.annotations.get_or_insert_default().insert(
            "kubernetes.io/description".into(),
            "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
             internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
             clusters."
                .into(),
        );
        wanted.data = Some(data);
        Some(wanted)
    }
}

/// Runs one of the two controllers until cancelled.
pub(crate) async fn run<W: Wanted>(
    wanted: W,
    client: Client,
    namespaces: Arc<Informer<Namespace>>,
    objects: Arc<Informer<W::Object>>,
    stop: CancellationToken,
) {
    let queue = Queue::<Key>::default();
    let changed = queue.clone();
    namespaces.on_change(move |_, new| {
        if let Some(namespace) = new {
            changed.add(Key::of(namespace.as_ref()));
        }
    });
    let (changed, name) = (queue.clone(), wanted.name());
    objects.on_change(move |old, new| {
        if let Some(object) = new.or(old).filter(|object| object.name_any() == name) {
            changed.add(Key::new("", object.namespace().unwrap_or_default()));
        }
    });
    namespaces.synced().await;
    objects.synced().await;
    let reconcile = move |key: Key| {
        let (wanted, client, namespaces, objects) =
            (wanted.clone(), client.clone(), namespaces.clone(), objects.clone());
        async move {
            let Some(namespace) = namespaces.get(&key) else { return Ok(Next::Settled) };
            let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
            if phase == Some("Terminating") || namespace.metadata.deletion_timestamp.is_some() {
                return Ok(Next::Settled);
            }
            let current = objects.get(&Key::new(key.name.clone(), wanted.name()));
            let Some(object) = wanted.object(current.as_deref()) else { return Ok(Next::Settled) };
            let api = Api::<W::Object>::namespaced(client, &key.name);
            let result = match current {
                Some(_) => api.replace(wanted.name(), &PostParams::default(), &object).await,
                None => api.create(&PostParams::default(), &object).await,
            };
            match result {
                Ok(_) => Ok(Next::Settled),
                // The view is behind, or the namespace is going: either way it will be looked at again if need be.
                Err(error) if controller::is_already_exists(&error) || controller::is_namespace_terminating(&error) => {
                    Ok(Next::Settled)
                }
                Err(error) => Err(error),
            }
        }
    };
    controller::work(W::CONTROLLER, queue, WORKERS, stop, reconcile).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_ca_is_written_when_it_is_missing_or_another() {
        let ca = RootCa("pem".into());
        let wanted = ca.object(None).unwrap();
        assert_eq!(wanted.data.as_ref().unwrap()["ca.crt"], "pem");
        assert_eq!(ca.object(Some(&wanted)), None);
        assert!(RootCa("new".into()).object(Some(&wanted)).is_some());
    }

    #[test]
    fn a_default_account_is_left_as_it_is() {
        let account = DefaultAccount.object(None).unwrap();
        assert!(DefaultAccount.object(Some(&account)).is_none());
    }
}
