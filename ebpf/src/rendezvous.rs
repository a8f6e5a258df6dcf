//! Which endpoint a flow belongs to, the same on every node: rendezvous hashing (highest random weight).
//!
//! Each endpoint's weight for a flow follows from the two alone, and the heaviest gets it. So an endpoint that goes takes
//! only its own flows along, one that comes takes its share from all, and nodes agree without knowing of each other. That
//! is what Maglev's tables are for; here there is no table to keep, to send to the kernel or to build anew with each
//! change. The price is a look at every endpoint of the set, once for each flow.

use crate::{Backend, FlowKey};

/// A hash of a flow; with affinity, of its client alone.
#[inline(always)]
pub const fn flow(key: &FlowKey, affinity: bool) -> u64 {
    let client = address(0, &key.source.words);
    if affinity {
        return client;
    }
    let ports = key.source_port as u64 | (key.destination_port as u64) << 16 | (key.protocol as u64) << 32;
    mix(address(client, &key.destination.words), ports)
}

/// An endpoint's weight for a flow.
#[inline(always)]
pub const fn weight(flow: u64, backend: &Backend) -> u64 {
    mix(address(flow, &backend.address.words), backend.port as u64)
}

#[inline(always)]
const fn address(hash: u64, words: &[u32; 4]) -> u64 {
    let high = words[0] as u64 | (words[1] as u64) << 32;
    let low = words[2] as u64 | (words[3] as u64) << 32;
    mix(mix(hash, high), low)
}

/// A round of splitmix64: every bit of the result depends on every bit before.
#[inline(always)]
const fn mix(hash: u64, word: u64) -> u64 {
    let mut hash = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeMap;
    use std::vec::Vec;

    use super::*;
    use crate::Address;

    const FLOWS: u32 = 20_000;

    fn backends(count: u32) -> Vec<Backend> {
        (0..count)
            .map(|n| Backend { address: Address::v4((0x0af4_0105 + n).to_be()), port: 8080_u16.to_be(), zero: 0 })
            .collect()
    }

    fn chosen(backends: &[Backend]) -> Vec<Backend> {
        let key = |n: u32| FlowKey {
            source: Address::v4((0xac1e_0000 + n / 50).to_be()),
            destination: Address::v4(0x0a60_000a_u32.to_be()),
            source_port: ((30_000 + n % 50) as u16).to_be(),
            destination_port: 80_u16.to_be(),
            protocol: 6,
        };
        let best = |n| backends.iter().max_by_key(|backend| weight(flow(&key(n), false), backend)).copied();
        (0..FLOWS).filter_map(best).collect()
    }

    #[test]
    fn every_endpoint_has_its_share() {
        for count in [2, 3, 10, 100] {
            let mut shares = BTreeMap::<Backend, f64>::new();
            chosen(&backends(count)).into_iter().for_each(|backend| *shares.entry(backend).or_default() += 1.0);
            let p = 1.0 / f64::from(count);
            let (mean, variance) = (f64::from(FLOWS) * p, f64::from(FLOWS) * p * (1.0 - p));
            assert_eq!(shares.len(), count as usize);
            assert!(
                shares.values().all(|share| (share - mean) * (share - mean) < 25.0 * variance),
                "{count}: {shares:?}"
            );
        }
    }

    #[test]
    fn an_endpoint_that_goes_moves_only_its_own_flows_and_one_that_comes_moves_flows_only_to_itself() {
        let all = backends(10);
        let before = chosen(&all);
        for gone in 0..all.len() {
            let mut fewer = all.clone();
            let gone = fewer.swap_remove(gone);
            for (before, after) in before.iter().zip(chosen(&fewer)) {
                assert!(*before == gone || *before == after);
            }
        }
        for (before, after) in before.iter().zip(chosen(&backends(11))) {
            assert!(*before == after || !all.contains(&after));
        }
    }
}
