//! Tokens whose signature was found good, so that the next request with the same one costs a digest and no signature.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest::{SHA256, digest};

use super::Claims;

/// So many at most.
const LIMIT: usize = 16 << 10;

/// Claims by the digest of their token. Only what was verified gets in, and the keys do not change: what is here is true until it expires.
#[derive(Default)]
pub(super) struct Verified(Mutex<HashMap<[u8; 32], Arc<Claims>>>);

impl Verified {
    /// The claims of a token that was verified before; `now` in seconds since 1970.
    pub(super) fn get(&self, token: &str, now: i64) -> Option<Arc<Claims>> {
        let key = key(token);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key).filter(|claims| now < claims.exp).cloned()
    }

    /// Remembers a token that was verified.
    pub(super) fn insert(&self, token: &str, claims: &Arc<Claims>, now: i64) {
        let key = key(token);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= LIMIT {
            known.retain(|_, claims| now < claims.exp);
            if known.len() > LIMIT / 2 {
                known.clear();
            }
        }
        known.insert(key, claims.clone());
    }
}

fn key(token: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    key
}
