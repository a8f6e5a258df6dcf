//! What is written to a connection, gathered until all who are ready have written theirs. A task that hands a frame to its connection
//! wakes the connection, which tokio runs next: every watcher's event would go out in a TLS record and a system call of its own. So a
//! flush first lets every other task that is ready have its turn; what they write goes out with it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is gathered at most, two TLS records.
const CAPACITY: usize = 32 << 10;

/// A connection.
pub struct Gathered<S> {
    connection: S,
    buffer: Vec<u8>,
    /// What of the buffer the connection has taken.
    taken: usize,
    /// Whether the others have had their turn since the last flush.
    waited: bool,
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Gathers what is written to `connection`.
    pub fn new(connection: S) -> Self {
        Self { connection, buffer: Vec::with_capacity(CAPACITY), taken: 0, waited: false }
    }

    fn pass_on(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.buffer.len() {
            let passed = Pin::new(&mut self.connection).poll_write(context, &self.buffer[self.taken..]);
            match ready!(passed)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.taken += count,
            }
        }
        self.buffer.clear();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.buffer.len() + bytes.len() > CAPACITY {
            ready!(self.pass_on(context))?;
        }
        if bytes.len() >= CAPACITY {
            return Pin::new(&mut self.connection).poll_write(context, bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A task that wakes itself is run after all others that are ready.
        if !self.buffer.is_empty() && !std::mem::replace(&mut self.waited, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.pass_on(context))?;
        ready!(Pin::new(&mut self.connection).poll_flush(context))?;
        self.waited = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.pass_on(context))?;
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Remembers each write; takes at most so many bytes at once.
    #[derive(Clone)]
    struct Writes(Arc<Mutex<Vec<Vec<u8>>>>, usize);

    impl AsyncWrite for Writes {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = &bytes[..bytes.len().min(self.1)];
            self.0.lock().unwrap().push(taken.to_vec());
            Poll::Ready(Ok(taken.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_others_write_meanwhile_goes_out_with_a_flush() {
        let writes = Writes(Arc::default(), usize::MAX);
        let gathered = Arc::new(tokio::sync::Mutex::new(Gathered::new(writes.clone())));
        let (first, second) = (gathered.clone(), gathered);
        let flushing = tokio::spawn(async move {
            first.lock().await.write_all(b"one ").await.unwrap();
            std::future::poll_fn(|context| {
                let Ok(mut first) = first.try_lock() else { return Poll::Pending };
                Pin::new(&mut *first).poll_flush(context)
            })
            .await
            .unwrap();
        });
        let writing = tokio::spawn(async move { second.lock().await.write_all(b"two").await.unwrap() });
        writing.await.unwrap();
        flushing.await.unwrap();
        assert_eq!(*writes.0.lock().unwrap(), [b"one two"]);
    }

    #[tokio::test]
    async fn nothing_is_lost_or_out_of_order_whatever_its_size() {
        let writes = Writes(Arc::default(), 1000);
        let mut gathered = Gathered::new(writes.clone());
        let mut expected = Vec::new();
        for (number, size) in [1, CAPACITY - 1, CAPACITY, 0, 3 * CAPACITY + 7, 17, CAPACITY + 1].into_iter().enumerate()
        {
            let bytes = vec![number as u8; size];
            expected.extend_from_slice(&bytes);
            gathered.write_all(&bytes).await.unwrap();
            if number % 2 == 0 {
                gathered.flush().await.unwrap();
                assert_eq!(writes.0.lock().unwrap().concat(), expected);
            }
        }
        gathered.write_all(b"end").await.unwrap();
        gathered.shutdown().await.unwrap();
        expected.extend_from_slice(b"end");
        assert_eq!(writes.0.lock().unwrap().concat(), expected);
    }
}
