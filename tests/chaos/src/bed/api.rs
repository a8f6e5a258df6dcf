//! As much of an API server as a proxy needs: objects that are listed and watched, as they were written. Orlop's own gives Services
//! addresses of one family; this one takes whatever an author of both families would have.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::channel::mpsc;
use futures::stream::{self, BoxStream, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

type Frames = BoxStream<'static, Result<Frame<Bytes>, Infallible>>;

/// Somebody who is told of every object of a resource, or of the one with a name.
struct Watcher {
    only: Option<String>,
    events: mpsc::UnboundedSender<Bytes>,
}

#[derive(Default)]
struct State {
    revision: u64,
    /// By resource, then namespace and name.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// Every change of a resource: its revision, the object's name, and the event as it is told.
    history: BTreeMap<String, Vec<(u64, String, Bytes)>>,
    watchers: BTreeMap<String, Vec<Watcher>>,
}

/// Ends with the value.
pub struct Api {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    _runtime: Runtime,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `nodes` for a Node: the resources that proxies ask for have regular plurals.
fn resource_of(object: &Value) -> Result<String> {
    Ok(format!("{}s", object["kind"].as_str().context("an object has a kind")?.to_lowercase()))
}

impl Api {
    /// Serves plain HTTP on a socket, which may be of another network namespace.
    pub(super) fn serve(listener: TcpListener) -> Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        runtime.spawn(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((connection, _)) = listener.accept().await {
                let state = shared.clone();
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let state = state.clone();
                    async move { Ok::<_, Infallible>(Response::new(StreamBody::new(answer(&state, request).await))) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(connection), service));
            }
        });
        Ok(Self { state, address, _runtime: runtime })
    }

    /// Where it serves.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Writes an object, whether or not it is there, and tells who watches.
    pub fn apply(&self, mut object: Value) -> Result<()> {
        let resource = resource_of(&object)?;
        let name = object["metadata"]["name"].as_str().context("an object has a name")?.to_owned();
        if resource != "nodes" {
            object["metadata"]["namespace"] = "default".into();
        }
        let mut state = lock(&self.state);
        state.revision += 1;
        object["metadata"]["resourceVersion"] = state.revision.to_string().into();
        let old = state.objects.entry(resource.clone()).or_default().insert(name.clone(), object.clone());
        state.tell(&resource, &name, if old.is_some() { "MODIFIED" } else { "ADDED" }, &object);
        Ok(())
    }
}

impl State {
    fn tell(&mut self, resource: &str, name: &str, kind: &str, object: &Value) {
        let event = Bytes::from(format!("{}\n", json!({"type": kind, "object": object})));
        let history = self.history.entry(resource.into()).or_default();
        history.push((self.revision, name.to_owned(), event.clone()));
        let watchers = self.watchers.entry(resource.into()).or_default();
        watchers.retain(|Watcher { only, events }| {
            only.as_ref().is_some_and(|only| only != name) || events.unbounded_send(event.clone()).is_ok()
        });
    }
}

async fn answer(state: &Mutex<State>, request: Request<Incoming>) -> Frames {
    let resource = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if request.method() != hyper::Method::GET {
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        // Events: taken, and forgotten.
        return stream::iter([Ok(Frame::data(body))]).boxed();
    }
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let only = parameter("fieldSelector").and_then(|text| text.strip_prefix("metadata.name%3D")).map(str::to_owned);
    let asked = |name: &String| only.as_ref().is_none_or(|only| only == name);
    let mut state = lock(state);
    if parameter("watch") == Some("true") {
        let since: u64 = parameter("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default();
        let (sender, events) = mpsc::unbounded();
        let history = state.history.get(&resource).into_iter().flatten();
        for (_, _, event) in history.filter(|(revision, name, _)| *revision > since && asked(name)) {
            let _ = sender.unbounded_send(event.clone());
        }
        state.watchers.entry(resource).or_default().push(Watcher { only, events: sender });
        return events.map(|event| Ok(Frame::data(event))).boxed();
    }
    let objects = state.objects.get(&resource).into_iter().flatten();
    let items: Vec<&Value> = objects.filter(|(name, _)| asked(name)).map(|(_, object)| object).collect();
    let metadata = json!({"resourceVersion": state.revision.to_string()});
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items});
    stream::iter([Ok(Frame::data(Bytes::from(list.to_string())))]).boxed()
}
