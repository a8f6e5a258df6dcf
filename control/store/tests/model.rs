//! The embedded store against a model that keeps every state whole: whatever is asked in whatever order, the answers agree.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
#[path = "power_loss/faulty.rs"]
mod faulty;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use faulty::FaultyDisk;
use futures::StreamExt;
use orlop_store::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// Compare one key's revision with what it is (or not), then these or those.
    Txn {
        key: u8,
        right: bool,
        success: Vec<Change>,
        failure: Vec<Change>,
    },
    Range {
        from: u8,
        to: u8,
        back: i64,
        limit: usize,
    },
    Watch {
        from: u8,
        to: u8,
        back: i64,
    },
    Compact {
        back: i64,
    },
    Reopen,
}

#[derive(Clone, Debug)]
enum Change {
    Put(u8, u16),
    Delete(u8, u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..8u8, 0..900u16).prop_map(|(key, len)| Change::Put(key, len)),
        1 => (0..8u8, 0..9u8).prop_map(|(from, to)| Change::Delete(from, to)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let changes = || prop::collection::vec(change(), 0..4);
    prop_oneof![
        8 => (0..8u8, any::<bool>(), changes(), changes())
            .prop_map(|(key, right, success, failure)| Step::Txn { key, right, success, failure }),
        3 => (0..8u8, 0..9u8, -2..30i64, 0..4usize)
            .prop_map(|(from, to, back, limit)| Step::Range { from, to, back, limit }),
        1 => (0..8u8, 0..9u8, -1..30i64).prop_map(|(from, to, back)| Step::Watch { from, to, back }),
        1 => (-1..20i64).prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Reopen),
    ]
}

fn name(key: u8) -> Bytes {
    Bytes::from(format!("/k/{key}"))
}

fn range(from: u8, to: u8) -> KeyRange {
    KeyRange { start: name(from), end: Some(name(to)) }
}

type State = BTreeMap<Bytes, KeyValue>;

/// Every state and every event there ever was; index 0 is revision 1.
struct Model {
    states: Vec<State>,
    events: Vec<Vec<Event>>,
    compacted: Revision,
}

impl Model {
    fn revision(&self) -> Revision {
        self.states.len() as Revision
    }

    fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    /// Applies changes; `Err` if a key would change twice.
    fn apply(&mut self, changes: &[Change]) -> Result<(), ()> {
        let revision = self.revision() + 1;
        let (mut state, mut events) = (self.now().clone(), Vec::new());
        let puts: Vec<_> =
            changes.iter().filter_map(|c| if let Change::Put(key, _) = c { Some(*key) } else { None }).collect();
        for (position, key) in puts.iter().enumerate() {
            let deleted = |c: &Change| matches!(c, Change::Delete(from, to) if (from..to).contains(&key));
            if puts[..position].contains(key) || changes.iter().any(deleted) {
                return Err(());
            }
        }
        for change in changes {
            match change {
                Change::Put(key, len) => {
                    let prev = state.get(&name(*key)).cloned();
                    let kv = KeyValue {
                        key: name(*key),
                        value: vec![b'v'; *len as usize].into(),
                        create_revision: prev.as_ref().map_or(revision, |prev| prev.create_revision),
                        mod_revision: revision,
                        version: prev.as_ref().map_or(1, |prev| prev.version + 1),
                        lease: 0,
                    };
                    state.insert(name(*key), kv.clone());
                    events.push(Event { kv, prev, deleted: false });
                }
                Change::Delete(from, to) => {
                    for key in *from..*to {
                        let Some(prev) = state.remove(&name(key)) else { continue };
                        let kv = KeyValue {
                            key: name(key),
                            value: Bytes::new(),
                            create_revision: 0,
                            mod_revision: revision,
                            version: 0,
                            lease: 0,
                        };
                        events.push(Event { kv, prev: Some(prev), deleted: true });
                    }
                }
            }
        }
        if !events.is_empty() {
            self.states.push(state);
            self.events.push(events);
        }
        Ok(())
    }

    fn events_in(&self, wanted: &KeyRange, start: Revision) -> Vec<Event> {
        let from = (start - 1).max(0) as usize;
        self.events.iter().skip(from).flatten().filter(|event| wanted.contains(&event.kv.key)).cloned().collect()
    }
}

fn ops(changes: &[Change]) -> Vec<Op> {
    let op = |change: &Change| match change {
        Change::Put(key, len) => Op::Put { key: name(*key), value: vec![b'v'; *len as usize].into(), lease: 0 },
        Change::Delete(from, to) => Op::Delete(range(*from, *to)),
    };
    changes.iter().map(op).collect()
}

struct Watched {
    range: KeyRange,
    start: Revision,
    stream: WatchStream,
}

/// Reads what a watch has to say by now.
async fn drain(store: &Embedded, watched: &mut Watched, model: &Model) {
    store.request_progress().await.unwrap();
    let mut seen = Vec::new();
    loop {
        match watched.stream.next().await.unwrap().unwrap() {
            WatchBatch::Events(events) => seen.extend(events),
            WatchBatch::Progress(revision) if revision == model.revision() => break,
            WatchBatch::Progress(_) => {}
        }
    }
    assert_eq!(seen, model.events_in(&watched.range, watched.start));
    watched.start = model.revision() + 1;
}

async fn run(steps: Vec<Step>) {
    let disk = FaultyDisk::new(None);
    let options = Options { segment_bytes: 5000, ..Options::default() };
    let open = || Embedded::open_on(Arc::new(disk.clone()), options.clone()).unwrap();
    let mut store = open();
    let mut model = Model { states: vec![State::new()], events: vec![vec![]], compacted: 0 };
    let mut watches: Vec<Watched> = Vec::new();
    for step in steps {
        let now = model.revision();
        match step {
            Step::Txn { key, right, success, failure } => {
                let is = model.now().get(&name(key)).map_or(0, |kv| kv.mod_revision);
                let compare = vec![Compare::ModRevision(name(key), if right { is } else { is + 1 })];
                let txn = Txn { compare, success: ops(&success), failure: ops(&failure) };
                let chosen = if right { &success } else { &failure };
                let other = if right { &failure } else { &success };
                let mut trial = Model { states: vec![model.now().clone()], events: vec![vec![]], compacted: 0 };
                // Both branches are checked before either is run.
                let valid = trial.apply(other).is_ok() && model.apply(chosen).is_ok();
                match store.txn(txn).await {
                    Ok(response) => {
                        assert!(valid);
                        assert_eq!((response.succeeded, response.revision), (right, model.revision()));
                    }
                    Err(error) => assert!(!valid && matches!(error, StoreError::DuplicateKey(_)), "{error}"),
                }
            }
            Step::Range { from, to, back, limit } => {
                let revision = if back == -2 { 0 } else { (now - back).max(1) };
                let request = RangeRequest { revision, limit, ..RangeRequest::now(range(from, to)) };
                match store.range(request).await {
                    Ok(response) => {
                        let state = &model.states[if revision == 0 { now } else { revision } as usize - 1];
                        let wanted = range(from, to);
                        let all: Vec<_> = state.values().filter(|kv| wanted.contains(&kv.key)).cloned().collect();
                        let shown = if limit == 0 { all.len() } else { limit.min(all.len()) };
                        assert_eq!(response.kvs, all[..shown]);
                        assert_eq!((response.count, response.more), (all.len(), shown < all.len()));
                        assert!(revision == 0 || revision >= model.compacted);
                    }
                    Err(StoreError::Compacted { .. }) => assert!(revision != 0 && revision < model.compacted),
                    Err(error) => assert!(matches!(error, StoreError::Future { .. }) && revision > now, "{error}"),
                }
            }
            Step::Watch { from, to, back } => {
                let start = if back == -1 { 0 } else { (now + 1 - back).max(1) };
                match store.watch(range(from, to), start).await {
                    Ok(stream) => {
                        assert!(start == 0 || start >= model.compacted);
                        let start = if start == 0 { now + 1 } else { start };
                        watches.push(Watched { range: range(from, to), start, stream });
                    }
                    Err(error) => {
                        assert!(matches!(error, StoreError::Compacted { .. }) && start < model.compacted, "{error}");
                    }
                }
            }
            Step::Compact { back } => match store.compact(now - back).await {
                Ok(()) => {
                    assert!(now - back > model.compacted && back >= 0);
                    model.compacted = now - back;
                }
                Err(StoreError::Compacted { .. }) => assert!(now - back <= model.compacted),
                Err(error) => assert!(matches!(error, StoreError::Future { .. }) && back < 0, "{error}"),
            },
            Step::Reopen => {
                for mut watched in watches.drain(..) {
                    drain(&store, &mut watched, &model).await;
                }
                drop(store);
                store = open();
                let stats = store.stats();
                let bytes: usize = model.now().values().map(|kv| kv.key.len() + kv.value.len()).sum();
                assert_eq!((stats.keys, stats.bytes), (model.now().len(), bytes as u64));
                assert_eq!((stats.revision, stats.compacted), (now, model.compacted));
            }
        }
    }
    for mut watched in watches {
        drain(&store, &mut watched, &model).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_agrees_with_the_model(steps in prop::collection::vec(step(), 1..120)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}
