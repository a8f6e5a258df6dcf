//! Power loss, `kill -9` and failing disks at every operation: whatever was acknowledged or shown is there afterwards, and every
//! transaction is there wholly or not at all. And the proof that these tests can fail: each sync in turn is left out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faulty;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use faulty::{Fault, FaultyDisk, Random, Survives};
use futures::StreamExt;
use orlop_store::disk::{Disk, SyncPoint};
use orlop_store::*;

/// Small, so that segments end and snapshots are taken all the time.
fn options() -> Options {
    Options {
        segment_bytes: 4000,
        keep_revisions: 24,
        progress_interval: Duration::from_secs(600),
        ..Options::default()
    }
}

fn value(key: &str, revision: Revision) -> Bytes {
    format!("{key}@{revision}:{}", "x".repeat((revision as usize * 131) % 1300)).into()
}

/// The keys that the transaction of a revision puts, and the prefixes that it deletes.
fn plan(revision: Revision) -> (Vec<String>, Vec<String>) {
    match revision % 11 {
        0 => (vec!["/c".into()], vec![format!("/a/{}", revision % 3)]),
        5 => (vec!["/c".into()], vec!["/b/".into()]),
        _ => (vec![format!("/a/{}", revision % 7), format!("/b/{}", revision % 5)], vec![]),
    }
}

fn txn(revision: Revision) -> Txn {
    let (puts, deletes) = plan(revision);
    let mut success: Vec<_> = deletes.into_iter().map(|prefix| Op::Delete(KeyRange::prefix(prefix))).collect();
    success.extend(puts.into_iter().map(|key| Op::Put { value: value(&key, revision), key: key.into(), lease: 0 }));
    Txn { success, ..Txn::default() }
}

type Model = BTreeMap<String, (Revision, Revision, i64)>;

/// Applies a revision to the model; gives the changed keys and whether they were deleted.
fn apply(model: &mut Model, revision: Revision) -> Vec<(String, bool)> {
    let (puts, deletes) = plan(revision);
    let mut changed = Vec::new();
    for prefix in deletes {
        let gone: Vec<_> = model.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        for key in gone {
            model.remove(&key);
            changed.push((key, true));
        }
    }
    for key in puts {
        let (create, _, version) = model.get(&key).copied().unwrap_or((revision, 0, 0));
        model.insert(key.clone(), (create, revision, version + 1));
        changed.push((key, false));
    }
    changed
}

/// What the store owes us.
#[derive(Default, Clone)]
struct Promises {
    /// The newest revision acknowledged or shown.
    kept: Revision,
    /// The newest revision asked for.
    asked: Revision,
    leases: Vec<LeaseId>,
}

/// Looks at everything in the store and compares it with the model.
async fn verify(store: &Embedded, promises: &mut Promises) -> Result<(), String> {
    let all = store.range(RangeRequest::now(KeyRange::prefix(""))).await.unwrap();
    let revision = all.revision;
    if revision < promises.kept {
        return Err(format!("revision {} was acknowledged or shown, and now it is {revision}", promises.kept));
    }
    if revision > promises.asked.max(1) {
        return Err(format!("revision {revision} was never asked for"));
    }
    let (mut model, mut changes) = (Model::new(), Vec::new());
    let compacted = store.stats().compacted.max(2);
    for revision in 2..=revision {
        let changed = apply(&mut model, revision);
        if revision >= compacted {
            changes.extend(changed.into_iter().map(|(key, deleted)| (revision, key, deleted)));
        }
    }
    let expected: Vec<_> = model
        .iter()
        .map(|(key, (create, modified, version))| KeyValue {
            key: key.clone().into(),
            value: value(key, *modified),
            create_revision: *create,
            mod_revision: *modified,
            version: *version,
            lease: 0,
        })
        .collect();
    if all.kvs != expected {
        return Err(format!("at revision {revision} the keys are not what was written"));
    }
    let mut stream = match store.watch(KeyRange::prefix(""), compacted).await {
        Ok(stream) => stream,
        // The disk failed while the store wrote ahead.
        Err(StoreError::Storage { .. }) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let mut seen = Vec::new();
    loop {
        let text = |key: &Bytes| String::from_utf8(key.to_vec()).unwrap();
        match stream.next().await {
            Some(Ok(WatchBatch::Events(events))) => {
                seen.extend(events.iter().map(|event| (event.kv.mod_revision, text(&event.kv.key), event.deleted)));
            }
            Some(Err(StoreError::Storage { .. })) => return Ok(()),
            _ => break,
        }
    }
    if seen != changes {
        return Err(format!("the history from {compacted} to {revision} is not what was written"));
    }
    for lease in &promises.leases {
        if let Err(StoreError::LeaseNotFound(id)) = store.lease_keep_alive(*lease).await {
            return Err(format!("lease {id} was granted and is gone"));
        }
    }
    promises.kept = revision;
    promises.asked = revision;
    Ok(())
}

/// Opens the store, verifies it and writes until `until` or an error.
async fn live(disk: &FaultyDisk, promises: &mut Promises, until: Revision) -> Result<(), String> {
    let store = match Embedded::open_on(Arc::new(disk.clone()), options()) {
        Ok(store) => store,
        Err(StoreError::Storage { .. }) => return Ok(()),
        Err(error) => return Err(format!("the store does not open: {error}")),
    };
    verify(&store, promises).await?;
    let mut next = promises.kept + 1;
    while next <= until {
        // Some together, so that frames hold several.
        let group: Vec<_> = if next % 4 == 0 { (next..next + 3).collect() } else { vec![next] };
        promises.asked = *group.last().unwrap();
        for outcome in futures::future::join_all(group.iter().map(|revision| store.txn(txn(*revision)))).await {
            match outcome {
                Ok(response) if response.revision == promises.kept + 1 => promises.kept += 1,
                Ok(response) => return Err(format!("revision {} follows {}", response.revision, promises.kept)),
                Err(_) => return failed(&store).await,
            }
        }
        next = promises.kept + 1;
        if next % 9 == 0 {
            match store.lease_grant(3600).await {
                Ok(lease) => promises.leases.push(lease),
                Err(_) => return failed(&store).await,
            }
        }
        if next % 32 == 0 {
            // Automatic compaction may have been there before.
            let _ = store.compact(next - 10).await;
        }
    }
    Ok(())
}

/// After the first failure nothing is acknowledged any more, and reads go on.
async fn failed(store: &Embedded) -> Result<(), String> {
    if store.lease_grant(1).await.is_ok() {
        return Err("a write was acknowledged after the disk had failed".to_owned());
    }
    store.range(RangeRequest::now(KeyRange::prefix(""))).await.map(|_| ()).map_err(|error| error.to_string())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Many lives on one disk, each ended by a kill, a loss of power or an error of the disk at a random operation.
fn lives(seed: u64, omitted: Option<SyncPoint>) -> Result<(), String> {
    let mut random = Random(seed);
    let mut disk = FaultyDisk::new(omitted);
    let mut promises = Promises::default();
    for life in 0..12 {
        let fault = if random.below(4) == 0 { Fault::Error } else { Fault::Death };
        let bound = if random.below(3) == 0 { 12 } else { 150 };
        disk.plan(1 + random.below(bound), fault);
        let until = promises.kept + 60;
        block_on(live(&disk, &mut promises, until)).map_err(|error| format!("seed {seed}, life {life}: {error}"))?;
        disk = match random.below(3) {
            0 => disk.after_kill(),
            1 => disk.after_power_loss(Survives::Nothing),
            _ => disk.after_power_loss(Survives::Some(random.next())),
        };
    }
    Ok(())
}

const UNTIL: Revision = 60;

/// Operations of an undisturbed run.
fn operations() -> usize {
    let disk = FaultyDisk::new(None);
    block_on(live(&disk, &mut Promises::default(), UNTIL)).unwrap();
    assert!(disk.list().unwrap().iter().any(|name| name.starts_with("snapshot-")), "the run takes snapshots");
    disk.operations()
}

#[test]
fn power_lost_at_any_operation_loses_nothing_acknowledged() {
    for operation in 1..=operations() {
        let disk = FaultyDisk::new(None);
        disk.plan(operation, Fault::Death);
        let mut promises = Promises::default();
        block_on(live(&disk, &mut promises, UNTIL)).unwrap();
        let some = (0..4).map(|seed| Survives::Some(operation as u64 * 1000 + seed));
        for survives in [Survives::Nothing, Survives::Everything].into_iter().chain(some) {
            let after = disk.after_power_loss(survives);
            let verified = block_on(live(&after, &mut promises.clone(), 0));
            verified.unwrap_or_else(|error| panic!("dead at operation {operation}, {survives:?} survives: {error}"));
        }
    }
}

#[test]
fn an_error_of_the_disk_at_any_operation_loses_nothing_acknowledged() {
    for operation in 1..=operations() {
        let disk = FaultyDisk::new(None);
        disk.plan(operation, Fault::Error);
        let mut promises = Promises::default();
        let outcome = async {
            live(&disk, &mut promises, UNTIL).await?;
            // What is shown after reopening must also survive the power.
            live(&disk.after_kill(), &mut promises, 0).await?;
            live(&disk.after_power_loss(Survives::Nothing), &mut promises, UNTIL + 20).await
        };
        block_on(outcome).unwrap_or_else(|error| panic!("error at operation {operation}: {error}"));
    }
}

#[test]
fn many_lives_of_kills_power_losses_and_errors_lose_nothing() {
    // More on demand: STORE_LIVES=10000 cargo test -p orlop-store --release --test power_loss
    let seeds = std::env::var("STORE_LIVES").map_or(150, |count| count.parse().unwrap());
    for seed in 0..seeds {
        lives(seed, None).unwrap();
    }
}

#[test]
fn leaving_out_any_one_sync_is_found() {
    for omitted in SyncPoint::ALL {
        let found = (0..3000).find_map(|seed| lives(seed, Some(omitted)).err());
        assert!(found.is_some(), "nothing was lost without {omitted:?}: it is superfluous, or these tests are blind");
        println!("without {omitted:?}: {}", found.unwrap());
    }
}

#[test]
fn every_sync_is_reached_by_an_ordinary_life() {
    let disk = FaultyDisk::new(None);
    let mut promises = Promises::default();
    block_on(live(&disk, &mut promises, UNTIL)).unwrap();
    let again = disk.after_kill();
    block_on(live(&again, &mut promises, UNTIL)).unwrap();
    assert!(!again.is_dead());
    assert_eq!(again.reached().len(), SyncPoint::ALL.len());
}

#[test]
fn a_damaged_byte_anywhere_is_an_error_and_never_a_loss() {
    let disk = FaultyDisk::new(None);
    let mut promises = Promises::default();
    block_on(live(&disk, &mut promises, UNTIL)).unwrap();
    for name in disk.list().unwrap() {
        // The zeros that were written ahead hold nothing yet.
        let used = disk.content(&name).iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for offset in (0..used).step_by(17) {
            let damaged = disk.after_power_loss(Survives::Everything);
            damaged.damage(&name, offset);
            let opened = Embedded::open_on(Arc::new(damaged), options());
            assert!(matches!(opened, Err(StoreError::Corrupt { .. })), "{name} at {offset}: {opened:?}");
        }
    }
}
