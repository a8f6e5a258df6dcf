//! The log's own thread, and the queue in front of it. Lines are written one after the other; who waits is told when theirs is.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::Mode;
use super::file::{Limits, LogFile};
use crate::metrics::AuditMetrics;

/// Events that wait to be written (kube-apiserver's buffer in batch mode).
const QUEUE: usize = 10_000;
/// How long a server that ends waits for the last events.
const PATIENCE: Duration = Duration::from_secs(5);
/// As metrics name what failed.
const LOG: &str = "log";
const BUFFERED: &str = "buffered";

struct Entry {
    line: Vec<u8>,
    written: Option<oneshot::Sender<bool>>,
}

/// Where lines go.
pub(super) enum Output {
    /// `-`.
    Stdout,
    /// A file.
    File(LogFile),
}

impl Output {
    /// Standard output, or a file that can be written.
    pub fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        match path.to_str() {
            Some("-") => Ok(Self::Stdout),
            _ => LogFile::new(path, limits).map(Self::File),
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line).and_then(|()| stdout.flush())
            }
            Self::File(file) => file.write(line, Timestamp::now()),
        }
    }
}

/// The near end of the queue. The thread ends when there are none any more.
pub struct Log {
    queue: mpsc::Sender<Entry>,
    mode: Mode,
    metrics: AuditMetrics,
}

impl Log {
    /// Starts the thread.
    pub fn start(output: Output, mode: Mode, metrics: AuditMetrics) -> io::Result<Self> {
        let (queue, entries) = mpsc::channel(QUEUE);
        let counted = metrics.clone();
        std::thread::Builder::new().name("audit".into()).spawn(move || write_all(output, entries, &counted))?;
        Ok(Self { queue, mode, metrics })
    }

    /// Writes a line. False if it is lost and whoever waits for it shall know.
    pub async fn write(&self, line: Vec<u8>) -> bool {
        self.metrics.event();
        if self.mode == Mode::Batch {
            if self.queue.try_send(Entry { line, written: None }).is_err() {
                self.lose();
            }
            return true;
        }
        let (written, answer) = oneshot::channel();
        let mut waiting = Waiting(Some(self));
        let queued = self.queue.send(Entry { line, written: Some(written) }).await;
        waiting.0 = None;
        let done = match queued {
            Ok(()) => answer.await.unwrap_or(false),
            Err(_) => {
                self.metrics.error(LOG);
                false
            }
        };
        done || self.mode != Mode::BlockingStrict
    }

    /// Writes a line that nobody waits for: its request is over. Where there is no room it is lost, for there is no end to those.
    pub fn leave(&self, line: Vec<u8>) {
        self.metrics.event();
        if self.queue.try_send(Entry { line, written: None }).is_err() {
            self.lose();
        }
    }

    fn lose(&self) {
        self.metrics.error(BUFFERED);
        tracing::warn!("audit buffer queue blocked: an event is lost");
    }

    /// Waits until what is queued is written, for a while.
    pub async fn flush(&self) {
        let (written, answer) = oneshot::channel();
        let flushed = async {
            if self.queue.send(Entry { line: Vec::new(), written: Some(written) }).await.is_ok() {
                let _ = answer.await;
            }
        };
        if tokio::time::timeout(PATIENCE, flushed).await.is_err() {
            tracing::warn!("the last audit events may not have been written");
        }
    }
}

/// A line that waits for room, and is lost if its request is given up before there is any.
struct Waiting<'a>(Option<&'a Log>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(log) = self.0 {
            log.lose();
        }
    }
}

fn write_all(mut output: Output, mut entries: mpsc::Receiver<Entry>, metrics: &AuditMetrics) {
    // The first of a row of failures is told, and their end.
    let mut failing = false;
    while let Some(Entry { line, written }) = entries.blocking_recv() {
        let result = if line.is_empty() { Ok(()) } else { output.write(&line) };
        if let Err(error) = &result {
            metrics.error(LOG);
            if !failing {
                tracing::warn!(%error, "the audit log cannot be written: events are lost");
            }
        } else if failing && !line.is_empty() {
            tracing::info!("the audit log is written again");
        }
        failing = result.is_err() || failing && line.is_empty();
        if let Some(written) = written {
            let _ = written.send(result.is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn counted(metrics: &AuditMetrics) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[tokio::test]
    async fn a_full_disk_is_counted_and_stops_nobody_who_is_not_strict() {
        for (mode, passes) in [(Mode::Blocking, true), (Mode::BlockingStrict, false), (Mode::Batch, true)] {
            let metrics = AuditMetrics::default();
            let limits = Limits { size: 0, ..Limits::default() };
            let full = Output::open(Path::new("/dev/full"), limits).unwrap();
            let log = Log::start(full, mode, metrics.clone()).unwrap();
            assert_eq!(log.write(b"1\n".to_vec()).await, passes, "{mode:?}");
            log.leave(b"2\n".to_vec());
            log.flush().await;
            let text = counted(&metrics);
            assert!(text.contains("apiserver_audit_event_total 2\n"), "{text}");
            assert!(text.contains("apiserver_audit_error_total{plugin=\"log\"} 2\n"), "{text}");
        }
    }

    #[tokio::test]
    async fn lines_come_in_the_order_in_which_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log =
            Log::start(Output::open(&path, Limits::default()).unwrap(), Mode::Batch, AuditMetrics::default()).unwrap();
        for number in 0..100 {
            assert!(log.write(format!("{number}\n").into_bytes()).await);
        }
        log.flush().await;
        let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    #[tokio::test]
    async fn what_does_not_fit_into_the_queue_is_lost_unless_somebody_waits() {
        // Nobody takes anything out of this queue yet.
        let (queue, mut entries) = mpsc::channel(1);
        let metrics = AuditMetrics::default();
        let batch = Log { queue: queue.clone(), mode: Mode::Batch, metrics: metrics.clone() };
        assert!(batch.write(b"1".to_vec()).await && batch.write(b"2".to_vec()).await);
        assert!(counted(&metrics).contains("apiserver_audit_error_total{plugin=\"buffered\"} 1\n"));
        let blocking = Log { queue, mode: Mode::Blocking, metrics: metrics.clone() };
        blocking.leave(b"3".to_vec());
        assert!(counted(&metrics).contains("apiserver_audit_error_total{plugin=\"buffered\"} 2\n"));
        let given_up = tokio::time::timeout(Duration::from_millis(10), blocking.write(b"4".to_vec()));
        assert!(given_up.await.is_err());
        assert!(counted(&metrics).contains("apiserver_audit_error_total{plugin=\"buffered\"} 3\n"));
        let waits = tokio::spawn(async move { blocking.write(b"5".to_vec()).await });
        assert_eq!(entries.recv().await.unwrap().line, b"1");
        let waited = entries.recv().await.unwrap();
        assert_eq!(waited.line, b"5", "it waited for its place");
        waited.written.unwrap().send(true).unwrap();
        assert!(waits.await.unwrap());
    }
}
