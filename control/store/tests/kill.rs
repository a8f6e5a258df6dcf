//! A process with many writers is killed with SIGKILL in the middle, again and again; every write that it had acknowledged is found.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use orlop_store::*;

const DIRECTORY: &str = "STORE_KILL_DIRECTORY";
const WRITERS: usize = 48;
const ROUNDS: u64 = 20;

fn open(directory: &Path) -> Embedded {
    // Small, so that kills fall into rotations and snapshots as well.
    Embedded::open(directory, Options { segment_bytes: 100_000, ..Options::default() }).unwrap()
}

fn keys(writer: usize) -> [String; 2] {
    [format!("/left/{writer}"), format!("/right/{writer}")]
}

async fn get(store: &Embedded, key: String) -> Option<(u64, Revision)> {
    let kv = store.range(RangeRequest::now(KeyRange::one(key))).await.unwrap().kvs.pop()?;
    Some((std::str::from_utf8(&kv.value).unwrap().trim_end_matches('.').parse().unwrap(), kv.mod_revision))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the test below"]
async fn child() {
    let store = Arc::new(open(Path::new(&std::env::var(DIRECTORY).unwrap())));
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut number = get(&store, keys(writer)[0].clone()).await.map_or(0, |(number, _)| number);
            loop {
                number += 1;
                let value = Bytes::from(format!("{number}{}", ".".repeat(number as usize * 37 % 700)));
                let put = |key: String| Op::Put { key: key.into(), value: value.clone(), lease: 0 };
                let txn = Txn { success: keys(writer).map(put).to_vec(), ..Txn::default() };
                store.txn(txn).await.unwrap();
                writeln!(std::io::stdout().lock(), "acknowledged {writer} {number}").unwrap();
            }
        })
    });
    futures::future::join_all(writers).await;
}

#[tokio::test]
async fn every_acknowledged_write_is_found_after_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<usize, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: String| {
            if let Some((_, text)) = line.split_once("acknowledged ")
                && let Some((writer, number)) = text.split_once(' ')
            {
                acknowledged.insert(writer.parse().unwrap(), number.parse().unwrap());
                return true;
            }
            false
        };
        while !note(lines.next().unwrap().unwrap()) {}
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20 + round * 53 % 150));
            child.kill().unwrap();
            child.wait().unwrap()
        });
        for line in lines {
            note(line.unwrap());
        }
        assert!(!killer.join().unwrap().success());
        let store = open(directory.path());
        for writer in 0..WRITERS {
            let [left, right] = keys(writer);
            let (left, right) = (get(&store, left).await, get(&store, right).await);
            assert_eq!(left, right, "writer {writer}: half a transaction");
            let (found, promised) = (left.map_or(0, |found| found.0), acknowledged.get(&writer).copied().unwrap_or(0));
            // A writer asks for one write at a time: one more than acknowledged may be there, never two.
            assert!(found == promised || found == promised + 1, "writer {writer}: {found}, acknowledged {promised}");
            acknowledged.insert(writer, found);
        }
    }
    let total: u64 = acknowledged.values().sum();
    println!("{total} transactions in {ROUNDS} lives");
    assert!(total > 2000, "only {total} transactions: the test does not press hard enough");
}
