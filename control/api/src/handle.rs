//! One request from its arrival to its answer: authenticated, authorized, routed.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use orlop_auth::UserInfo;

use crate::flow_control::Flow;
use crate::request::{Query, RequestInfo};
use crate::rest::Call;
use crate::serve::Closing;
use crate::server::ApiServer;
use crate::status::Status;
use crate::wire::{self, Accept, Body, Encoding};

/// Requests that are not meant to last are given up after this long (`--request-timeout`).
const TIMEOUT: Duration = Duration::from_secs(60);

impl ApiServer {
    /// Answers a request.
    pub fn handle(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        Box::pin(self.bounded(request))
    }

    async fn bounded(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let accepted = request.headers().clone();
        let encoding = Accept::from_headers(&accepted).map_or(Encoding::Json, |accept| accept.encoding);
        let long_running = is_long_running(&request);
        let mut flow = None;
        let answer = self.answer(request, long_running, &mut flow);
        let result = if long_running {
            answer.await
        } else {
            match tokio::time::timeout(TIMEOUT, answer).await {
                Ok(result) => result,
                Err(_) => Err(Status::timeout("request did not complete within the allotted timeout")),
            }
        };
        let mut response = result.unwrap_or_else(|status| wire::refuse(&status, encoding));
        if let Some(flow) = &flow {
            flow.tell(response.headers_mut());
        }
        wire::compress(&accepted, response).await
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Body>,
        long_running: bool,
        flow: &mut Option<Flow>,
    ) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let user = self.authenticate(&parts).await?;
        self.roles_are_fresh().await?;
        let user = match self.impersonated(&user, &parts.headers)? {
            Some(other) => Arc::new(other),
            None => user,
        };
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let info = RequestInfo::new(&parts.method, parts.uri.path(), &query);
        *flow = self.flow_control().classify(&user, &info);
        let started = std::time::Instant::now();
        let about = info.clone();
        let read_only = matches!(parts.method, Method::GET | Method::HEAD);
        let in_flight = (!long_running).then(|| self.metrics().traffic.in_flight(read_only));
        let result = match self.authorizer().check(&user, &info, &query) {
            Err(refused) => Err(refused),
            Ok(()) if let Some(route) = self.aggregator().route(&self, &info.path) => {
                crate::aggregator::pass_on(&self, &route, &user, parts, body).await
            }
            Ok(()) if info.is_resource => self.clone().resource(user.clone(), info, query, parts, body).await,
            Ok(()) => self.path(&parts, &info, &query).await,
        };
        let code = result.as_ref().map_or_else(|s| s.code, |r| r.status().as_u16());
        let took = started.elapsed();
        drop(in_flight);
        let bytes = result.as_ref().ok().and_then(|answer| http_body::Body::size_hint(answer.body()).exact());
        self.metrics().answered(&self.catalog(), &about, code, took, bytes);
        tracing::debug!(target: "audit", user = %user.name, verb = about.verb, path = about.path, code, ?took);
        result
    }

    /// A role that was bound a moment ago holds for the next request.
    async fn roles_are_fresh(&self) -> Result<(), Status> {
        for storage in ["clusterroles", "clusterrolebindings", "roles", "rolebindings"] {
            if let Some(cache) = self.registry().hub().cache_at(storage) {
                self.registry().hub().fresh(&cache).await?;
            }
        }
        Ok(())
    }

    async fn resource(
        self: Arc<Self>,
        user: Arc<UserInfo>,
        info: RequestInfo,
        query: Query,
        mut parts: http::request::Parts,
        body: Body,
    ) -> Result<Response<Body>, Status> {
        let catalog = self.catalog();
        let Some(resource) = catalog.get(&info.group, &info.version, &info.resource) else {
            let known = catalog.groups().iter().any(|(group, _)| *group == info.group);
            return if known { Err(Status::no_such_path()) } else { Ok(nothing()) };
        };
        if parts.method == Method::HEAD {
            return Err(Status::method_not_supported());
        }
        let read_only = matches!(parts.method, Method::GET | Method::HEAD);
        let bytes = if read_only { bytes::Bytes::new() } else { wire::read(body).await? };
        let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let closing = match parts.extensions.get() {
            Some(Closing(token)) => token.clone(),
            None => self.stop_token(),
        };
        Call::new(self.clone(), user, info, query, resource.clone(), parts.headers, bytes, closing, upgrade)?
            .run()
            .await
    }

    /// Paths that are no resources.
    async fn path(
        &self,
        parts: &http::request::Parts,
        info: &RequestInfo,
        query: &Query,
    ) -> Result<Response<Body>, Status> {
        let segments: Vec<&str> = info.path.trim_matches('/').split('/').collect();
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            return Err(Status::method_not_allowed());
        }
        match segments.as_slice() {
            ["version"] => Ok(wire::json(200, &crate::version::info())),
            ["healthz" | "livez" | "readyz", ..] => crate::health::answer(self, &segments, query).await,
            [".well-known", "openid-configuration"] => Ok(crate::openid::configuration(self)),
            ["openid", "v1", "jwks"] => Ok(crate::openid::key_set(self)),
            ["metrics"] => self.metrics().answer(self),
            ["openapi", rest @ ..] => {
                let own = crate::openapi::answer(&self.catalog(), rest, query, &parts.headers).await?;
                crate::aggregator::with_others(self, rest, own).await
            }
            ["api" | "apis", ..] => crate::discovery::answer(self, &segments, &parts.headers),
            [""] => Ok(wire::json(200, &crate::discovery::paths(&self.catalog()))),
            _ => Ok(nothing()),
        }
    }
}

/// Where no API is, no `Status` is told either.
fn nothing() -> Response<Body> {
    wire::text(404, "404 page not found\n")
}

/// Watches, logs and streams last as long as the client wants.
fn is_long_running(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    query.flag("watch")
        || path.split('/').nth(3) == Some("watch")
        || ["/log", "/exec", "/attach", "/portforward"].iter().any(|s| path.ends_with(s))
        || path.contains("/proxy/")
}
