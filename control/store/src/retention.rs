//! How long history is kept: when to compact without being asked, and up to where.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::index::Index;
use crate::{Options, Revision};

/// Revisions forgotten in one go, so that compaction never holds up a commit for long.
const STEP: Revision = 4096;

/// Remembers which revision was the newest when.
#[derive(Debug)]
pub(crate) struct Retention {
    keep_time: Duration,
    keep_revisions: u64,
    keep_bytes: u64,
    marks: VecDeque<(Instant, Revision)>,
    unfinished: bool,
}

impl Retention {
    pub(crate) fn new(options: &Options, revision: Revision, now: Instant) -> Self {
        Self {
            keep_time: options.keep_time,
            keep_revisions: options.keep_revisions.max(1),
            keep_bytes: options.keep_bytes,
            marks: VecDeque::from([(now, revision)]),
            unfinished: false,
        }
    }

    /// Takes note that `revision` is the newest now.
    pub(crate) fn mark(&mut self, revision: Revision, now: Instant) {
        let newest = self.marks.back().copied();
        // Marks are no finer than a 32nd of the time, so there are never many.
        if newest.is_none_or(|(at, seen)| seen < revision && now - at >= self.keep_time / 32) {
            self.marks.push_back((now, revision));
        }
    }

    /// When to ask for [`Retention::target`] again though nothing is written.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        if self.unfinished {
            return Some(now);
        }
        self.marks.front().and_then(|(at, _)| at.checked_add(self.keep_time))
    }

    /// The revision to compact to now, if any.
    pub(crate) fn target(&mut self, index: &Index, now: Instant) -> Option<Revision> {
        let mut target = self.by_count(index).max(self.by_bytes(index));
        while let Some((at, revision)) = self.marks.front().copied()
            && now - at >= self.keep_time
        {
            target = target.max(revision);
            self.marks.pop_front();
        }
        let compacted = index.compacted().max(1);
        let step = target.min(compacted + STEP);
        self.unfinished = step < target;
        if self.unfinished && self.marks.front().is_none_or(|(_, revision)| *revision > target) {
            self.marks.push_front((now.checked_sub(self.keep_time).unwrap_or(now), target));
        }
        (step > compacted).then_some(step)
    }

    fn by_count(&self, index: &Index) -> Revision {
        let kept = index.history().len() as u64;
        // A little over the bound, so that not every single commit compacts.
        if kept <= self.keep_revisions + self.keep_revisions / 16 {
            return 0;
        }
        index.revision() - self.keep_revisions as Revision + 1
    }

    fn by_bytes(&self, index: &Index) -> Revision {
        if index.history_bytes() <= self.keep_bytes + self.keep_bytes / 16 {
            return 0;
        }
        let mut over = index.history_bytes() - self.keep_bytes;
        for revised in index.history().iter().take(STEP as usize) {
            if over == 0 {
                return revised.revision;
            }
            over = over.saturating_sub(revised.bytes());
        }
        index.history().get(STEP as usize).map_or(index.revision(), |revised| revised.revision)
    }
}
