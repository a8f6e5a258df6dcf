//! Objects that this server is writing, until the store's watch tells of them: the feed takes them as they are instead of decoding what
//! was encoded a moment ago. Only ever a saving: whatever is not found here is decoded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::catalog::Resource;
use crate::object::Object;

/// So many and so large at most; the feed is as far behind as that only if it hangs.
const LIMIT: usize = 4096;
const LARGE: usize = 256 << 10;

/// Objects by where their bytes are. An entry holds the bytes, so that nothing else can be there meanwhile.
#[derive(Default)]
pub struct Written(Mutex<HashMap<usize, Arc<Object>>>);

/// An object that was announced, forgotten again unless it is kept.
pub struct Announced<'a> {
    written: &'a Written,
    place: Option<usize>,
}

impl Written {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Arc<Object>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object that goes to the store now. What is custom may be read otherwise than it was written, and is decoded;
    /// so is what is large.
    pub fn announce(&self, resource: &Resource, object: &Arc<Object>) -> Announced<'_> {
        let plain = resource.custom.is_none() && object.stored().len() <= LARGE;
        let place = plain.then(|| place(object.stored()));
        if let Some(place) = place {
            let mut objects = self.lock();
            if objects.len() >= LIMIT {
                objects.clear();
            }
            objects.insert(place, object.clone());
        }
        Announced { written: self, place }
    }

    /// The object whose very bytes these are.
    pub fn take(&self, stored: &Bytes) -> Option<Arc<Object>> {
        let mut objects = self.lock();
        let found = objects.remove(&place(stored))?;
        (found.stored().len() == stored.len()).then_some(found)
    }

    /// Nothing more is told of what was written until now.
    pub fn clear(&self) {
        self.lock().clear();
    }
}

impl Announced<'_> {
    /// It was written: the feed will take it, or has taken it.
    pub fn keep(mut self) {
        self.place = None;
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.written.lock().remove(&place);
        }
    }
}

fn place(stored: &Bytes) -> usize {
    stored.as_ptr() as usize
}
