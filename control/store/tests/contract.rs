//! What every implementation of [`Store`] must do, whatever else is in it: the tests use keys of their own and revisions relative to
//! the store's. `contract!` makes one test of each for an implementation.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use orlop_store::*;

async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    put_leased(store, key, value, 0).await.unwrap()
}

async fn put_leased(store: &dyn Store, key: &str, value: &str, lease: LeaseId) -> Result<Revision, StoreError> {
    let op = Op::Put { key: bytes(key), value: bytes(value), lease };
    Ok(store.txn(Txn { success: vec![op], ..Txn::default() }).await?.revision)
}

async fn delete(store: &dyn Store, key: &str) -> Revision {
    let op = Op::Delete(KeyRange::one(bytes(key)));
    store.txn(Txn { success: vec![op], ..Txn::default() }).await.unwrap().revision
}

async fn get(store: &dyn Store, key: &str) -> Option<KeyValue> {
    store.range(RangeRequest::now(KeyRange::one(bytes(key)))).await.unwrap().kvs.pop()
}

async fn at(store: &dyn Store, prefix: &str, revision: Revision) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    let request = RangeRequest { revision, ..RangeRequest::now(KeyRange::prefix(bytes(prefix))) };
    Ok(store.range(request).await?.kvs.into_iter().map(|kv| (kv.key, kv.value)).collect())
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(Bytes, Bytes)> {
    expected.iter().map(|(key, value)| (bytes(key), bytes(value))).collect()
}

/// Reads events until there are `count`.
async fn events(stream: &mut WatchStream, count: usize) -> Vec<Event> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let item = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.expect("an event within 10 s");
        if let WatchBatch::Events(batch) = item.expect("the watch goes on").unwrap() {
            seen.extend(batch);
        }
    }
    assert_eq!(seen.len(), count, "no more events than expected");
    seen
}

async fn progress(stream: &mut WatchStream) -> Revision {
    loop {
        let item = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.expect("progress within 10 s");
        if let WatchBatch::Progress(revision) = item.expect("the watch goes on").unwrap() {
            return revision;
        }
    }
}

/// A watch may be refused at once or with its first item.
async fn refusal(watch: Result<WatchStream, StoreError>) -> StoreError {
    match watch {
        Err(error) => error,
        Ok(mut stream) => stream.next().await.expect("an item").expect_err("a refusal"),
    }
}

async fn a_write_moves_the_revision_by_one_and_counts_versions(store: &dyn Store) {
    let before = store.revision().await.unwrap();
    assert_eq!(put(store, "/v/a", "1").await, before + 1);
    assert_eq!(put(store, "/v/a", "2").await, before + 2);
    let kv = get(store, "/v/a").await.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (before + 1, before + 2, 2));
    assert_eq!(delete(store, "/v/a").await, before + 3);
    assert_eq!(get(store, "/v/a").await, None);
    assert_eq!(put(store, "/v/a", "3").await, before + 4);
    let kv = get(store, "/v/a").await.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (before + 4, before + 4, 1));
    assert_eq!(store.revision().await.unwrap(), before + 4);
}

async fn a_transaction_that_changes_nothing_leaves_the_revision(store: &dyn Store) {
    let before = put(store, "/n/a", "1").await;
    assert_eq!(delete(store, "/n/none").await, before);
    let refused = Txn {
        compare: vec![Compare::ModRevision(bytes("/n/a"), 0)],
        success: vec![Op::Put { key: bytes("/n/a"), value: bytes("2"), lease: 0 }],
        failure: vec![Op::Range(RangeRequest::now(KeyRange::one("/n/a")))],
    };
    let response = store.txn(refused).await.unwrap();
    assert!(!response.succeeded);
    assert_eq!(response.revision, before);
    let [OpResponse::Range(range)] = response.responses.as_slice() else { panic!("one range: {response:?}") };
    assert_eq!(range.kvs[0].value, "1");
}

async fn compares_guard_creation_and_update(store: &dyn Store) {
    let guarded = |revision, value: &str| Txn {
        compare: vec![Compare::ModRevision(bytes("/c/a"), revision)],
        success: vec![Op::Put { key: bytes("/c/a"), value: bytes(value), lease: 0 }],
        failure: vec![],
    };
    let created = store.txn(guarded(0, "1")).await.unwrap();
    assert!(created.succeeded);
    assert!(!store.txn(guarded(0, "2")).await.unwrap().succeeded);
    assert!(store.txn(guarded(created.revision, "2")).await.unwrap().succeeded);
    assert!(!store.txn(guarded(created.revision, "3")).await.unwrap().succeeded);
    assert_eq!(get(store, "/c/a").await.unwrap().value, "2");
}

async fn of_many_concurrent_updates_of_one_revision_exactly_one_succeeds(store: &dyn Store) {
    let revision = put(store, "/o/a", "start").await;
    let tries = (0..32).map(|n| {
        store.txn(Txn {
            compare: vec![Compare::ModRevision(bytes("/o/a"), revision)],
            success: vec![Op::Put { key: bytes("/o/a"), value: bytes(&n.to_string()), lease: 0 }],
            failure: vec![],
        })
    });
    let won = futures::future::join_all(tries).await;
    assert_eq!(won.into_iter().filter(|response| response.as_ref().unwrap().succeeded).count(), 1);
}

async fn the_steps_of_a_transaction_share_a_revision_and_see_each_other(store: &dyn Store) {
    put(store, "/t/old", "1").await;
    let txn = Txn {
        compare: vec![],
        success: vec![
            Op::Put { key: bytes("/t/a"), value: bytes("1"), lease: 0 },
            Op::Delete(KeyRange::one("/t/old")),
            Op::Range(RangeRequest::now(KeyRange::prefix("/t/"))),
            Op::Put { key: bytes("/t/b"), value: bytes("2"), lease: 0 },
        ],
        failure: vec![],
    };
    let response = store.txn(txn).await.unwrap();
    let [OpResponse::Put, OpResponse::Delete(deleted), OpResponse::Range(range), OpResponse::Put] =
        response.responses.as_slice()
    else {
        panic!("an answer per step: {response:?}")
    };
    assert_eq!(deleted[0].key, "/t/old");
    assert_eq!(range.kvs.iter().map(|kv| kv.key.clone()).collect::<Vec<_>>(), ["/t/a"]);
    for key in ["/t/a", "/t/b"] {
        assert_eq!(get(store, key).await.unwrap().mod_revision, response.revision);
    }
}

async fn a_transaction_that_writes_a_key_twice_is_refused_whole(store: &dyn Store) {
    let put_op = |key: &str| Op::Put { key: bytes(key), value: bytes("x"), lease: 0 };
    for ops in [
        vec![put_op("/d/other"), put_op("/d/a"), put_op("/d/a")],
        vec![put_op("/d/other"), Op::Delete(KeyRange::prefix("/d/"))],
    ] {
        let refused = store.txn(Txn { success: ops, ..Txn::default() }).await;
        assert!(matches!(refused, Err(StoreError::DuplicateKey(_))), "{refused:?}");
    }
    assert_eq!(get(store, "/d/other").await, None);
}

async fn a_range_is_cut_by_its_limit_and_counts_beyond_it(store: &dyn Store) {
    for n in 0..5 {
        put(store, &format!("/r/{n}"), "x").await;
    }
    put(store, "/s", "outside").await;
    let all = RangeRequest::now(KeyRange::prefix("/r/"));
    let page = store.range(RangeRequest { limit: 2, ..all.clone() }).await.unwrap();
    assert_eq!((page.kvs.len(), page.count, page.more), (2, 5, true));
    assert_eq!(page.kvs[1].key, "/r/1");
    let page = store.range(RangeRequest { limit: 5, ..all.clone() }).await.unwrap();
    assert_eq!((page.kvs.len(), page.count, page.more), (5, 5, false));
    let counted = store.range(RangeRequest { count_only: true, ..all }).await.unwrap();
    assert_eq!((counted.kvs.len(), counted.count, counted.more), (0, 5, false));
    let none = KeyRange { start: bytes("/r/3"), end: Some(bytes("/r/1")) };
    assert_eq!(store.range(RangeRequest::now(none)).await.unwrap().count, 0);
    let to_the_end = KeyRange { start: bytes("/r/4"), end: Some(Bytes::from_static(b"\0")) };
    assert!(store.range(RangeRequest::now(to_the_end)).await.unwrap().count >= 2);
}

async fn an_old_revision_is_read_as_it_was(store: &dyn Store) {
    let first = put(store, "/h/a", "1").await;
    let second = put(store, "/h/b", "1").await;
    let third = put(store, "/h/a", "2").await;
    let fourth = delete(store, "/h/b").await;
    assert_eq!(at(store, "/h/", first - 1).await.unwrap(), pairs(&[]));
    assert_eq!(at(store, "/h/", first).await.unwrap(), pairs(&[("/h/a", "1")]));
    assert_eq!(at(store, "/h/", second).await.unwrap(), pairs(&[("/h/a", "1"), ("/h/b", "1")]));
    assert_eq!(at(store, "/h/", third).await.unwrap(), pairs(&[("/h/a", "2"), ("/h/b", "1")]));
    assert_eq!(at(store, "/h/", fourth).await.unwrap(), pairs(&[("/h/a", "2")]));
    let future = at(store, "/h/", fourth + 1000).await;
    assert!(matches!(future, Err(StoreError::Future { .. })), "{future:?}");
}

async fn compaction_forgets_what_was_before_and_nothing_else(store: &dyn Store) {
    put(store, "/k/a", "1").await;
    let second = put(store, "/k/a", "2").await;
    let third = put(store, "/k/b", "3").await;
    store.compact(third).await.unwrap();
    let old = at(store, "/k/", second).await;
    assert!(matches!(old, Err(StoreError::Compacted { .. })), "{old:?}");
    assert_eq!(at(store, "/k/", third).await.unwrap(), pairs(&[("/k/a", "2"), ("/k/b", "3")]));
    assert!(matches!(refusal(store.watch(KeyRange::prefix("/k/"), second).await).await, StoreError::Compacted { .. }));
    let mut stream = store.watch(KeyRange::prefix("/k/"), third).await.unwrap();
    assert_eq!(events(&mut stream, 1).await[0].kv.key, "/k/b");
    let again = store.compact(second).await;
    assert!(matches!(again, Err(StoreError::Compacted { .. })), "{again:?}");
    let future = store.compact(third + 1000).await;
    assert!(matches!(future, Err(StoreError::Future { .. })), "{future:?}");
}

async fn a_watch_from_the_past_goes_on_into_the_present(store: &dyn Store) {
    let first = put(store, "/w/a", "1").await;
    put(store, "/elsewhere", "x").await;
    put(store, "/w/a", "2").await;
    let mut stream = store.watch(KeyRange::prefix("/w/"), first).await.unwrap();
    let past = events(&mut stream, 2).await;
    delete(store, "/w/a").await;
    let present = events(&mut stream, 1).await;
    assert_eq!(past[0].prev, None);
    assert_eq!(past[0].kv.value, "1");
    assert_eq!(past[1].prev.as_ref(), Some(&past[0].kv));
    assert!(present[0].deleted && present[0].kv.value.is_empty());
    assert_eq!(present[0].prev.as_ref(), Some(&past[1].kv));
    assert_eq!(present[0].kv.mod_revision, store.revision().await.unwrap());
}

async fn a_watch_under_concurrent_writes_has_no_gap_and_no_duplicate(store: &dyn Store) {
    let before = store.revision().await.unwrap();
    let (writers, each) = (8, 40);
    let write = futures::future::join_all((0..writers).map(|writer| async move {
        for n in 0..each {
            put(store, &format!("/g/{writer}"), &n.to_string()).await;
        }
    }));
    let watch = futures::future::join_all((0..4).map(|late| async move {
        tokio::time::sleep(Duration::from_millis(late * 15)).await;
        let mut stream = store.watch(KeyRange::prefix("/g/"), before + 1).await.unwrap();
        events(&mut stream, writers * each).await
    }));
    let (_, seen) = tokio::join!(write, watch);
    for events in seen {
        assert!(events.windows(2).all(|pair| pair[0].kv.mod_revision < pair[1].kv.mod_revision));
        assert!(events.iter().all(|event| event.prev.is_some() == (event.kv.version > 1)));
    }
}

async fn a_batch_holds_whole_revisions(store: &dyn Store) {
    let before = store.revision().await.unwrap();
    let mut stream = store.watch(KeyRange::prefix("/b/"), before + 1).await.unwrap();
    for _ in 0..20 {
        let both = ["/b/a", "/b/b"].map(|key| Op::Put { key: bytes(key), value: bytes("x"), lease: 0 });
        store.txn(Txn { success: both.to_vec(), ..Txn::default() }).await.unwrap();
    }
    let mut seen = 0;
    while seen < 40 {
        if let WatchBatch::Events(events) = stream.next().await.unwrap().unwrap() {
            seen += events.len();
            assert!(events.chunks(2).all(|pair| pair[0].kv.mod_revision == pair[1].kv.mod_revision));
        }
    }
}

async fn progress_comes_after_the_past_and_when_asked_for(store: &dyn Store) {
    let first = put(store, "/p/a", "1").await;
    let now = put(store, "/elsewhere", "1").await;
    let mut stream = store.watch(KeyRange::prefix("/p/"), first).await.unwrap();
    events(&mut stream, 1).await;
    assert!(progress(&mut stream).await >= now);
    let later = put(store, "/elsewhere", "2").await;
    store.request_progress().await.unwrap();
    while progress(&mut stream).await < later {}
}

async fn keys_vanish_with_their_lease(store: &dyn Store) {
    let unknown = put_leased(store, "/l/x", "1", 987_654_321).await;
    assert!(matches!(unknown, Err(StoreError::LeaseNotFound(987_654_321))), "{unknown:?}");
    let lease = store.lease_grant(600).await.unwrap();
    assert_ne!(lease, 0);
    for key in ["/l/a", "/l/b", "/l/moved"] {
        put_leased(store, key, "1", lease).await.unwrap();
    }
    put(store, "/l/moved", "now without a lease").await;
    assert_eq!(get(store, "/l/a").await.unwrap().lease, lease);
    assert_eq!(store.lease_keep_alive(lease).await.unwrap(), 600);
    store.lease_revoke(lease).await.unwrap();
    assert_eq!(at(store, "/l/", 0).await.unwrap(), pairs(&[("/l/moved", "now without a lease")]));
    assert!(matches!(store.lease_revoke(lease).await, Err(StoreError::LeaseNotFound(_))));
    assert!(matches!(store.lease_keep_alive(lease).await, Err(StoreError::LeaseNotFound(_))));
}

async fn a_lease_expires_by_itself_unless_it_is_renewed(store: &dyn Store) {
    let (short, renewed) = (store.lease_grant(2).await.unwrap(), store.lease_grant(2).await.unwrap());
    let first = put_leased(store, "/e/short", "1", short).await.unwrap();
    put_leased(store, "/e/renewed", "1", renewed).await.unwrap();
    let renew = async {
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            store.lease_keep_alive(renewed).await.unwrap();
        }
    };
    let watch = async {
        let mut stream = store.watch(KeyRange::one("/e/short"), first).await.unwrap();
        events(&mut stream, 2).await
    };
    let (_, seen) = tokio::join!(renew, watch);
    assert!(seen[1].deleted);
    assert!(get(store, "/e/renewed").await.is_some());
}

macro_rules! contract {
    ($implementation:ident: $open:expr; $($test:ident)*) => {
        mod $implementation {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let (store, _keep) = $open;
                super::$test(&store).await;
            })*
        }
    };
}

contract! { embedded: {
        let directory = tempfile::tempdir().unwrap();
        (orlop_store::Embedded::open(directory.path(), orlop_store::Options::default()).unwrap(), directory)
    };
    a_write_moves_the_revision_by_one_and_counts_versions
    a_transaction_that_changes_nothing_leaves_the_revision
    compares_guard_creation_and_update
    of_many_concurrent_updates_of_one_revision_exactly_one_succeeds
    the_steps_of_a_transaction_share_a_revision_and_see_each_other
    a_transaction_that_writes_a_key_twice_is_refused_whole
    a_range_is_cut_by_its_limit_and_counts_beyond_it
    an_old_revision_is_read_as_it_was
    compaction_forgets_what_was_before_and_nothing_else
    a_watch_from_the_past_goes_on_into_the_present
    a_watch_under_concurrent_writes_has_no_gap_and_no_duplicate
    a_batch_holds_whole_revisions
    progress_comes_after_the_past_and_when_asked_for
    keys_vanish_with_their_lease
    a_lease_expires_by_itself_unless_it_is_renewed
}
