//! What is collected of one request on its way, and when it is written. A trail of nothing costs nothing.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use orlop_auth::{Decision, UserInfo};
use serde_json::Value;

use super::Active;
use super::event::{Event, ObjectReference, ResponseStatus, drop_managed_fields};
use super::policy::{Level, Stage, Verdict};
use super::sender::{self, Peer};
use crate::authenticate::Certificate;
use crate::authorize;
use crate::request::{Query, RequestInfo};
use crate::selector::FieldSelector;
use crate::status::Status;
use crate::wire::{self, Accept, Body, BodyFormat};

/// A `Status` that is no refusal is not longer.
const STATUS_LENGTH: u64 = 64 << 10;

/// A request as it came.
pub struct Asked<'a> {
    /// Its head.
    pub parts: &'a Parts,
    /// What it is about.
    pub info: &'a RequestInfo,
    /// With which options.
    pub query: &'a Query,
}

/// Follows one request. Every part of the server that holds a clone is a part of the request: one that lasts is over when the last of
/// them is dropped.
#[derive(Clone, Default)]
pub struct Trail(Option<Arc<Context>>);

struct Context {
    active: Arc<Active>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    progress: Progress,
    verdict: Verdict,
    event: Event,
    /// Whether it lasts until its client wants no more.
    lasts: bool,
    /// Whether its sender is not known: of such a request nothing is written but its refusal.
    unknown: bool,
    /// Whether the client can be told why it is refused.
    legible: bool,
    /// Whether what is answered may be an object of this server.
    own: bool,
    /// Whether what is answered may be a `Status` that is no refusal.
    writes: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Progress {
    /// The policy has not been asked.
    #[default]
    Arrived,
    /// There is something to be written still.
    Followed,
    /// There is nothing.
    Ended,
}

impl Trail {
    pub(super) fn new(active: Arc<Active>, id: Option<&HeaderValue>) -> Self {
        let id = id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()).unwrap_or_default();
        let event = Event { id, received: Timestamp::now(), ..Event::default() };
        Self(Some(Arc::new(Context { active, state: Mutex::new(State { event, ..State::default() }) })))
    }

    /// Whether anything of any request is written.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Runs something on behalf of the request; if it panics, that is written, too.
    pub async fn unwinding<T>(self, work: impl Future<Output = T>) -> T {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(done) => done,
            Err(why) => {
                let text = why.downcast_ref::<&str>().copied().or(why.downcast_ref::<String>().map(String::as_str));
                self.panicked(text.unwrap_or("unknown").to_owned()).await;
                std::panic::resume_unwind(why)
            }
        }
    }

    async fn panicked(&self, why: String) {
        let told = self.followed().map(|(context, mut state)| {
            state.event.status = Some(ResponseStatus::panicked(&why));
            state.progress = Progress::Ended;
            context
        });
        if let Some(context) = told {
            context.reach(Stage::Panic).await;
        }
    }

    /// The request's sender is known: asks the policy, and writes that it was received. An error refuses it.
    pub async fn begin(&self, asked: Asked<'_>, user: &UserInfo) -> Result<(), Status> {
        let Some(context) = &self.0 else { return Ok(()) };
        if !context.judge(&asked, Some(user)) || context.reach(Stage::RequestReceived).await {
            return Ok(());
        }
        context.state().progress = Progress::Ended;
        context.active.metrics.rejected();
        Err(Status::internal("failed to store audit event"))
    }

    /// The request's sender is not known, and it is refused for that.
    pub fn unknown(&self, asked: &Asked<'_>) {
        let Some(context) = &self.0 else { return };
        if !context.judge(asked, None) {
            return;
        }
        let certificate = asked.parts.extensions.get::<Certificate>().is_some();
        let attempted = sender::attempted(&asked.parts.headers, asked.query.text("access_token"), certificate);
        let mut state = context.state();
        state.unknown = true;
        state.event.status = Some(ResponseStatus::saying(attempted));
    }

    /// The request is another's, who may be impersonated by that verb.
    pub fn impersonates(&self, user: &UserInfo, constraint: &str) {
        if let Some((_, mut state)) = self.followed() {
            state.event.impersonated = Some(user.clone());
            constraint.clone_into(&mut state.event.constraint);
        }
    }

    /// Whether the request may be made, and why.
    pub fn decided(&self, decision: &Decision) {
        let (decision, reason) = match decision {
            Decision::Allow(reason) => ("allow", reason),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => ("forbid", reason),
        };
        self.annotate("authorization.k8s.io/decision", || decision.to_owned());
        self.annotate("authorization.k8s.io/reason", || reason.clone());
    }

    /// The request is carried out by another server, whose answer is its own.
    pub fn passed_on(&self) {
        if let Some((_, mut state)) = self.followed() {
            state.own = false;
        }
    }

    /// The request brings an object, of which `whole` makes what is written.
    pub fn requested(&self, object: &Value, whole: impl FnOnce() -> Value) {
        let Some((_, mut state)) = self.followed() else { return };
        if let Some(reference) = &mut state.event.object {
            reference.complete(object);
        }
        if state.verdict.level >= Level::Request {
            let mut object = whole();
            if state.verdict.omit_managed_fields {
                drop_managed_fields(&mut object);
            }
            state.event.request_object = Some(object.to_string().into_bytes());
        }
    }

    /// The request brings a patch. One that cannot be read is not written.
    pub fn patched(&self, patch: &[u8], is_yaml: bool) {
        let Some((_, mut state)) = self.followed() else { return };
        if state.verdict.level < Level::Request {
            return;
        }
        state.event.request_object = if is_yaml {
            wire::parse_yaml(patch).ok().map(|(patch, _)| patch.to_string().into_bytes())
        } else {
            // A line must be legible to others: text, and not deeper than they read.
            serde_json::from_slice::<Value>(patch).ok().map(|_| patch.to_vec())
        };
    }

    /// Says something else of the request. What was said first holds.
    pub fn annotate(&self, key: &str, value: impl FnOnce() -> String) {
        self.annotate_from(Level::Metadata, key, value);
    }

    /// Likewise, if that much is written of it.
    pub fn annotate_from(&self, level: Level, key: &str, value: impl FnOnce() -> String) {
        if let Some((_, mut state)) = self.followed()
            && state.verdict.level >= level
            && !state.event.annotations.contains_key(key)
        {
            state.event.annotations.insert(key.to_owned(), value());
        }
    }

    /// The request is refused.
    pub fn refused(&self, status: &Status) {
        let Some((_, mut state)) = self.followed() else { return };
        if !state.legible {
            return;
        }
        state.event.status = Some(ResponseStatus::refused(status));
        if state.verdict.level == Level::RequestResponse {
            state.event.response_object = Some(status.to_value().to_string().into_bytes());
        }
    }

    /// The answer is known: writes that, and when it is over if it lasts.
    pub async fn answered(&self, response: Response<Body>) -> Response<Body> {
        if self.followed().is_none() {
            return response;
        }
        let response = self.read(response).await;
        let code = response.status().as_u16();
        let concluded = self.followed().map(|(context, mut state)| {
            let status = state.event.status.take().unwrap_or_default();
            state.event.status = Some(status.with_code(code));
            let lasts = state.lasts && !state.unknown;
            let stage = if state.lasts || state.unknown { Stage::ResponseStarted } else { Stage::ResponseComplete };
            if !lasts {
                state.progress = Progress::Ended;
            }
            (context, stage, lasts)
        });
        let Some((context, stage, lasts)) = concluded else { return response };
        context.reach(stage).await;
        if lasts { response.map(|body| wire::holding(body, self.clone())) } else { response }
    }

    /// Reads what is answered as far as it is written.
    async fn read(&self, response: Response<Body>) -> Response<Body> {
        let Some((level, omit)) = self.followed().and_then(|(_, state)| {
            let may = state.own && !state.lasts && state.event.status.is_none();
            let small = response.body().size_hint().exact().is_some_and(|length| length <= STATUS_LENGTH);
            let level = state.verdict.level;
            let wanted = may && (level == Level::RequestResponse || state.writes && small);
            wanted.then_some((level, state.verdict.omit_managed_fields))
        }) else {
            return response;
        };
        let Some(format) = object_format(response.headers()) else { return response };
        let (parts, body) = response.into_parts();
        let bytes = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return wire::refuse(&Status::internal(error), wire::Encoding::Json),
        };
        let is_status = is_status(format, &bytes);
        let object = if level == Level::RequestResponse || is_status { read_object(format, &bytes) } else { None };
        if let Some((_, mut state)) = self.followed()
            && let Some(mut object) = object
        {
            if is_status && object["kind"] == "Status" {
                state.event.status = Some(ResponseStatus::answered(&object));
            }
            if level == Level::RequestResponse {
                if omit {
                    drop_managed_fields(&mut object);
                }
                state.event.response_object = Some(object.to_string().into_bytes());
            }
        }
        Response::from_parts(parts, wire::full(bytes))
    }

    /// The request, if there is something to be written of it still.
    fn followed(&self) -> Option<(&Context, MutexGuard<'_, State>)> {
        let context = self.0.as_deref()?;
        let state = context.state();
        (state.progress == Progress::Followed).then_some((context, state))
    }
}

/// How an answer is written, if it may be an object.
fn object_format(headers: &HeaderMap) -> Option<BodyFormat> {
    match wire::media_type(headers) {
        "" => None,
        _ => BodyFormat::from_headers(headers).ok(),
    }
}

fn is_status(format: BodyFormat, bytes: &[u8]) -> bool {
    match format {
        BodyFormat::Json => bytes.starts_with(br#"{"kind":"Status","apiVersion":"v1","#),
        BodyFormat::Yaml => {
            bytes.starts_with(b"apiVersion: v1\n") && bytes.windows(14).any(|w| w == b"\nkind: Status\n")
        }
        // The envelope begins with what is in it: apiVersion and kind.
        BodyFormat::Protobuf => bytes.get(6..).is_some_and(|head| head.starts_with(b"\n\x02v1\x12\x06Status")),
    }
}

fn read_object(format: BodyFormat, bytes: &[u8]) -> Option<Value> {
    let read = match format {
        BodyFormat::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        BodyFormat::Yaml => wire::parse_yaml(bytes).map(|(object, _)| object),
        BodyFormat::Protobuf => wire::protobuf::decode(bytes, "", "").map_err(|status| status.message),
    };
    read.inspect_err(|error| tracing::warn!(error, "an answer cannot be written into the audit log")).ok()
}

impl Context {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the policy. Whether anything is to be written.
    fn judge(&self, asked: &Asked<'_>, user: Option<&UserInfo>) -> bool {
        let Asked { parts, info, query } = asked;
        let fields = FieldSelector::parse(query.text("fieldSelector")).unwrap_or_default();
        let attributes = authorize::question(user, info, &fields, info.verb);
        let verdict = self.active.policy.judge(&attributes);
        self.active.metrics.level(verdict.level.as_str());
        let mut state = self.state();
        if verdict.level == Level::None {
            state.progress = Progress::Ended;
            return false;
        }
        state.progress = Progress::Followed;
        state.verdict = verdict;
        state.lasts = info.is_long_running();
        state.legible = Accept::from_headers(&parts.headers).is_ok();
        state.own = info.is_resource || info.path.split('/').nth(1).is_some_and(|root| matches!(root, "api" | "apis"));
        state.writes = info.is_resource && !matches!(info.verb, "get" | "list");
        let event = &mut state.event;
        event.level = verdict.level;
        event.uri = parts.uri.path_and_query().map_or_else(|| info.path.clone(), ToString::to_string);
        event.verb = info.verb;
        event.user = user.cloned();
        let peer = parts.extensions.get().map(|Peer(address)| *address);
        event.source_ips = sender::source_ips(&parts.headers, peer);
        event.user_agent = sender::user_agent(&parts.headers);
        event.object = info.is_resource.then(|| ObjectReference::new(info, attributes.name));
        true
    }

    /// The line of a stage, unless it is omitted.
    fn line(&self, state: &State, stage: Stage) -> Option<Vec<u8>> {
        if state.verdict.omit.has(stage) {
            return None;
        }
        let at = if stage == Stage::RequestReceived { state.event.received } else { Timestamp::now() };
        let line = state.event.line(stage, at);
        line.inspect_err(|error| {
            self.active.metrics.error("log");
            tracing::warn!(%error, "an audit event cannot be written");
        })
        .ok()
    }

    /// Writes a stage; false if that failed and matters.
    async fn reach(&self, stage: Stage) -> bool {
        let line = self.line(&self.state(), stage);
        match line {
            Some(line) => self.active.log.write(line).await,
            None => true,
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let mut state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        if state.progress != Progress::Followed {
            return;
        }
        let stages: &[Stage] = if std::thread::panicking() {
            state.event.status = Some(ResponseStatus::panicked("unknown"));
            &[Stage::Panic]
        } else if state.unknown {
            &[Stage::ResponseStarted]
        } else if state.event.status.is_some() {
            &[Stage::ResponseComplete]
        } else {
            // Nobody waited for the answer.
            state.event.status = Some(ResponseStatus::closed_early());
            if state.lasts { &[Stage::ResponseStarted, Stage::ResponseComplete] } else { &[Stage::ResponseComplete] }
        };
        for line in stages.iter().filter_map(|stage| self.line(&state, *stage)) {
            self.active.log.leave(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Audit, AuditOptions};
    use crate::metrics::AuditMetrics;

    #[tokio::test]
    async fn a_panic_is_written_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (policy, log) = (folder.path().join("policy"), folder.path().join("log"));
        let rules =
            "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata, omitStages: [RequestReceived]}]}";
        std::fs::write(&policy, rules).unwrap();
        let options = AuditOptions { policy: Some(policy), path: Some(log.clone()), ..AuditOptions::default() };
        let audit = Audit::open(&options, &AuditMetrics::default()).unwrap();
        let trail = audit.trail(None);
        let own = trail.clone();
        let work = async move {
            let (parts, ()) = http::Request::get("/version").body(()).unwrap().into_parts();
            let query = Query::parse("");
            let info = RequestInfo::new(&parts.method, "/version", &query);
            let asked = Asked { parts: &parts, info: &info, query: &query };
            own.begin(asked, &UserInfo::anonymous()).await.unwrap();
            assert!(info.is_resource, "out of order");
        };
        assert!(AssertUnwindSafe(trail.unwinding(work)).catch_unwind().await.is_err());
        let text = std::fs::read_to_string(&log).unwrap();
        let event: Value = serde_json::from_str(&text).expect(&text);
        let status = serde_json::json!({
            "metadata": {}, "status": "Failure", "message": "APIServer panic'd: out of order", "reason": "InternalError", "code": 500,
        });
        assert_eq!((&event["stage"], &event["responseStatus"]), (&"Panic".into(), &status));
    }
}
