//! How many seats a request takes: as many as it is work. A list, and a watch that begins with one, is as wide as what it reads;
//! everything else takes one seat. (kube-apiserver lets a write take more for a moment after its answer, for the watchers that are
//! told of it: there each costs an encoding, here an event is encoded once for all.)

use crate::request::{Query, RequestInfo};
use crate::server::ApiServer;

/// Bytes of a list that are one seat's work.
const BYTES_PER_SEAT: u64 = 100_000;
/// What is read from the cache is sent in pieces, and at most so much of it is in memory at once.
const STREAMED: u64 = 1_000_000;
/// No list takes more.
const WIDEST: u32 = 100;

/// The seats of a request, of which its priority level gives none more than `widest`.
pub(super) fn width(server: &ApiServer, info: &RequestInfo, query: &Query, widest: Option<u32>) -> u32 {
    let reads_all = match info.verb {
        "list" => true,
        "watch" => begins_with_all(query),
        _ => false,
    };
    if !info.is_resource || !reads_all {
        return 1;
    }
    // What others serve is their work.
    let Some(resource) = server.catalog().get(&info.group, &info.version, &info.resource).cloned() else { return 1 };
    let Ok(cache) = server.registry().hub().cache(&resource) else { return 1 };
    let (objects, bytes) = cache.weight();
    seats(info, query, objects as u64, bytes as u64).clamp(1, widest.unwrap_or(WIDEST).min(WIDEST))
}

/// Whether a watch tells first what there is.
fn begins_with_all(query: &Query) -> bool {
    query.flag("sendInitialEvents") || matches!(query.text("resourceVersion"), "" | "0")
}

fn seats(info: &RequestInfo, query: &Query, objects: u64, bytes: u64) -> u32 {
    let average = bytes / objects.max(1);
    let limit = query.text("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(u64::MAX);
    let limited = objects.min(limit);
    let cached = info.verb == "watch" || !reads_the_past(query, limit < u64::MAX);
    let selects = !query.text("fieldSelector").is_empty() || !query.text("labelSelector").is_empty();
    let loaded = if names_one(query) {
        1
    } else if !cached && selects {
        limited.max(objects / 2)
    } else {
        limited
    };
    let bytes = loaded.saturating_mul(average);
    let bytes = if cached { bytes.min(STREAMED) } else { bytes };
    u32::try_from(bytes.div_ceil(BYTES_PER_SEAT)).unwrap_or(u32::MAX)
}

/// Whether a list asks for one object by its name.
fn names_one(query: &Query) -> bool {
    query.text("fieldSelector").split(',').any(|part| part.starts_with("metadata.name="))
}

/// Whether a list may have to be read from the store.
fn reads_the_past(query: &Query, limited: bool) -> bool {
    match query.text("resourceVersionMatch") {
        "Exact" => true,
        "" => !query.text("continue").is_empty() || (limited && !matches!(query.text("resourceVersion"), "" | "0")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn of(query: &str, objects: u64, bytes: u64) -> u32 {
        let query = Query::parse(query);
        seats(&RequestInfo::new(&Method::GET, "/api/v1/configmaps", &query), &query, objects, bytes)
    }

    #[test]
    fn a_list_is_as_wide_as_what_it_reads() {
        assert_eq!(of("", 0, 0), 0);
        assert_eq!(of("", 10, 50_000), 1);
        assert_eq!(of("", 1000, 500_000), 5);
        assert_eq!(of("", 10_000, 9_400_000), 10, "from the cache it is sent in pieces");
        assert_eq!(of("limit=500", 10_000, 9_400_000), 5);
        assert_eq!(of("limit=500&labelSelector=a", 10_000, 9_400_000), 5);
        assert_eq!(of("fieldSelector=metadata.name%3Dx", 10_000, 9_400_000), 1);
    }

    #[test]
    fn the_past_costs_all_that_is_read() {
        assert_eq!(of("resourceVersion=7&resourceVersionMatch=Exact", 10_000, 9_400_000), 94);
        assert_eq!(of("continue=abc&limit=500&labelSelector=a", 10_000, 9_400_000), 47);
        assert_eq!(of("resourceVersion=7&resourceVersionMatch=NotOlderThan", 10_000, 9_400_000), 10);
    }

    #[test]
    fn a_watch_is_a_list_if_it_begins_with_one() {
        for (query, list) in [("", true), ("resourceVersion=0", true), ("resourceVersion=5", false)] {
            assert_eq!(begins_with_all(&Query::parse(query)), list, "{query}");
        }
        assert!(begins_with_all(&Query::parse("resourceVersion=5&sendInitialEvents=true")));
    }
}
