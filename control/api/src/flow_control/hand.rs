//! Shuffle sharding: each flow is dealt a hand of queues out of the deck, so that two flows seldom share their whole hand.

/// More cards than a hand may have (its entropy is bounded by validation).
const MOST: usize = 16;

/// The queues of one flow, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hand {
    cards: [usize; MOST],
    size: usize,
}

impl Hand {
    /// Deals `size` different cards of `0..deck`, as the hash says.
    pub fn deal(mut hash: u64, deck: usize, size: usize) -> Self {
        let mut hand = Self { cards: [0; MOST], size: 0 };
        for left in (1..=deck).rev().take(size.clamp(1, MOST)) {
            let (rest, digit) = (hash / left as u64, hash % left as u64);
            hash = rest;
            // The card so far up among those that are left.
            let mut card = usize::try_from(digit).unwrap_or_default();
            let mut place = 0;
            while place < hand.size && card >= hand.cards[place] {
                card += 1;
                place += 1;
            }
            hand.cards.copy_within(place..hand.size, place + 1);
            hand.cards[place] = card;
            hand.size += 1;
        }
        hand
    }

    /// Its cards, beginning with a certain one.
    pub fn beginning_with(&self, first: usize) -> impl Iterator<Item = usize> {
        let size = self.size.max(1);
        (0..self.size).map(move |i| self.cards[(first % size + i) % size])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn a_hand_has_different_cards_of_the_deck() {
        for (deck, size) in [(1, 1), (2, 2), (16, 4), (64, 6), (128, 6), (15, 15)] {
            for hash in [0, 1, 17, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
                let cards: BTreeSet<usize> = Hand::deal(hash, deck, size).beginning_with(3).collect();
                assert_eq!(cards.len(), size);
                assert!(cards.last().unwrap() < &deck);
            }
        }
    }

    #[test]
    fn every_hand_is_dealt_equally_often() {
        // 4 * 3 ordered hands make 6 different ones.
        let mut dealt = BTreeMap::<Vec<usize>, usize>::new();
        for hash in 0..12 * 10 {
            *dealt.entry(Hand::deal(hash, 4, 2).beginning_with(0).collect()).or_default() += 1;
        }
        assert_eq!(dealt.len(), 6);
        assert!(dealt.values().all(|&times| times == 20), "{dealt:?}");
    }
}
