//! A limit on every call to the API server. A connection that was cut off says nothing for minutes: without a limit the node would
//! wait for it, and be silent long after the network is back.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;

use crate::pods::Known;

/// The limit on one ordinary call.
pub const CALL: Duration = Duration::from_secs(10);

/// The call's result, or an error when there is none in time. The connection of a call that is given up is not used again.
pub async fn within<T>(limit: Duration, call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
        let message = format!("the API server did not answer within {limit:?}");
        Err(kube::Error::Service(Box::new(io::Error::new(io::ErrorKind::TimedOut, message))))
    })
}

/// Whether the API server still has this very pod for this node. An error when it cannot say.
pub async fn still_has(api: &Api<Pod>, known: &Known, name: &str, uid: &str) -> kube::Result<bool> {
    match within(CALL, api.get_opt(name)).await {
        Ok(found) => Ok(found.is_some_and(|pod| pod.metadata.uid.as_deref() == Some(uid))),
        // To a node, a pod that is gone or another's is one that it has nothing to do with. But who lost its rights for a moment is
        // told the same: only what the watch has not (any more) is gone.
        Err(kube::Error::Api(answer)) if answer.code == 403 => {
            Ok(known.read().unwrap_or_else(PoisonError::into_inner).contains_key(uid))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    #[tokio::test]
    async fn a_node_that_lost_its_rights_does_not_take_its_pods_for_gone() {
        let refusal =
            br#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"Forbidden","code":403}"#;
        let server = tower::service_fn(move |_: Request<Body>| async move {
            Response::builder().status(403).body(Body::from(refusal.to_vec())).map_err(tower::BoxError::from)
        });
        let api = Api::<Pod>::namespaced(kube::Client::new(server, "default"), "default");
        let known = Known::default();
        known.write().unwrap().insert("u".into(), Arc::new(Pod::default()));
        assert!(still_has(&api, &known, "p", "u").await.unwrap());
        known.write().unwrap().clear();
        assert!(!still_has(&api, &known, "p", "u").await.unwrap());
    }

    #[tokio::test]
    async fn a_call_that_hangs_ends_with_an_error_that_says_so() {
        let error = within(Duration::from_millis(5), std::future::pending::<kube::Result<()>>()).await.unwrap_err();
        assert!(error.to_string().contains("did not answer within 5ms"), "{error}");
    }
}
