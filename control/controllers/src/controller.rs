//! The loop that every controller runs: take a key, reconcile it, say how it went.

use std::any::Any;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use kube::Resource;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Informer, Key, Queue};

/// What a reconcile asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing until something changes.
    Settled,
    /// Look again after this.
    After(Duration),
}

/// Puts every object that comes, changes or goes into a queue.
pub(crate) fn enqueue<K>(objects: &Informer<K>, queue: &Queue<Key>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default,
{
    let queue = queue.clone();
    objects.on_change(move |old, new| {
        if let Some(object) = new.or(old) {
            queue.add(Key::of(object.as_ref()));
        }
    });
}

/// Runs `workers` workers over the queue until cancelled. A failed key is retried with back-off; conflicts, which only mean
/// that the view was old, are not worth a warning. A key whose reconcile panics has failed like any other: one object, which is
/// still stored at the next start, must not end all controllers.
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
                let result = AssertUnwindSafe(async { reconcile(key.clone()).await }).catch_unwind().await;
                queue.done(&key);
                match result {
                    Ok(Ok(next)) => {
                        queue.forget(&key);
                        if let Next::After(delay) = next {
                            queue.add_after(key, delay);
                        }
                    }
                    Ok(Err(error)) => {
                        if is_conflict(&error) {
                            tracing::debug!(controller = name, %key, %error, "trying again");
                        } else {
                            tracing::warn!(controller = name, %key, %error, "trying again");
                        }
                        queue.retry(key);
                    }
                    Err(panic) => {
                        tracing::error!(controller = name, %key, panic = message(panic.as_ref()), "panicked, trying again");
                        queue.retry(key);
                    }
                }
            }
        });
    }
    tasks.join_all().await;
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_whose_reconcile_panics_is_tried_again_and_holds_up_no_other() {
        let (queue, stop, panics) = (Queue::default(), CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let (good, mut reconciled) = tokio::sync::mpsc::unbounded_channel();
        let counted = panics.clone();
        let reconcile = move |key: &'static str| {
            let (panics, good) = (counted.clone(), good.clone());
            async move {
                if key == "bad" && panics.fetch_add(1, Ordering::SeqCst) < 2 {
                    panic!("a stored object");
                }
                good.send(key).unwrap();
                Ok(Next::Settled)
            }
        };
        queue.add("bad");
        queue.add("good");
        let running = tokio::spawn(work("test", queue, 1, stop.clone(), reconcile));
        assert_eq!(reconciled.recv().await, Some("good"));
        assert_eq!(reconciled.recv().await, Some("bad"));
        assert_eq!(panics.load(Ordering::SeqCst), 3, "twice it panicked");
        stop.cancel();
        running.await.unwrap();
    }
}
