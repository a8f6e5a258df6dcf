//! What the embedded store promises beyond the contract: bounds, restarts, and its directory to itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
#[path = "power_loss/faulty.rs"]
mod faulty;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use faulty::{Fault, FaultyDisk};
use futures::StreamExt;
use orlop_store::*;

fn write(key: &str, value: impl Into<Bytes>, lease: LeaseId) -> Txn {
    let op = Op::Put { key: Bytes::copy_from_slice(key.as_bytes()), value: value.into(), lease };
    Txn { success: vec![op], ..Txn::default() }
}

async fn put(store: &Embedded, key: &str, value: impl Into<Bytes>) -> Revision {
    store.txn(write(key, value, 0)).await.unwrap().revision
}

async fn count(store: &Embedded) -> usize {
    store.range(RangeRequest::now(KeyRange::prefix(""))).await.unwrap().count
}

fn on(disk: &FaultyDisk, options: Options) -> Embedded {
    Embedded::open_on(Arc::new(disk.clone()), options).unwrap()
}

#[tokio::test]
async fn the_first_write_is_revision_2() {
    let store = on(&FaultyDisk::new(None), Options::default());
    assert_eq!(store.revision().await.unwrap(), 1);
    assert_eq!(put(&store, "/a", "1").await, 2);
}

#[tokio::test]
async fn a_directory_belongs_to_one_store_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/on/demand");
    let store = Embedded::open(&path, Options::default()).unwrap();
    put(&store, "/a", "1").await;
    let second = Embedded::open(&path, Options::default());
    assert!(matches!(second, Err(StoreError::Locked(_))), "{second:?}");
    drop(store);
    let store = Embedded::open(&path, Options::default()).unwrap();
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn a_lease_survives_a_restart_with_its_whole_time_to_live() {
    let disk = FaultyDisk::new(None);
    let store = on(&disk, Options::default());
    let (short, long) = (store.lease_grant(1).await.unwrap(), store.lease_grant(600).await.unwrap());
    store.txn(write("/short", "1", short)).await.unwrap();
    store.txn(write("/long", "1", long)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    drop(store);
    let reopened = Instant::now();
    let store = on(&disk, Options::default());
    let mut stream = store.watch(KeyRange::one("/short"), 0).await.unwrap();
    while !matches!(stream.next().await.unwrap().unwrap(), WatchBatch::Events(_)) {}
    assert!(reopened.elapsed() >= Duration::from_millis(950), "expired after {:?}", reopened.elapsed());
    assert_eq!(count(&store).await, 1);
    assert_eq!(store.lease_keep_alive(long).await.unwrap(), 600);
    drop(store);
    let store = on(&disk, Options::default());
    assert!(matches!(store.lease_keep_alive(short).await, Err(StoreError::LeaseNotFound(_))));
    assert!(store.lease_grant(1).await.unwrap() > long, "identities are never used twice");
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_off_and_others_are_not() {
    let options = Options { watch_buffer_events: 50, ..Options::default() };
    let store = on(&FaultyDisk::new(None), options);
    let mut slow = store.watch(KeyRange::prefix("/a"), 0).await.unwrap();
    let mut other = store.watch(KeyRange::prefix("/b"), 0).await.unwrap();
    for n in 0..60 {
        put(&store, "/a", n.to_string()).await;
    }
    put(&store, "/b", "1").await;
    assert!(matches!(slow.next().await, Some(Ok(WatchBatch::Progress(_)))));
    assert!(matches!(slow.next().await, Some(Err(StoreError::Slow))));
    assert!(slow.next().await.is_none());
    assert!(matches!(other.next().await, Some(Ok(WatchBatch::Progress(_)))));
    assert!(matches!(other.next().await, Some(Ok(WatchBatch::Events(_)))));
    assert_eq!(store.stats().watchers, 1);
    drop(other);
    assert_eq!(store.stats().watchers, 0);
}

#[tokio::test]
async fn a_watcher_whose_bytes_pile_up_is_cut_off() {
    let store = on(&FaultyDisk::new(None), Options { watch_buffer_bytes: 10_000, ..Options::default() });
    let mut slow = store.watch(KeyRange::prefix("/a"), 0).await.unwrap();
    for _ in 0..11 {
        put(&store, "/a", vec![b'x'; 1000]).await;
    }
    slow.next().await.unwrap().unwrap();
    assert!(matches!(slow.next().await, Some(Err(StoreError::Slow))));
}

#[tokio::test]
async fn a_quiet_watch_is_told_its_progress() {
    let options = Options { progress_interval: Duration::from_millis(50), ..Options::default() };
    let store = on(&FaultyDisk::new(None), options);
    let mut stream = store.watch(KeyRange::prefix("/a"), 0).await.unwrap();
    let now = put(&store, "/elsewhere", "1").await;
    while !matches!(stream.next().await, Some(Ok(WatchBatch::Progress(revision))) if revision == now) {}
}

#[tokio::test]
async fn history_is_bounded_by_revisions_bytes_and_time() {
    let bounds = [
        Options { keep_revisions: 100, ..Options::default() },
        Options { keep_bytes: 100_000, ..Options::default() },
        Options { keep_time: Duration::from_millis(5), ..Options::default() },
    ];
    for options in bounds {
        let store = on(&FaultyDisk::new(None), options.clone());
        for n in 0..400 {
            put(&store, &format!("/{}", n % 3), vec![b'x'; 1000]).await;
        }
        if options.keep_time < Duration::from_secs(1) {
            // By the clock alone, without another write.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let stats = store.stats();
        assert!(stats.history_revisions <= 106, "{options:?}: {stats:?}");
        assert!(stats.history_bytes <= 107_000, "{options:?}: {stats:?}");
        let old = store.watch(KeyRange::prefix("/"), stats.compacted - 1).await;
        assert!(matches!(old, Err(StoreError::Compacted { .. })));
        assert_eq!(count(&store).await, 3);
    }
}

#[tokio::test]
async fn the_log_is_bounded_by_the_data_and_not_by_its_past() {
    let disk = FaultyDisk::new(None);
    let options = Options { segment_bytes: 50_000, keep_revisions: 10, ..Options::default() };
    let store = on(&disk, options.clone());
    let mut largest = 0;
    for n in 0..2000 {
        put(&store, &format!("/{}", n % 10), vec![b'x'; 1000]).await;
        largest = largest.max(store.stats().log_bytes);
    }
    // A snapshot is written beside the traffic; give it some slack.
    assert!(largest < 1_000_000, "the log grew to {largest}");
    drop(store);
    let store = on(&disk, options);
    assert_eq!(count(&store).await, 10);
    assert!(store.stats().snapshot_bytes < 50_000, "{:?}", store.stats());
}

#[tokio::test]
async fn a_watch_from_before_a_restart_finds_its_past_even_through_a_snapshot() {
    let disk = FaultyDisk::new(None);
    let options = Options { segment_bytes: 5000, ..Options::default() };
    let store = on(&disk, options.clone());
    let first = put(&store, "/a", "first").await;
    for _ in 0..50 {
        put(&store, "/a", vec![b'x'; 500]).await;
    }
    drop(store);
    let store = on(&disk, options);
    assert!(store.stats().snapshot_bytes > 0);
    let mut stream = store.watch(KeyRange::one("/a"), first).await.unwrap();
    let Some(Ok(WatchBatch::Events(events))) = stream.next().await else { panic!("the past comes first") };
    assert_eq!(events.len(), 51);
    assert_eq!(events[0].kv.value, "first");
}

#[tokio::test]
async fn a_transaction_over_the_limit_is_refused() {
    let store = on(&FaultyDisk::new(None), Options::default());
    let refused = store.txn(write("/a", vec![b'x'; 2 << 20], 0)).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    put(&store, "/a", vec![b'x'; 1 << 20]).await;
}

#[tokio::test]
async fn a_full_disk_ends_writes_and_watches_but_not_reads() {
    let disk = FaultyDisk::new(None);
    let store = on(&disk, Options::default());
    put(&store, "/a", "1").await;
    let mut stream = store.watch(KeyRange::prefix("/"), 0).await.unwrap();
    stream.next().await.unwrap().unwrap();
    disk.plan(1, Fault::Error);
    for _ in 0..2 {
        let refused = store.txn(write("/b", "1", 0)).await;
        assert!(matches!(refused, Err(StoreError::Storage { .. })), "{refused:?}");
    }
    assert!(matches!(stream.next().await, Some(Err(StoreError::Storage { .. }))));
    assert!(stream.next().await.is_none());
    assert_eq!((count(&store).await, store.revision().await.unwrap()), (1, 2));
    drop(store);
    let store = on(&disk, Options::default());
    // What was refused may have been written.
    let revision = store.revision().await.unwrap();
    assert!(revision == 2 || revision == 3, "{revision}");
    assert_eq!(put(&store, "/c", "1").await, revision + 1);
}

#[tokio::test]
async fn watches_end_when_the_store_is_closed() {
    let store = on(&FaultyDisk::new(None), Options::default());
    let mut stream = store.watch(KeyRange::prefix("/"), 0).await.unwrap();
    drop(store);
    assert!(matches!(stream.next().await, Some(Ok(WatchBatch::Progress(1)))));
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo test -p orlop-store --release --test embedded -- --ignored --nocapture"]
async fn creates_per_second_with_real_fsync() {
    for clients in [1, 16, 64, 256] {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let store = Arc::new(Embedded::open(directory.path(), Options::default()).unwrap());
        let until = Instant::now() + Duration::from_secs(3);
        let tasks = (0..clients).map(|client| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut created = 0;
                while Instant::now() < until {
                    let key = format!("/registry/pods/default/{client}-{created}");
                    let compare = vec![Compare::ModRevision(Bytes::from(key.clone()), 0)];
                    let txn = Txn { compare, ..write(&key, vec![b'x'; 1024], 0) };
                    assert!(store.txn(txn).await.unwrap().succeeded);
                    created += 1;
                }
                created
            })
        });
        let created: usize = futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).sum();
        println!("{clients} clients: {} creates/s of 1 KiB", created / 3);
    }
}
