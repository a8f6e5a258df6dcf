//! Maglev tables: which slot of a set each place has.
//!
//! Every endpoint has an order of preference of the places, which follows from its address and port; in turns, each takes
//! the first that is free. A table depends on who is in the set, not on who came first. Its size must not change with every
//! endpoint, for then every flow would move; it has three, each at least a hundred times the endpoints it is for (but for the
//! largest).

use orlop_ebpf::Backend;
use orlop_ebpf::maglev::{ROW, Row, address, mix};

/// Up to how many endpoints a table has how many places: primes.
const SIZES: [(usize, u32); 3] = [(10, 1_021), (163, 16_381), (65_536, 131_071)];

/// The size of the table for a set of so many endpoints; zero: none is needed, or can be.
pub fn size(endpoints: usize) -> u32 {
    let fitting = SIZES.into_iter().find(|(most, _)| endpoints <= *most);
    fitting.filter(|_| endpoints > 1).map_or(0, |(_, size)| size)
}

/// How many rows a table of this size has.
pub fn rows_of(size: u32) -> usize {
    (size as usize).div_ceil(ROW)
}

/// The table of the endpoints in a set's slots.
pub fn rows(slots: &[Backend]) -> Vec<Row> {
    let size = size(slots.len());
    let mut rows = vec![Row { slots: [0; ROW] }; rows_of(size)];
    for (place, slot) in places(slots, size).into_iter().enumerate() {
        rows[place / ROW].slots[place % ROW] = slot;
    }
    rows
}

/// An endpoint's way through the places.
struct Preference {
    slot: u16,
    next: u32,
    skip: u32,
}

fn places(slots: &[Backend], size: u32) -> Vec<u16> {
    const FREE: u16 = u16::MAX;
    let mut places = vec![FREE; size as usize];
    // In turns, which must be the same wherever the endpoints have other slots.
    let mut turns: Vec<(Backend, u16)> = (0..).zip(slots).map(|(slot, backend)| (*backend, slot)).collect();
    turns.sort_unstable();
    let mut turns: Vec<Preference> =
        turns.into_iter().filter(|_| size > 0).map(|(backend, slot)| preference(&backend, slot, size)).collect();
    let mut free = places.len();
    while free > 0 && !turns.is_empty() {
        for preference in turns.iter_mut().take(free) {
            // The skip and the size have no common divisor: the way leads through every place, and some are free.
            while places[preference.next as usize] != FREE {
                preference.next = (preference.next + preference.skip) % size;
            }
            places[preference.next as usize] = preference.slot;
            free -= 1;
        }
    }
    places
}

fn preference(backend: &Backend, slot: u16, size: u32) -> Preference {
    let hash = mix(address(0, &backend.address.words), backend.port.into());
    let (high, low) = ((hash >> 32) as u32, hash as u32);
    Preference { slot, next: high % size, skip: low % (size - 1) + 1 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use orlop_ebpf::Address;

    use super::*;

    fn endpoints(numbers: impl IntoIterator<Item = u32>) -> Vec<Backend> {
        let endpoint =
            |n: u32| Backend { address: Address::v4((0x0af4_0105 + n).to_be()), port: 8080_u16.to_be(), zero: 0 };
        numbers.into_iter().map(endpoint).collect()
    }

    /// Who has each place.
    fn owners(slots: &[Backend]) -> Vec<Backend> {
        places(slots, size(slots.len())).into_iter().map(|slot| slots[usize::from(slot)]).collect()
    }

    #[test]
    fn every_endpoint_has_its_share_of_the_places() {
        for count in [2, 3, 10, 11, 100, 163, 164, 1_000] {
            let mut shares = HashMap::<Backend, u32>::new();
            let owners = owners(&endpoints(0..count));
            owners.iter().for_each(|owner| *shares.entry(*owner).or_default() += 1);
            let (least, most) = (shares.values().min().copied(), shares.values().max().copied());
            assert_eq!(shares.len(), count as usize);
            assert!(most <= least.map(|least| least + 1), "{count}: {least:?} to {most:?} of {}", owners.len());
        }
    }

    #[test]
    fn the_order_of_the_slots_does_not_matter() {
        let all = endpoints(0..20);
        let other: Vec<Backend> = all.iter().rev().copied().collect();
        assert_eq!(owners(&all), owners(&other));
    }

    #[test]
    fn an_endpoint_that_goes_moves_few_flows_of_the_others() {
        for count in [3_u32, 5, 9, 20, 100, 500] {
            let all = endpoints(0..count);
            let before = owners(&all);
            for gone in [0, count / 2, count - 1] {
                let fewer = endpoints((0..count).filter(|n| *n != gone));
                let gone = all[gone as usize];
                let others = before.iter().zip(owners(&fewer)).filter(|(before, _)| **before != gone);
                let (moved, all) = others.fold((0, 0), |(moved, all), (b, a)| (moved + usize::from(*b != a), all + 1));
                // Two in N; among many endpoints, one in a hundred.
                assert!(moved * count as usize <= 2 * all || moved * 100 <= all, "{count}: {moved} of {all}");
            }
        }
    }

    #[test]
    fn one_endpoint_needs_no_table() {
        assert_eq!([0, 1, 2, 10, 11].map(size), [0, 0, 1_021, 1_021, 16_381]);
        assert!(rows(&endpoints(0..1)).is_empty());
        assert_eq!(rows(&endpoints(0..2)).len(), 4);
    }
}
