//! Running a transaction on the index: everything that can refuse it is checked before its first step, so none is done by half.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::index::{Index, Revised};
use crate::lease::Leases;
use crate::{Compare, Op, OpResponse, StoreError, Txn, TxnResponse};

/// Whether a transaction can change anything.
pub(crate) fn writes(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| !matches!(op, Op::Range(_)))
}

/// What can be said against a transaction without looking at the store.
pub(crate) fn check(txn: &Txn, limit: usize) -> Result<(), StoreError> {
    let size = size(txn);
    if size > limit {
        return Err(StoreError::TooLarge { size, limit });
    }
    check_duplicates(&txn.success)?;
    check_duplicates(&txn.failure)
}

/// Bytes of keys and values.
fn size(txn: &Txn) -> usize {
    let range = |range: &crate::KeyRange| range.start.len() + range.end.as_ref().map_or(0, |end| end.len());
    let ops = txn.success.iter().chain(&txn.failure).map(|op| match op {
        Op::Range(request) => range(&request.range),
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete(deleted) => range(deleted),
    });
    ops.sum::<usize>() + txn.compare.iter().map(|Compare::ModRevision(key, _)| key.len()).sum::<usize>()
}

fn check_duplicates(ops: &[Op]) -> Result<(), StoreError> {
    let mut put = BTreeSet::new();
    for op in ops {
        if let Op::Put { key, .. } = op
            && !put.insert(key)
        {
            return Err(StoreError::DuplicateKey(key.clone()));
        }
    }
    for op in ops {
        if let Op::Delete(range) = op
            && let Some(key) = put.iter().find(|key| range.contains(key))
        {
            return Err(StoreError::DuplicateKey((*key).clone()));
        }
    }
    Ok(())
}

fn chosen<'a>(index: &Index, txn: &'a Txn) -> (bool, &'a [Op]) {
    let succeeded = txn
        .compare
        .iter()
        .all(|Compare::ModRevision(key, revision)| index.get(key).map_or(0, |kv| kv.mod_revision) == *revision);
    (succeeded, if succeeded { &txn.success } else { &txn.failure })
}

/// Runs a transaction without writes.
pub(crate) fn read(index: &Index, txn: &Txn) -> Result<TxnResponse, StoreError> {
    let (succeeded, ops) = chosen(index, txn);
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        if let Op::Range(request) = op {
            responses.push(OpResponse::Range(index.range(request)?));
        }
    }
    Ok(TxnResponse { succeeded, responses, revision: index.revision() })
}

/// Runs a transaction at the next revision. Gives the response and what it changed, if anything.
pub(crate) fn execute(
    index: &mut Index,
    leases: &mut Leases,
    txn: &Txn,
) -> Result<(TxnResponse, Option<Arc<Revised>>), StoreError> {
    let (succeeded, ops) = chosen(index, txn);
    for op in ops {
        match op {
            Op::Range(request) => index.readable(request.revision)?,
            Op::Put { lease, .. } if *lease != 0 && !leases.exists(*lease) => {
                return Err(StoreError::LeaseNotFound(*lease));
            }
            _ => {}
        }
    }
    let revision = index.revision() + 1;
    let mut events = Vec::new();
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        responses.push(match op {
            Op::Range(request) => OpResponse::Range(index.range(request)?),
            Op::Put { key, value, lease } => {
                events.push(index.put(revision, key.clone(), value.clone(), *lease));
                OpResponse::Put
            }
            Op::Delete(range) => {
                let deleted: Vec<_> =
                    index.live_in(range).iter().filter_map(|key| index.delete(revision, key)).collect();
                let before = deleted.iter().filter_map(|event| event.prev.clone()).collect();
                events.extend(deleted);
                OpResponse::Delete(before)
            }
        });
    }
    let revised = (!events.is_empty()).then(|| index.seal(revision, events));
    if let Some(revised) = &revised {
        revised.events.iter().for_each(|event| leases.follow(event));
    }
    Ok((TxnResponse { succeeded, responses, revision: index.revision() }, revised))
}
