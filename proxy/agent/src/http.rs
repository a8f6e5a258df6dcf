//! The two small HTTP servers: health on one address, metrics and the mode on another.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::health::Health;
use crate::metrics::Metrics;

type Answer = Response<Full<Bytes>>;

/// Answers a path.
pub(crate) trait Handler: Send + Sync + 'static {
    fn answer(&self, path: &str) -> Answer;
}

/// `/healthz` and `/livez` as kube-proxy serves them on 10256.
pub(crate) struct HealthPages {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
}

/// `/metrics`, `/proxyMode` and a plain `/healthz` as kube-proxy serves them on 10249.
pub(crate) struct MetricsPages {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

fn not_found() -> Answer {
    page(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".into())
}

impl Handler for HealthPages {
    fn answer(&self, path: &str) -> Answer {
        let mind_node = match path {
            "/healthz" => true,
            "/livez" => false,
            _ => return not_found(),
        };
        let (status, body) = self.health.answer(mind_node);
        self.metrics.health_answered(mind_node, status.as_u16());
        page(status, "application/json", body)
    }
}

impl Handler for MetricsPages {
    fn answer(&self, path: &str) -> Answer {
        match path {
            "/metrics" => {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                page(StatusCode::OK, kind, self.metrics.text())
            }
            "/proxyMode" => page(StatusCode::OK, "text/plain; charset=utf-8", self.health.mode().into()),
            "/healthz" => page(StatusCode::OK, "text/plain; charset=utf-8", "ok".into()),
            _ => not_found(),
        }
    }
}

/// Binds now, so that a taken address is an error at the start, and serves until the token is cancelled.
pub(crate) async fn serve(
    what: &'static str,
    address: SocketAddr,
    handler: impl Handler,
    stop: CancellationToken,
) -> Result<(), Error> {
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { what, address, source })?;
    let handler = Arc::new(handler);
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::debug!(%error, what, "accepting");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let (handler, stop) = (handler.clone(), stop.clone());
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let answer = handler.answer(request.uri().path());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let mut builder = hyper::server::conn::http1::Builder::new();
                builder.timer(TokioTimer::new());
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                // A client that goes away is its own business.
                tokio::select! { _ = connection => {}, () = stop.cancelled() => {} }
            });
        }
    });
    Ok(())
}
