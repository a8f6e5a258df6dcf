//! Closed loops: so many clients, each asking again as soon as it is answered.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

/// What came of a load.
pub struct Load {
    /// Microseconds from one answer to the next, on average over all clients.
    pub each: f64,
    /// Milliseconds that each question took.
    pub latencies: Vec<f64>,
}

/// `clients` ask one question after the other, `count` in all; each question is given its number.
pub async fn load<F, A>(clients: usize, count: usize, ask: F) -> Result<Load>
where
    F: Fn(usize) -> A + Send + Sync + Clone + 'static,
    A: Future<Output = Result<()>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (next, ask) = (next.clone(), ask.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok::<_, anyhow::Error>(latencies);
                    }
                    let begun = Instant::now();
                    ask(number).await?;
                    latencies.push(milliseconds(begun.elapsed()));
                }
            })
        })
        .collect();
    let mut latencies = Vec::with_capacity(count);
    for task in tasks {
        latencies.extend(task.await??);
    }
    #[allow(clippy::cast_precision_loss)]
    let each = begun.elapsed().as_secs_f64() * 1e6 / count as f64;
    Ok(Load { each, latencies })
}

/// As a number.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
