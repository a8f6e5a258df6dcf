//! Answers that are still being made when their head is sent: a watch that tells first what there is, and long bodies. Their seat
//! stays taken until then.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Seat;
use crate::wire::{Body, BoxError, full};

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

/// A body that tells when it is over.
struct Told {
    body: Body,
    _over: DropGuard,
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
            let body = std::mem::replace(response.body_mut(), full(Bytes::new()));
            *response.body_mut() = Told { body, _over: over.clone().drop_guard() }.boxed_unsync();
            over
        }
    };
    tokio::spawn(async move {
        let _ = tokio::time::timeout(patience, over.cancelled()).await;
        drop(seat);
    });
}
