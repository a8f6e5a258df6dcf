//! An API server of one object for each resource: lists it, and watches it for ever.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::stream::{self, BoxStream, StreamExt as _};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::{Request, Response};
use serde_json::{Value, json};

type Frames = BoxStream<'static, Result<Frame<Bytes>, Infallible>>;

#[derive(Default)]
struct State {
    objects: HashMap<String, Value>,
    watchers: HashMap<String, Vec<mpsc::UnboundedSender<Bytes>>>,
    posted: Vec<(String, Value)>,
}

/// The objects by resource, and who watches them.
#[derive(Clone, Default)]
pub struct Api(Arc<Mutex<State>>);

impl Api {
    pub fn new<const N: usize>(objects: [(&str, Value); N]) -> Self {
        let objects = objects.into_iter().map(|(resource, object)| (resource.to_owned(), object)).collect();
        Self(Arc::new(Mutex::new(State { objects, ..State::default() })))
    }

    /// A client of it.
    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move {
                let path = request.uri().path().to_owned();
                let answer = if request.method() == "POST" {
                    let body = request.into_body().collect_bytes().await.unwrap_or_default();
                    api.take(&path, &body)
                } else {
                    api.answer(&path, request.uri().query().unwrap_or_default())
                };
                Ok::<_, Infallible>(Response::new(StreamBody::new(answer)))
            }
        });
        kube::Client::new(service, "default")
    }

    /// Replaces the object of a resource and tells the watchers.
    pub fn modify(&self, resource: &str, object: Value) {
        let mut state = self.0.lock().unwrap();
        let mut event = json!({"type": "MODIFIED", "object": object}).to_string();
        event.push('\n');
        state.objects.insert(resource.into(), object);
        let watchers = state.watchers.entry(resource.into()).or_default();
        watchers.retain(|watcher| watcher.unbounded_send(Bytes::from(event.clone())).is_ok());
    }

    /// Waits for an object with a reason that somebody posts.
    pub async fn posted(&self, resource: &str, reason: &str) -> Value {
        for _ in 0..200 {
            let found = |(of, object): &&(String, Value)| of == resource && object["reason"] == reason;
            if let Some((_, object)) = self.0.lock().unwrap().posted.iter().find(found) {
                return object.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("nobody posts {resource} for {reason}");
    }

    fn take(&self, path: &str, body: &Bytes) -> Frames {
        let resource = path.rsplit('/').next().unwrap_or_default().to_owned();
        let object = serde_json::from_slice(body).unwrap();
        self.0.lock().unwrap().posted.push((resource, object));
        stream::iter([Ok(Frame::data(body.clone()))]).boxed()
    }

    fn answer(&self, path: &str, query: &str) -> Frames {
        let resource = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut state = self.0.lock().unwrap();
        if query.contains("watch=true") {
            let (sender, events) = mpsc::unbounded();
            state.watchers.entry(resource).or_default().push(sender);
            return events.map(|event| Ok(Frame::data(event))).boxed();
        }
        let items: Vec<&Value> = state.objects.get(&resource).into_iter().collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
        stream::iter([Ok(Frame::data(Bytes::from(list.to_string())))]).boxed()
    }
}
