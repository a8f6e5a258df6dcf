//! Numbers of endpoint sets.

use std::collections::{HashSet, VecDeque};

use crate::Error;

/// Sets there is room for: the size of the map `SETS`.
const LIMIT: u32 = 262_144;

/// Gives numbers out. One that is given back rests as long as possible: a packet in flight may still hold it.
#[derive(Debug, Default)]
pub struct Ids {
    used: HashSet<u32>,
    next: u32,
    given_back: Vec<u32>,
    free: VecDeque<u32>,
}

impl Ids {
    /// A number nobody has. Zero is never one.
    pub fn take(&mut self) -> Result<u32, Error> {
        while self.next + 1 < LIMIT {
            self.next += 1;
            if self.used.insert(self.next) {
                return Ok(self.next);
            }
        }
        let number = self.free.pop_front().ok_or(Error::Full(LIMIT - 1))?;
        self.used.insert(number);
        Ok(number)
    }

    /// Takes a certain number.
    pub fn claim(&mut self, number: u32) {
        self.used.insert(number);
    }

    /// Whether somebody has it, or nobody can.
    pub fn is_used(&self, number: u32) -> bool {
        number == 0 || number >= LIMIT || self.used.contains(&number)
    }

    /// Gives a number back; it can be taken after the next [`Ids::settle`].
    pub fn give(&mut self, number: u32) {
        self.given_back.push(number);
    }

    /// Says that the kernel knows nothing any more of the numbers given back.
    pub fn settle(&mut self) {
        for number in self.given_back.drain(..) {
            self.used.remove(&number);
            // Numbers above `next` come up by themselves.
            if number <= self.next {
                self.free.push_back(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn a_number_that_was_found_and_given_back_is_not_taken_before_the_kernel_forgot_it() {
        let mut ids = Ids::default();
        ids.claim(1);
        ids.claim(2);
        ids.give(1);
        let taken = ids.take().unwrap();
        assert!(taken > 2, "{taken}");
        ids.settle();
        ids.give(taken);
        let (next, after) = (ids.take().unwrap(), ids.take().unwrap());
        assert!(next != taken && after != taken, "{next} {after}");
    }
}
