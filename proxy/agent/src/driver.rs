//! The backend's thread: takes plans, programs the kernel, retries what failed, and looks after it now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use orlop_plan::{Backend, BackendError, Changes, Family, HealthCheck, Plan, diff};
use tokio::sync::watch;

use crate::health::Health;
use crate::mailbox::{Mailbox, Order, Programme};
use crate::metrics::{Metrics, Stage, Synced};
use crate::mode::{Opened, open};
use crate::{Config, Error, leftovers, memory};

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);
const BOTH: [Family; 2] = [Family::V4, Family::V6];

/// What the Services' health checks say, as of what is programmed.
pub(crate) type HealthChecks = BTreeMap<Arc<str>, HealthCheck>;

/// Whom the thread tells how it goes.
#[derive(Clone)]
pub(crate) struct Observers {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub health_checks: watch::Sender<HealthChecks>,
}

/// Runs until the mailbox stops; an error means that no backend works at all.
fn drive(config: &Config, mailbox: &Mailbox, observers: &Observers) -> Result<(), Error> {
    let Some(first) = first_programme(mailbox) else { return Ok(()) };
    let start = Instant::now();
    let Opened { mut backend, mode } = open(config, &first.plan).map_err(Error::Backend)?;
    tracing::info!(mode, frontends = first.plan.frontends.len(), "programming services");
    for limit in backend.limits() {
        tracing::warn!(mode, "{limit}");
    }
    let limits = backend.limits();
    let mut driver = Driver {
        backend: &mut *backend,
        observers,
        wanted: Programme::default(),
        programmed: None,
        retry: FIRST_RETRY,
        opened: Some(start),
    };
    driver.want(first);
    // Only now, when ours is in its place.
    remove_leftovers();
    let mut checked = Instant::now();
    let mut due = checked;
    loop {
        if Instant::now() >= due {
            due = match driver.step() {
                Ok(()) => {
                    observers.health.set_mode(mode, limits.clone());
                    checked + config.sync_period
                }
                Err(error) => {
                    observers.metrics.failed();
                    let pause = driver.back_off();
                    tracing::error!(%error, mode, retry_in = ?pause, "cannot program services; the kernel keeps what it has");
                    Instant::now() + pause
                }
            };
        }
        match mailbox.take(due.saturating_duration_since(Instant::now())) {
            Order::Stop => return Ok(()),
            Order::Program(programme) => {
                driver.want(programme);
                due = Instant::now();
            }
            Order::Ask(question) => question(driver.backend, &driver.wanted.plan),
            Order::Idle => {
                // Compare everything: after an error, or because it is time.
                driver.programmed = None;
                checked = Instant::now();
                due = checked;
            }
        }
    }
}

fn remove_leftovers() {
    let (removed, errors) = leftovers::remove();
    removed.iter().for_each(|what| tracing::info!("removed what kube-proxy left: {what}"));
    errors.iter().for_each(|error| tracing::warn!("cannot remove what kube-proxy left: {error}"));
}

fn first_programme(mailbox: &Mailbox) -> Option<Programme> {
    loop {
        match mailbox.take(Duration::from_secs(3600)) {
            Order::Stop => return None,
            Order::Program(programme) => return Some(programme),
            // Dropped: whoever asked learns that there is nobody yet.
            Order::Ask(_) | Order::Idle => {}
        }
    }
}

struct Driver<'a> {
    backend: &'a mut dyn Backend,
    observers: &'a Observers,
    wanted: Programme,
    /// What the kernel holds; none when that is uncertain.
    programmed: Option<Plan>,
    retry: Duration,
    /// Opening the backend, begun then, has just made the kernel equal to the first plan.
    opened: Option<Instant>,
}

impl Driver<'_> {
    fn want(&mut self, mut programme: Programme) {
        programme.triggers.append(&mut self.wanted.triggers);
        self.wanted = programme;
    }

    fn step(&mut self) -> Result<(), BackendError> {
        let start = Instant::now();
        if let Some(published) = self.wanted.published.take() {
            self.observers.metrics.passed(Stage::Wait, published.elapsed());
        }
        match self.programmed.take() {
            Some(programmed) => {
                let changes = diff(&programmed, &self.wanted.plan);
                if changes.is_empty() {
                    self.programmed = Some(programmed);
                } else {
                    self.backend.sync(&self.wanted.plan, &changes)?;
                    self.synced(start, false, &families(&changes));
                }
            }
            None => {
                let opened = self.opened.take();
                if opened.is_none() {
                    self.backend.resync(&self.wanted.plan)?;
                }
                self.synced(opened.unwrap_or(start), true, &BOTH);
                memory::give_back();
            }
        }
        self.backend.reconciled().iter().for_each(|look| self.observers.metrics.reconciled(look));
        self.wanted.triggers.clear();
        self.retry = FIRST_RETRY;
        let Observers { health, metrics, health_checks } = self.observers;
        health.updated();
        metrics.settled(self.wanted.seen, &self.wanted.plan);
        health_checks.send_if_modified(|present| {
            let differs = *present != self.wanted.health_checks;
            if differs {
                present.clone_from(&self.wanted.health_checks);
            }
            differs
        });
        Ok(())
    }

    fn synced(&mut self, start: Instant, full: bool, families: &[Family]) {
        self.programmed = Some(self.wanted.plan.clone());
        let triggers: &[(Family, SystemTime)] = &self.wanted.triggers;
        let took = start.elapsed();
        self.observers.metrics.passed(Stage::Kernel, took);
        self.observers.metrics.synced(&Synced { took, full, families, triggers });
    }

    fn back_off(&mut self) -> Duration {
        let pause = self.retry;
        self.retry = (self.retry * 2).min(LAST_RETRY);
        pause
    }
}

fn families(changes: &Changes) -> Vec<Family> {
    let touched = |family: &Family| {
        changes.node.is_some() || changes.frontends.iter().any(|change| change.frontend.family() == *family)
    };
    BOTH.into_iter().filter(touched).collect()
}

/// Starts the thread; the receiver gives its end.
pub(crate) fn spawn(
    config: Config,
    mailbox: Arc<Mailbox>,
    observers: Observers,
) -> Result<tokio::sync::oneshot::Receiver<Result<(), Error>>, Error> {
    let (sender, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("proxy-backend".into())
        .spawn(move || drop(sender.send(drive(&config, &mailbox, &observers))))
        .map_err(|error| Error::Thread(error.to_string()))?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_plan::NodeFacts;

    /// Writes down what it is asked, and refuses so many times.
    #[derive(Default)]
    struct Fake {
        calls: Vec<&'static str>,
        refusals: usize,
    }

    impl Fake {
        fn call(&mut self, name: &'static str) -> Result<(), BackendError> {
            self.calls.push(name);
            match self.refusals.checked_sub(1) {
                Some(left) => {
                    self.refusals = left;
                    Err("no".into())
                }
                None => Ok(()),
            }
        }
    }

    impl Backend for Fake {
        fn mode(&self) -> &'static str {
            "fake"
        }
        fn sync(&mut self, _: &Plan, _: &Changes) -> Result<(), BackendError> {
            self.call("sync")
        }
        fn resync(&mut self, _: &Plan) -> Result<(), BackendError> {
            self.call("resync")
        }
        fn cleanup(&mut self) -> Result<(), BackendError> {
            self.call("cleanup")
        }
    }

    fn observers() -> Observers {
        let (health_checks, _) = watch::channel(HealthChecks::new());
        let (health, metrics) = (Arc::new(Health::new(Duration::ZERO)), Arc::new(Metrics::new()));
        health.set_node_eligible(true);
        Observers { health, metrics, health_checks }
    }

    fn programme(node: &str) -> Programme {
        let plan = Plan { node: Arc::new(NodeFacts::primary(node, vec![], vec![])), ..Plan::default() };
        let check = HealthCheck { port: 32000, local_v4: 1, local_v6: 0 };
        let health_checks = [("default/web".into(), check)].into();
        Programme { plan, triggers: vec![(Family::V4, SystemTime::now())], health_checks, ..Programme::default() }
    }

    #[test]
    fn after_an_error_everything_is_compared_and_nothing_is_forgotten() {
        let observers = observers();
        let mut backend = Fake::default();
        let (wanted, retry) = (Programme::default(), FIRST_RETRY);
        let mut driver =
            Driver { backend: &mut backend, observers: &observers, wanted, programmed: None, retry, opened: None };
        driver.want(programme("a"));
        driver.step().expect("the first");
        driver.step().expect("nothing to do");
        driver.want(programme("b"));
        driver.step().expect("a change");
        assert_eq!(observers.health_checks.borrow().len(), 1);

        // The next change fails, the one after it replaces it: its trigger must not be lost.
        observers.health.queued();
        assert_eq!(backend.calls, ["resync", "sync"]);
        backend.refusals = 2;
        let mut driver = Driver {
            backend: &mut backend,
            observers: &observers,
            wanted: programme("c"),
            programmed: Some(programme("b").plan),
            retry,
            opened: None,
        };
        driver.step().expect_err("refused");
        assert_eq!((driver.back_off(), driver.back_off()), (FIRST_RETRY, FIRST_RETRY * 2));
        assert!(!observers.health.admits_traffic(), "it is late");
        driver.want(programme("d"));
        assert_eq!(driver.wanted.triggers.len(), 2);
        driver.step().expect_err("refused again");
        driver.step().expect("taken at last");
        assert!(driver.wanted.triggers.is_empty() && driver.retry == FIRST_RETRY);
        assert_eq!(backend.calls, ["resync", "sync", "sync", "resync", "resync"]);
        assert!(observers.health.admits_traffic());
    }
}
