//! The backend's thread: takes plans, programs the kernel, retries what failed, and looks after it now and then.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use orlop_plan::{Backend, BackendError, Plan, diff};

use crate::health::Health;
use crate::mailbox::{Mailbox, Order};
use crate::metrics::Metrics;
use crate::mode::{Opened, open};
use crate::{Config, Error};

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Runs until the mailbox stops; an error means that no backend works at all.
pub(crate) fn drive(config: &Config, mailbox: &Mailbox, health: &Health, metrics: &Metrics) -> Result<(), Error> {
    let (plan, mut triggers) = match first_plan(mailbox) {
        Some(first) => first,
        None => return Ok(()),
    };
    let Opened { mut backend, mode } = open(config, &plan).map_err(Error::Backend)?;
    tracing::info!(mode, frontends = plan.frontends.len(), "programming services");
    for limit in backend.limits() {
        tracing::warn!(mode, "{limit}");
    }
    let mut driver = Driver { backend: &mut *backend, wanted: plan, programmed: None, retry: FIRST_RETRY };
    let mut checked = Instant::now();
    loop {
        let patience = match driver.step(health, metrics, &mut triggers) {
            Ok(()) => {
                health.set_mode(mode);
                config.sync_period.saturating_sub(checked.elapsed())
            }
            Err(error) => {
                let pause = driver.back_off();
                tracing::error!(%error, mode, retry_in = ?pause, "cannot program services; the kernel keeps what it has");
                pause
            }
        };
        match mailbox.take(patience) {
            Order::Stop => return Ok(()),
            Order::Program { plan, triggers: newer } => {
                driver.wanted = plan;
                triggers.extend(newer);
            }
            Order::Idle => {
                // Compare everything: after an error, or because it is time.
                driver.programmed = None;
                checked = Instant::now();
            }
        }
    }
}

fn first_plan(mailbox: &Mailbox) -> Option<(Plan, Vec<SystemTime>)> {
    loop {
        match mailbox.take(Duration::from_secs(3600)) {
            Order::Stop => return None,
            Order::Program { plan, triggers } => return Some((plan, triggers)),
            Order::Idle => {}
        }
    }
}

struct Driver<'a> {
    backend: &'a mut dyn Backend,
    wanted: Plan,
    /// What the kernel holds; none when that is uncertain.
    programmed: Option<Plan>,
    retry: Duration,
}

impl Driver<'_> {
    fn step(&mut self, health: &Health, metrics: &Metrics, triggers: &mut Vec<SystemTime>) -> Result<(), BackendError> {
        let start = Instant::now();
        match self.programmed.take() {
            Some(programmed) => {
                let changes = diff(&programmed, &self.wanted);
                if changes.is_empty() {
                    self.programmed = Some(programmed);
                } else {
                    self.backend.sync(&self.wanted, &changes)?;
                    self.done(start, metrics, triggers);
                }
            }
            None => {
                self.backend.resync(&self.wanted)?;
                self.done(start, metrics, triggers);
            }
        }
        triggers.clear();
        self.retry = FIRST_RETRY;
        health.updated();
        Ok(())
    }

    fn done(&mut self, start: Instant, metrics: &Metrics, triggers: &[SystemTime]) {
        self.programmed = Some(self.wanted.clone());
        metrics.synced(start.elapsed(), triggers);
    }

    fn back_off(&mut self) -> Duration {
        let pause = self.retry;
        self.retry = (self.retry * 2).min(LAST_RETRY);
        pause
    }
}

/// Starts the thread; the receiver gives its end.
pub(crate) fn spawn(
    config: Config,
    mailbox: Arc<Mailbox>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
) -> Result<tokio::sync::oneshot::Receiver<Result<(), Error>>, Error> {
    let (sender, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("proxy-backend".into())
        .spawn(move || drop(sender.send(drive(&config, &mailbox, &health, &metrics))))
        .map_err(|error| Error::Thread(error.to_string()))?;
    Ok(ended)
}
