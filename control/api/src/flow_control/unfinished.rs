//! Answers that are still being made when their head is sent: a watch that tells first what there is, and long bodies. Their seat
//! stays taken until then.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Seat;
use crate::wire::{self, Body};

/// Shorter bodies go out at once.
const LONG: u64 = 128 << 10;

/// The extension of an answer whose beginning is still to come; cancelled when it is there.
#[derive(Debug, Clone)]
pub struct Unfinished(CancellationToken);

impl Unfinished {
    /// Marks an answer; what is returned is to be dropped when its beginning is there.
    pub fn mark(response: &mut Response<Body>) -> DropGuard {
        let token = CancellationToken::new();
        response.extensions_mut().insert(Self(token.clone()));
        token.drop_guard()
    }
}

/// Keeps the seat of an answer that is not finished; no longer than this, however slowly it is read.
pub fn stay(seat: Seat, response: &mut Response<Body>, patience: Duration) {
    let over = match response.extensions_mut().remove::<Unfinished>() {
        Some(Unfinished(over)) => over,
        // Other watches have begun, and so has what is short.
        None if http_body::Body::size_hint(response.body()).lower() < LONG => return,
        None => {
            let over = CancellationToken::new();
            let body = std::mem::replace(response.body_mut(), wire::full(Bytes::new()));
            *response.body_mut() = wire::holding(body, over.clone().drop_guard());
            over
        }
    };
    tokio::spawn(async move {
        let _ = tokio::time::timeout(patience, over.cancelled()).await;
        drop(seat);
    });
}
