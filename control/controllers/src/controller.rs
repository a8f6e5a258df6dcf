//! The loop that every controller runs: take a key, reconcile it, say how it went.

use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Queue;

/// What a reconcile asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing until something changes.
    Settled,
    /// Look again after this.
    After(Duration),
}

/// Runs `workers` workers over the queue until cancelled. A failed key is retried with back-off; conflicts, which only mean
/// that the view was old, are not worth a warning.
pub(crate) async fn work<T, F, R>(
    name: &'static str,
    queue: Queue<T>,
    workers: usize,
    stop: CancellationToken,
    reconcile: F,
) where
    T: Clone + Eq + Hash + Display + Send + Sync + 'static,
    F: Fn(T) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Next, kube::Error>> + Send,
{
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let (queue, stop, reconcile) = (queue.clone(), stop.clone(), reconcile.clone());
        tasks.spawn(async move {
            loop {
                let key = tokio::select! {
                    () = stop.cancelled() => return,
                    key = queue.next() => key,
                };
                let result = reconcile(key.clone()).await;
                queue.done(&key);
                match result {
                    Ok(next) => {
                        queue.forget(&key);
                        if let Next::After(delay) = next {
                            queue.add_after(key, delay);
                        }
                    }
                    Err(error) => {
                        if is_conflict(&error) {
                            tracing::debug!(controller = name, %key, %error, "trying again");
                        } else {
                            tracing::warn!(controller = name, %key, %error, "trying again");
                        }
                        queue.retry(key);
                    }
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        // A worker that panicked must not be missed silently: the controller ends with it.
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// The object changed since it was read.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict")
}

/// The object is not there.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// The object is there already.
pub(crate) fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

/// The namespace is being deleted: creating in it is pointless.
pub(crate) fn is_namespace_terminating(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains("because it is being terminated"))
}

/// `Ok` also if the object was gone already.
pub(crate) fn gone_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}
