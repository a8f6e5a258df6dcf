//! The sum of two lists, as cel-go has it: neither is copied, for a sum costs 1 however long they are.

use std::sync::Arc;

use super::{Evaluated, Items, Value};
use crate::work;

/// Sums of sums do not nest deeper: what would is copied into one list.
const DEEPEST: usize = 32;

/// Two lists, one after the other.
#[derive(Clone, Debug)]
pub struct Joined<'a> {
    first: Value<'a>,
    second: Value<'a>,
    /// How many elements the first has, and both.
    lengths: (usize, usize),
    depth: usize,
}

fn len(list: &Value<'_>) -> usize {
    list.items().map_or(0, |items| items.len())
}

fn depth(list: &Value<'_>) -> usize {
    match list {
        Value::Joined(lists) => lists.depth,
        _ => 0,
    }
}

impl<'a> Joined<'a> {
    /// The sum of two lists.
    pub fn sum(first: &Value<'a>, second: &Value<'a>) -> Evaluated<Value<'a>> {
        let lengths = (len(first), len(first).saturating_add(len(second)));
        let depth = 1 + depth(first).max(depth(second));
        let joined = Self { first: first.clone(), second: second.clone(), lengths, depth };
        if depth <= DEEPEST {
            return Ok(Value::Joined(Arc::new(joined)));
        }
        Ok(Value::list(joined.all()?))
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.lengths.1
    }

    /// One of them.
    pub fn get(&self, at: usize) -> Option<Evaluated<Value<'a>>> {
        match at.checked_sub(self.lengths.0) {
            None => self.first.items()?.get(at),
            Some(at) => self.second.items()?.get(at),
        }
    }

    /// All of them.
    pub fn all(&self) -> Evaluated<Vec<Value<'a>>> {
        if !work::spend(work::ELEMENT * self.len() as u64) {
            return Ok(Vec::new());
        }
        let mut all = Vec::with_capacity(self.len());
        self.collect(&mut all)?;
        Ok(all)
    }

    fn collect(&self, all: &mut Vec<Value<'a>>) -> Evaluated<()> {
        for list in [&self.first, &self.second] {
            match (list, list.items()) {
                (Value::Joined(lists), _) => lists.collect(all)?,
                (_, Some(Items::Made(items))) => all.extend_from_slice(items),
                (_, Some(items)) => all.extend(items.all()?),
                _ => {}
            }
        }
        Ok(())
    }
}
