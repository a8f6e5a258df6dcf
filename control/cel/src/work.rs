//! Work that Kubernetes' costs do not count: a comparison of two objects costs 1 there, however much is in them, and so does the copy
//! of a list. What one call does is metered here; beyond what any ordinary call does it is charged, and a call that would do more than
//! can still be paid for ends early. So costs are Kubernetes' own where they are small, and time and memory are bounded where they
//! are not.

use std::cell::Cell;

/// What visiting a value, or copying a few bytes, counts.
pub const VISIT: u64 = 1;
/// What an element of a list that is made counts.
pub const ELEMENT: u64 = 8;
/// What a compiled regular expression counts that is no constant of the program.
pub const PATTERN: u64 = 4_096;
/// So much of it is one unit of cost.
const PER_COST: u64 = 32;
/// What a call may do beside its cost.
const FREE: u64 = 128;

#[derive(Clone, Copy)]
struct Meter {
    done: u64,
    most: u64,
}

thread_local! {
    static METER: Cell<Meter> = const { Cell::new(Meter { done: 0, most: u64::MAX }) };
}

/// Counts work. Whether more may be done: if not, any answer will do, for nobody will see it.
pub fn spend(work: u64) -> bool {
    METER.with(|meter| {
        let now = meter.get();
        let done = now.done.saturating_add(work);
        meter.set(Meter { done, ..now });
        done <= now.most
    })
}

/// Does something for which `left` can be paid, and tells what it cost; more than `left` if it did not come to its end.
pub fn metered<T>(left: u64, call: impl FnOnce() -> T) -> (T, u64) {
    let most = left.saturating_mul(PER_COST).saturating_add(FREE);
    let outer = METER.with(|meter| meter.replace(Meter { done: 0, most }));
    let made = call();
    let done = METER.with(|meter| meter.replace(outer)).done;
    (made, done.saturating_sub(FREE).div_ceil(PER_COST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_work_is_free_and_much_is_charged() {
        assert_eq!(metered(10, || spend(FREE)), (true, 0));
        assert_eq!(metered(10, || spend(FREE + PER_COST)), (true, 1));
        let (more, cost) = metered(10, || spend(FREE + 11 * PER_COST));
        assert!(!more && cost > 10);
        assert_eq!(metered(1, || metered(100, || spend(1_000)).0), (true, 0), "an inner meter is its own");
    }
}
