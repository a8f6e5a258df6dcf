//! When to look at what the runtime has: at once after one of its events, where it sends any (CRI `GetContainerEvents`, containerd
//! since 1.7), and in any case after a while. An event says only that something happened: what, the look tells. So a lost event
//! costs time and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orlop_cri::{CriClient, CriError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Between two looks when nothing is heard from the runtime. A dead container keeps getting connections until it is seen.
const DEAF: Duration = Duration::from_millis(250);
/// Between two looks at a runtime that sends events.
const HEARING: Duration = Duration::from_secs(5);
/// Until the event stream is opened again: after it broke, and when the runtime has none (it may be upgraded some day).
const REOPEN: Duration = Duration::from_secs(1);
const REOPEN_UNIMPLEMENTED: Duration = Duration::from_secs(300);

/// Says when to look.
pub struct Changes {
    heard: Arc<Notify>,
    hearing: Arc<AtomicBool>,
    due: Instant,
    _listener: AbortOnDropHandle<()>,
}

impl Changes {
    /// Begins to listen to the runtime; ends when it is dropped. The first look is due at once.
    pub fn follow(cri: CriClient) -> Self {
        let (heard, hearing) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let listener = AbortOnDropHandle::new(tokio::spawn(listen(cri, heard.clone(), hearing.clone())));
        Self { heard, hearing, due: Instant::now(), _listener: listener }
    }

    /// Returns when a look is due. May be dropped and called again: nothing is missed.
    pub async fn next(&self) {
        tokio::select! {
            () = self.heard.notified() => {}
            () = tokio::time::sleep_until(self.due) => {}
        }
    }

    /// The look is done.
    pub fn looked(&mut self) {
        let period = if self.hearing.load(Ordering::Relaxed) { HEARING } else { DEAF };
        self.due = Instant::now() + period;
    }
}

async fn listen(cri: CriClient, heard: Arc<Notify>, hearing: Arc<AtomicBool>) {
    loop {
        let Err(error) = stream(&cri, &heard, &hearing).await;
        hearing.store(false, Ordering::Relaxed);
        // Whoever trusted the events looks again, and often from now on.
        heard.notify_one();
        tracing::debug!(%error, "no events from the runtime: its containers are listed often");
        tokio::time::sleep(if error.is_unimplemented() { REOPEN_UNIMPLEMENTED } else { REOPEN }).await;
    }
}

/// Passes events on until the stream ends. A stream counts from its first event: some runtimes open one and refuse it later.
async fn stream(cri: &CriClient, heard: &Notify, hearing: &AtomicBool) -> Result<Infallible, CriError> {
    let mut events = cri.container_events().await?;
    loop {
        events.next().await?;
        hearing.store(true, Ordering::Relaxed);
        heard.notify_one();
    }
}
