//! Events about pods and the node: sent in the background, the same event counted instead of repeated, and never more than the
//! API server bears. A lost event is only a lost event.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use tokio::sync::mpsc;

use crate::within::{CALL, within};

/// How many events of one object are sent at once, and how long until one more may be; as client-go has it.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// Queued events beyond this are dropped: an event is not worth memory.
const QUEUE: usize = 1000;
/// How long an event can be counted instead of created anew.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Whether an event tells of the usual or of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Normal,
    Warning,
}

#[derive(Debug)]
struct Entry {
    about: ObjectReference,
    kind: Kind,
    reason: &'static str,
    message: String,
}

/// Where events are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Entry>,
}

impl Recorder {
    /// Starts to send events of `component` on `node`.
    pub fn start(client: kube::Client, component: &'static str, node: String) -> Self {
        let (queue, mut entries) = mpsc::channel::<Entry>(QUEUE);
        tokio::spawn(async move {
            let mut sender = Sender { client, component, node, sent: HashMap::new(), allowances: HashMap::new() };
            while let Some(entry) = entries.recv().await {
                sender.send(entry).await;
            }
        });
        Self { queue }
    }

    /// Hands in an event. Never waits.
    pub fn record(&self, about: ObjectReference, kind: Kind, reason: &'static str, message: impl Into<String>) {
        let message = message.into();
        tracing::debug!(object = about.name, reason, message, "event");
        if self.queue.try_send(Entry { about, kind, reason, message }).is_err() {
            tracing::debug!(reason, "the event queue is full");
        }
    }

    pub fn normal(&self, about: ObjectReference, reason: &'static str, message: impl Into<String>) {
        self.record(about, Kind::Normal, reason, message);
    }

    pub fn warning(&self, about: ObjectReference, reason: &'static str, message: impl Into<String>) {
        self.record(about, Kind::Warning, reason, message);
    }
}

/// What makes two events the same: object, field path, reason, message.
type Same = (String, String, &'static str, String);

struct Sender {
    client: kube::Client,
    component: &'static str,
    node: String,
    /// The event's name and count, by what makes two events the same.
    sent: HashMap<Same, (String, i32, Instant)>,
    /// Events left to send, by object.
    allowances: HashMap<String, (f64, Instant)>,
}

impl Sender {
    async fn send(&mut self, entry: Entry) {
        let now = Instant::now();
        self.forget(now);
        let uid = entry.about.uid.clone().unwrap_or_default();
        let (left, since) = self.allowances.entry(uid.clone()).or_insert((BURST, now));
        *left = (*left + now.duration_since(*since).as_secs_f64() / REFILL.as_secs_f64()).min(BURST);
        *since = now;
        if *left < 1.0 {
            return;
        }
        *left -= 1.0;
        // Events of the Node itself, which has no namespace, live in `default`.
        let namespace = entry.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let key = (uid, entry.about.field_path.clone().unwrap_or_default(), entry.reason, entry.message.clone());
        let time = Time(Timestamp::now());
        if let Some((name, count, _)) = self.sent.get(&key) {
            let (name, count) = (name.clone(), count + 1);
            let patch = serde_json::json!({ "count": count, "lastTimestamp": time });
            match within(CALL, events.patch(&name, &PatchParams::default(), &Patch::Strategic(patch))).await {
                Ok(_) => {
                    self.sent.insert(key, (name, count, now));
                    return;
                }
                // It has expired: create it anew.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return tracing::debug!(%error, "an event was not counted"),
            }
        }
        let nanoseconds = time.0.as_nanosecond();
        let name = format!("{}.{nanoseconds:x}", entry.about.name.as_deref().unwrap_or_default());
        let event = Event {
            metadata: ObjectMeta { name: Some(name.clone()), namespace: Some(namespace), ..ObjectMeta::default() },
            involved_object: entry.about,
            reason: Some(entry.reason.to_owned()),
            message: Some(entry.message),
            type_: Some(format!("{:?}", entry.kind)),
            source: Some(EventSource { component: Some(self.component.to_owned()), host: Some(self.node.clone()) }),
            first_timestamp: Some(time.clone()),
            last_timestamp: Some(time),
            count: Some(1),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: Some(self.node.clone()),
            ..Event::default()
        };
        match within(CALL, events.create(&PostParams::default(), &event)).await {
            Ok(_) => {
                self.sent.insert(key, (name, 1, now));
            }
            Err(error) => tracing::debug!(%error, reason = event.reason, "an event was not created"),
        }
    }

    fn forget(&mut self, now: Instant) {
        if self.sent.len() > QUEUE {
            self.sent.retain(|_, (_, _, last)| now.duration_since(*last) < REMEMBERED);
            self.allowances.retain(|_, (_, last)| now.duration_since(*last) < REMEMBERED);
        }
    }
}
