//! Every policy, state of endpoints, caller and protocol with real packets, in both modes: `matrix/table.txt` says what must come of it.
//!
//! One table, one judge, two beds: a real cluster of two nodes (`up`), which has IPv4 alone and no SCTP, and namespaces with proxies
//! alone, which have both families and every protocol.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "matrix/case.rs"]
mod case;
#[path = "matrix/judge.rs"]
mod judge;
#[path = "matrix/namespaces.rs"]
mod namespaces;
#[path = "matrix/table.rs"]
mod table;
#[path = "matrix/up.rs"]
mod up;
#[path = "matrix/walk.rs"]
mod walk;

use std::sync::{Mutex, PoisonError};

/// Whoever waits for an answer should wait for nobody else.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn in_turn(test: impl FnOnce()) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    test();
}

#[test]
fn nftables_does_what_the_table_says() {
    in_turn(|| up::matrix("matrix-n", "nftables"));
}

#[test]
fn ebpf_does_what_the_table_says() {
    in_turn(|| up::matrix("matrix-e", "ebpf"));
}

#[test]
fn nftables_does_it_with_both_families_and_every_protocol() {
    in_turn(|| namespaces::matrix("matrix-n", "nftables"));
}

#[test]
fn ebpf_does_it_with_both_families_and_every_protocol() {
    in_turn(|| namespaces::matrix("matrix-e", "ebpf"));
}
