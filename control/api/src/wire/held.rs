//! A body that holds something until it is over.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use super::{Body, BoxError};

struct Held<T> {
    body: Body,
    held: Option<T>,
}

/// The same body, which holds `held` until there is no more of it, or nobody wants any.
pub fn holding<T: Send + Unpin + 'static>(body: Body, held: T) -> Body {
    Held { body, held: Some(held) }.boxed_unsync()
}

impl<T: Unpin> http_body::Body for Held<T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) {
            // Whenever the connection forgets the body.
            self.held = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
