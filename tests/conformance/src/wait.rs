//! Waiting for what must come true.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Asks until the answer is some value; the last answer that was none, or the last error, is told when time is up.
pub fn eventually<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = ask();
        if let Ok(Some(value)) = answer {
            return Ok(value);
        }
        if Instant::now() > deadline {
            return Err(match answer {
                Err(error) => error.context(format!("waiting {patience:?} for {what}")),
                Ok(_) => anyhow!("{what}: not within {patience:?}"),
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
