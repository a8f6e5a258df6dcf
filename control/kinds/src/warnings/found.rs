//! The warnings found so far: so many and no more, for an object may hold very many things that are unwise.

/// A request's warnings are read by people, and a client prints each of them.
const MAX: usize = 64;

/// Warnings in the order in which they were found.
#[derive(Default)]
pub(crate) struct Found(Vec<String>);

impl Found {
    /// Adds a warning if there is room for it.
    pub(super) fn push(&mut self, warning: String) {
        if !self.is_full() {
            self.0.push(warning);
        }
    }

    /// Adds as many as there is room for; the others are not even made.
    pub(super) fn extend(&mut self, warnings: impl IntoIterator<Item = String>) {
        self.0.extend(warnings.into_iter().take(MAX - self.0.len()));
    }

    /// Whether nothing more is taken, so that nobody needs to look for it.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX
    }

    /// All of them.
    pub(super) fn into_vec(self) -> Vec<String> {
        self.0
    }
}
