//! One request from its arrival to its answer: authenticated, authorized, routed.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response};
use orlop_auth::UserInfo;

use crate::audit::{Asked, Trail};
use crate::authorize::granted;
use crate::catalog::Resource;
use crate::flow_control::{self, Flow, Refused};
use crate::request::{Query, RequestInfo};
use crate::rest::Call;
use crate::serve::Closing;
use crate::server::ApiServer;
use crate::status::Status;
use crate::wire::{self, Accept, Body, Encoding};

/// Requests that are not meant to last are given up after this long (`--request-timeout`).
const TIMEOUT: Duration = Duration::from_secs(60);
/// A request may wait so long before it is begun (a quarter of its time).
const PATIENCE: Duration = Duration::from_secs(15);

/// Names a request in every log that speaks of it.
const AUDIT_ID: &str = "audit-id";

/// The client's name for its request, or a new one.
fn audit_id(request: &Request<Body>) -> Option<HeaderValue> {
    let own = request.headers().get(AUDIT_ID).filter(|id| !id.is_empty()).cloned();
    let new = || uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
    own.or_else(|| HeaderValue::from_str(&new()).ok())
}

impl ApiServer {
    /// Answers a request.
    pub fn handle(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let id = audit_id(&request);
        let trail = self.audit().trail(id.as_ref());
        if trail.is_on() {
            return Box::pin(trail.clone().unwinding(self.bounded(request, id, trail)));
        }
        Box::pin(self.bounded(request, id, trail))
    }

    async fn bounded(self: Arc<Self>, request: Request<Body>, id: Option<HeaderValue>, trail: Trail) -> Response<Body> {
        let head = request.method() == Method::HEAD;
        if let Some(answer) = watches_nothing(request.uri().path()) {
            return if head { wire::without_body(answer) } else { answer };
        }
        let accepted = request.headers().clone();
        let encoding = Accept::from_headers(&accepted).map_or(Encoding::Json, |accept| accept.encoding);
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let info = RequestInfo::new(request.method(), request.uri().path(), &query);
        let long_running = info.is_long_running();
        let mut flow = None;
        let answer = self.answer(request, info, query, &mut flow, &trail);
        let result = if long_running {
            answer.await
        } else {
            match tokio::time::timeout(TIMEOUT, answer).await {
                Ok(result) => result,
                Err(_) => Err(Status::timeout("request did not complete within the allotted timeout")),
            }
        };
        let mut response = result.unwrap_or_else(|status| {
            trail.refused(&status);
            wire::refuse(&status, encoding)
        });
        if let Some(flow) = &flow {
            flow.tell(response.headers_mut());
        }
        let headers = response.headers_mut();
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        if let Some(id) = id {
            headers.insert(AUDIT_ID, id);
        }
        let response = trail.answered(response).await;
        let response = wire::compress(&accepted, response).await;
        if head { wire::without_body(response) } else { response }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Body>,
        info: RequestInfo,
        query: Query,
        flow: &mut Option<Arc<Flow>>,
        trail: &Trail,
    ) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let asked = Asked { parts: &parts, info: &info, query: &query };
        let user = self.authenticate(&parts).await;
        let anonymous = user.as_ref().is_ok_and(|user| user.name == "system:anonymous");
        if !anonymous {
            self.metrics().access.authenticated(user.as_ref().ok().map(|user| user.name.as_str()));
        }
        let user = user.inspect_err(|_| trail.unknown(&asked))?;
        trail.begin(asked, &user).await?;
        let forbid = |refused: &Status| {
            trail.refused(refused);
            Ok(forbid(refused, &parts.headers))
        };
        self.roles_are_fresh().await?;
        let user = match self.impersonated(&user, &parts.headers, &info, &query) {
            Ok(Some((other, constraint))) => {
                trail.impersonates(&other, &constraint);
                Arc::new(other)
            }
            Ok(None) => user,
            Err(refused) => return forbid(&refused),
        };
        let long_running = info.is_long_running();
        // What lasts is not bounded; of a watch only the beginning is.
        if !long_running || info.verb == "watch" {
            *flow = self.flow_control().classify(&user, &info);
        }
        let about = info.clone();
        let counted = crate::metrics::Request::new(&about, &query, wire::media_type(&parts.headers));
        let seat = match flow {
            Some(flow) => match flow.seat(&self, &user, &info, &query, PATIENCE).await {
                Ok(seat) => Some(seat),
                Err(refused) => {
                    self.metrics().dropped(&self.catalog(), &counted);
                    return Ok(too_many_requests(refused));
                }
            },
            None => None,
        };
        let started = std::time::Instant::now();
        let read_only = matches!(parts.method, Method::GET | Method::HEAD);
        let in_flight = (!long_running).then(|| self.metrics().traffic.in_flight(read_only));
        let decision = self.authorizer().ask(&user, &info, &query, info.verb);
        trail.decided(&decision);
        let allowed = granted(&decision, &user, &info, info.verb);
        self.metrics().access.authorized(allowed.is_ok());
        let mut result = match allowed {
            Err(refused) => forbid(&refused),
            Ok(()) if let Some(route) = self.aggregator().route(&self, &info.path) => {
                crate::aggregator::pass_on(&self, &route, &user, parts, body, trail).await
            }
            Ok(()) if info.is_resource => self.clone().resource(user, info, query, parts, body, trail).await,
            Ok(()) => self.path(&parts, &info, &query).await,
        };
        let code = result.as_ref().map_or_else(|s| s.code, |r| r.status().as_u16());
        let took = started.elapsed();
        drop(in_flight);
        let bytes = result.as_ref().ok().and_then(|answer| http_body::Body::size_hint(answer.body()).exact());
        self.metrics().answered(&self.catalog(), &counted, code, took, bytes);
        if let (Some(seat), Ok(response)) = (seat, &mut result) {
            flow_control::stay(seat, response, TIMEOUT);
        }
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
        trail: &Trail,
    ) -> Result<Response<Body>, Status> {
        let catalog = self.catalog();
        let Some(resource) = catalog.get(&info.group, &info.version, &info.resource) else {
            let known = catalog.groups().iter().any(|(group, _)| *group == info.group);
            return if known { Err(Status::no_such_path()) } else { Ok(nothing()) };
        };
        check_shape(resource, &info)?;
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
            .followed(trail)
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
        let path = info.path.as_str();
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<&str> = trimmed.trim_start_matches('/').split('/').collect();
        // What kube-apiserver's router serves is got; its other handlers do not look at the method.
        let get = || match parts.method {
            Method::GET => Ok(()),
            _ => Err(Status::method_not_supported()),
        };
        match segments.as_slice() {
            [""] => Ok(wire::json(200, &crate::discovery::paths(&self.catalog()))),
            ["version"] => {
                get()?;
                wire::producible(&parts.headers, &["application/json"])?;
                Ok(wire::json(200, &crate::version::info()))
            }
            [".well-known", "openid-configuration"] => {
                get()?;
                wire::producible(&parts.headers, &["application/json"])?;
                Ok(crate::openid::configuration(self))
            }
            ["openid", "v1", "jwks"] => {
                get()?;
                wire::producible(&parts.headers, &[crate::openid::KEY_SET])?;
                Ok(crate::openid::key_set(self))
            }
            ["apis"] | ["apis", _] => crate::discovery::answer(self, &segments, &parts.headers),
            ["api"] | ["api", _] | ["apis", _, _] => {
                get()?;
                wire::producible(&parts.headers, wire::PRODUCED)?;
                crate::discovery::answer(self, &segments, &parts.headers)
            }
            ["openapi", "v3"] if trimmed != path => {
                crate::openapi::answer(&self.catalog(), &["v3", ""], query, &parts.headers, Vec::new).await
            }
            // These are exactly their paths.
            _ if trimmed != path => Ok(nothing()),
            ["healthz" | "livez" | "readyz", ..] => crate::health::answer(self, &segments, query).await,
            ["debug", "api_priority_and_fairness", "dump_priority_levels"] => {
                Ok(wire::text(200, self.flow_control().dump()))
            }
            ["metrics"] => self.metrics().answer(self, &parts.headers),
            ["openapi", rest @ ..] => {
                let own = crate::openapi::answer(&self.catalog(), rest, query, &parts.headers, || {
                    self.aggregator().open_api_v2(self)
                })
                .await?;
                crate::aggregator::with_others(self, rest, own).await
            }
            _ => Ok(nothing()),
        }
    }
}

/// Whether a resource has such a path: with a namespace or without, and how far below an object.
fn check_shape(resource: &Resource, info: &RequestInfo) -> Result<(), Status> {
    let is_namespace = resource.plural == "namespaces" && resource.group.is_empty();
    if resource.namespaced && info.namespace.is_empty() {
        if !info.name.is_empty() {
            return Err(Status::no_such_path());
        }
        if !matches!(info.verb, "list" | "watch") && resource.custom.is_none() {
            return Err(Status::method_not_supported());
        }
    }
    if !resource.namespaced && !info.namespace.is_empty() && !is_namespace {
        return Err(Status::no_such_path());
    }
    if !info.rest.is_empty() && info.subresource != "proxy" {
        return Err(Status::no_such_path());
    }
    Ok(())
}

/// Of a path that says to watch and not what, kube-apiserver makes nothing.
fn watches_nothing(path: &str) -> Option<Response<Body>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if !matches!(parts.as_slice(), ["api", _, "watch" | "proxy"] | ["apis", _, _, "watch" | "proxy"]) {
        return None;
    }
    let why = format!("failed to create RequestInfo: unable to determine kind and namespace from url, {path}");
    Some(wire::text(500, format!("Internal Server Error: {path:?}: {why}\n")))
}

/// The authorizer's refusal, which nobody is to take for something else than it says.
fn forbid(refused: &Status, headers: &http::HeaderMap) -> Response<Body> {
    let encoding = Accept::from_headers(headers).map_or(Encoding::Json, |accept| accept.encoding);
    let mut response = wire::refuse(refused, encoding);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Where no API is, no `Status` is told either.
pub fn nothing() -> Response<Body> {
    wire::text(404, "404 page not found\n")
}

/// What a client gets that is not let in: no `Status`, as with kube-apiserver.
fn too_many_requests(Refused(seconds): Refused) -> Response<Body> {
    let mut response = wire::text(429, "Too many requests, please try again later.\n");
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}
