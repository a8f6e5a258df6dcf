//! Whether a cell came true.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use orlop_chaos::Exchange;

/// If it did not: what happened.
pub fn judge(
    expected: &str,
    exchanges: &[&Exchange],
    own: &BTreeSet<IpAddr>,
    node: &BTreeSet<IpAddr>,
) -> Result<(), String> {
    let servers: BTreeSet<&str> = exchanges.iter().filter_map(|one| one.server()?.split(':').next()).collect();
    let failures: BTreeSet<String> = exchanges.iter().filter_map(|one| one.answer.clone().err()).collect();
    let sources: BTreeSet<IpAddr> = exchanges
        .iter()
        .filter_map(|one| one.answer.as_ref().ok()?.1.parse::<SocketAddr>().ok())
        .map(|address| address.ip())
        .collect();
    let (who, source) = expected.split_once('/').unwrap_or((expected, "any"));
    let expected_servers: &[&str] = match who {
        "each" => &["here", "there"],
        "here" => &["here"],
        "there" => &["there"],
        _ => &[],
    };
    let all_failed = |words: &[&str]| failures.iter().all(|failure| words.iter().any(|word| failure.contains(word)));
    let failed_well = match who {
        "refused" => !failures.is_empty() && all_failed(&["refused"]),
        "failure" => !failures.is_empty(),
        "dropped" => !failures.is_empty() && all_failed(&["timed out", "temporarily unavailable", "not permitted"]),
        _ => failures.is_empty(),
    };
    let seen_well = match source {
        "kept" => sources.is_subset(own),
        "node" => sources.is_subset(node),
        _ => true,
    };
    if servers.iter().eq(expected_servers) && failed_well && seen_well {
        return Ok(());
    }
    Err(format!("servers {servers:?} which saw {sources:?}, failures {failures:?}"))
}
