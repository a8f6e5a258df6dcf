//! What is written to an HTTP/2 connection, gathered until all who are ready have written theirs. h2 flushes after each frame of more
//! than a few bytes, and a task that hands its connection a frame wakes it, which tokio runs next: every watcher's event would go out in
//! a TLS record and a system call of its own. So a flush by h2 does nothing here; [`Gathered::send`] sends what was gathered once the
//! connection has nothing more to write, and lets every other task that is ready have its turn before: what they write goes out with it.
//! HTTP/1 has one answer at a time, and connections that are handed over to others (exec, port-forward): there a flush is one.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is gathered at most, two TLS records.
const CAPACITY: usize = 32 << 10;

/// A connection; clones share it.
pub struct Gathered<S>(Arc<Mutex<Gathering<S>>>);

struct Gathering<S> {
    connection: S,
    buffer: Vec<u8>,
    /// What of the buffer the connection has taken.
    taken: usize,
    /// Whether the connection has something that it was not told to flush.
    unflushed: bool,
    /// Whether the others have had their turn since something was written.
    waited: bool,
    /// Whether flushes are left to [`Gathered::send`].
    shared: bool,
    /// Why it cannot be written to, which is told to the next reader.
    failed: Option<io::Error>,
}

impl<S> Clone for Gathered<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Gathers what is written to `connection`; if it is `shared` by many requests, until [`Self::send`] sends it.
    pub fn new(connection: S, shared: bool) -> Self {
        Self(Arc::new(Mutex::new(Gathering {
            connection,
            buffer: Vec::with_capacity(CAPACITY),
            taken: 0,
            unflushed: false,
            waited: false,
            shared,
            failed: None,
        })))
    }

    /// Sends what was gathered, when its time has come; called each time after the task has served the connection.
    pub fn send(&self, context: &mut Context<'_>) {
        self.lock().send(context);
    }

    /// Sends what was gathered at once: nobody serves the connection any more.
    pub fn release(&self, context: &mut Context<'_>) {
        let mut this = self.lock();
        this.shared = false;
        let _ = this.poll_flush(context);
    }

    /// Only the task that serves the connection asks, so nobody ever waits.
    fn lock(&self) -> MutexGuard<'_, Gathering<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.buffer.len() + bytes.len() > CAPACITY {
            ready!(self.pass_on(context))?;
        }
        self.unflushed = true;
        if bytes.len() >= CAPACITY {
            return Pin::new(&mut self.connection).poll_write(context, bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
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

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.pass_on(context))?;
        ready!(Pin::new(&mut self.connection).poll_flush(context))?;
        (self.unflushed, self.waited) = (false, false);
        Poll::Ready(Ok(()))
    }

    /// Sends what was gathered, when its time has come.
    fn send(&mut self, context: &mut Context<'_>) {
        if !self.shared || !self.unflushed {
            return;
        }
        // A task that wakes itself is run after all others that are ready.
        if !std::mem::replace(&mut self.waited, true) {
            context.waker().wake_by_ref();
            return;
        }
        if let Poll::Ready(Err(error)) = self.poll_flush(context) {
            (self.failed, self.unflushed) = (Some(error), false);
            context.waker().wake_by_ref();
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.lock().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.lock();
        if this.shared { Poll::Ready(Ok(())) } else { this.poll_flush(context) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.lock();
        ready!(this.pass_on(context))?;
        Pin::new(&mut this.connection).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut this = self.lock();
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut this.connection).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::mpsc;

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

    async fn served<F: Future>(server: F, io: Gathered<Writes>) -> F::Output {
        let mut server = pin!(server);
        std::future::poll_fn(|context| {
            let served = server.as_mut().poll(context);
            io.send(context);
            served
        })
        .await
    }

    /// As h2 does it: each frame is written and flushed as it comes, until nobody sends any more.
    async fn frames(mut io: Gathered<Writes>, mut frames: mpsc::Receiver<Vec<u8>>) {
        while let Some(frame) = frames.recv().await {
            io.write_all(&frame).await.unwrap();
            io.flush().await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_all_write_in_a_turn_goes_out_at_once() {
        let writes = Writes(Arc::default(), usize::MAX);
        let io = Gathered::new(writes.clone(), true);
        let (sender, receiver) = mpsc::channel(100);
        let serving = tokio::spawn(served(frames(io.clone(), receiver), io));
        tokio::task::yield_now().await;
        for turn in ["a", "b"] {
            let watchers: Vec<_> = (0..50)
                .map(|_| {
                    let sender = sender.clone();
                    tokio::spawn(async move { sender.send(turn.into()).await.unwrap() })
                })
                .collect();
            for watcher in watchers {
                watcher.await.unwrap();
            }
            while writes.0.lock().unwrap().last().is_none_or(|last| !last.ends_with(turn.as_bytes())) {
                tokio::task::yield_now().await;
            }
        }
        drop(sender);
        serving.await.unwrap();
        assert_eq!(*writes.0.lock().unwrap(), ["a".repeat(50).into_bytes(), "b".repeat(50).into_bytes()]);
    }

    #[tokio::test]
    async fn nothing_is_lost_or_out_of_order_whatever_its_size() {
        let writes = Writes(Arc::default(), 1000);
        let io = Gathered::new(writes.clone(), true);
        let (sender, receiver) = mpsc::channel(1);
        let serving = tokio::spawn(served(frames(io.clone(), receiver), io.clone()));
        let mut expected = Vec::new();
        for (number, size) in [1, CAPACITY - 1, CAPACITY, 0, 3 * CAPACITY + 7, 17, CAPACITY + 1].into_iter().enumerate()
        {
            let bytes = vec![number as u8; size];
            expected.extend_from_slice(&bytes);
            sender.send(bytes).await.unwrap();
            if number % 2 == 0 {
                let sent = async {
                    while writes.0.lock().unwrap().concat() != expected {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::time::timeout(std::time::Duration::from_secs(10), sent).await.unwrap();
            }
        }
        drop(sender);
        serving.await.unwrap();
        let mut io = io;
        io.write_all(b"end").await.unwrap();
        io.shutdown().await.unwrap();
        expected.extend_from_slice(b"end");
        assert_eq!(writes.0.lock().unwrap().concat(), expected);
    }
}
