//! What kube-proxy serves on 10256 and 10249, and our own pages beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use orlop_plan::{Backend, Census, Counters, Frontend, Plan};
use tokio::sync::{mpsc, oneshot};

use crate::explain;
use crate::flows::FlowsQuestion;
use crate::health::Health;
use crate::http::{Answer, Handler, Request, not_found, page, plain};
use crate::mailbox::Mailbox;
use crate::metrics::Metrics;
use crate::zpages;

/// The backend may be busy with a large change.
const PATIENCE: Duration = Duration::from_secs(5);
/// The content type of metrics.
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/healthz` and `/livez` as kube-proxy serves them on 10256.
pub(crate) struct HealthPages {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
}

impl Handler for HealthPages {
    async fn answer(&self, request: Request) -> Answer {
        let mind_node = match request.path.as_str() {
            "/healthz" => true,
            "/livez" => false,
            _ => return not_found(),
        };
        let (status, body) = self.health.answer(mind_node);
        self.metrics.health_answered(mind_node, status.as_u16());
        page(status, "application/json", body)
    }
}

/// `/metrics`, `/metrics/slis`, `/proxyMode`, `/configz`, `/statusz`, `/flagz` and a plain `/healthz` as kube-proxy serves them on 10249; `/explain`, `/flows`
/// and `/limits` of our own.
pub(crate) struct MetricsPages {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub mailbox: Arc<Mailbox>,
    pub configz: String,
    pub flagz: BTreeMap<String, String>,
    pub censuses: mpsc::Sender<CensusRequest>,
}

/// Frontends, of which the first that there is matters, and who wants to know.
pub(crate) type CensusRequest = ([Frontend; 2], oneshot::Sender<Option<Census>>);

impl MetricsPages {
    /// Asks on the backend's thread; none if it has no time, or is not there yet.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Backend, &Plan) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.mailbox.ask(Box::new(move |backend, plan| drop(sender.send(question(backend, plan)))));
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }

    async fn metrics(&self) -> Answer {
        let counted: Option<(Plan, Counters)> = self
            .ask(|backend, plan| match backend.counters() {
                Ok(counters) => Some((plan.clone(), counters)),
                Err(error) => {
                    tracing::debug!(%error, "reading the kernel's counters");
                    None
                }
            })
            .await
            .flatten();
        let traffic = counted.as_ref().map(|(plan, counters)| (plan, counters));
        page(StatusCode::OK, OPENMETRICS, self.metrics.text(traffic))
    }

    async fn explain(&self, query: &str) -> Answer {
        let question = match explain::Question::parse(query) {
            Ok(question) => question,
            Err(error) => return plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        let (sender, census) = oneshot::channel();
        let asked = self.censuses.send((question.candidates(), sender)).await;
        let census = if asked.is_ok() { census.await.ok().flatten() } else { None };
        told(self.ask(move |backend, plan| question.answer(backend, plan, census)).await)
    }

    async fn flows(&self, query: &str) -> Answer {
        match FlowsQuestion::parse(query) {
            Ok(question) => told(self.ask(move |backend, _| question.answer(backend)).await),
            Err(error) => plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }
}

fn told(text: Option<String>) -> Answer {
    match text {
        Some(text) => plain(StatusCode::OK, text),
        None => plain(StatusCode::SERVICE_UNAVAILABLE, "nothing is programmed yet, or the backend is busy\n"),
    }
}

impl Handler for MetricsPages {
    async fn answer(&self, request: Request) -> Answer {
        match request.path.as_str() {
            "/metrics" => self.metrics().await,
            "/proxyMode" => plain(StatusCode::OK, self.health.mode()),
            "/configz" => page(StatusCode::OK, "application/json", self.configz.clone()),
            "/healthz" | "/healthz/ping" => plain(StatusCode::OK, "ok"),
            "/statusz" => zpages::statusz(&request.accept),
            "/flagz" => zpages::flagz(&request.accept, &self.flagz),
            "/metrics/slis" => {
                let passes = |mind_node| self.health.answer(mind_node).0 == StatusCode::OK;
                page(StatusCode::OK, OPENMETRICS, zpages::slis(&[("healthz", passes(true)), ("livez", passes(false))]))
            }
            "/explain" => self.explain(&request.query).await,
            "/flows" => self.flows(&request.query).await,
            "/limits" => plain(StatusCode::OK, self.health.limits().into_iter().map(|l| l + "\n").collect::<String>()),
            _ => not_found(),
        }
    }
}
