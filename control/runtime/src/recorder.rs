//! Events (`kubectl get events`), written behind the back of whoever has something to tell.
//!
//! Semantics of client-go's recorder and correlator: what is said again of the same object within ten minutes raises the count of
//! the first event. (kube's recorder takes two different messages of one reason for the same event.) An event that cannot be
//! written, or comes while a thousand wait, is lost: events hold nothing up.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;

const WAITING: usize = 1000;
const MEMORY: Duration = Duration::from_secs(600);
const REMEMBERED: usize = 4096;
/// Longer messages are cut, as `events.k8s.io` demands.
const LONGEST_NOTE: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Said {
    uid: String,
    name: String,
    type_: &'static str,
    reason: &'static str,
    note: String,
}

struct Written {
    name: String,
    count: i32,
    at: Instant,
}

struct Message {
    about: ObjectReference,
    said: Said,
}

/// Writes events as one component. Must be made inside a tokio runtime; ends with its last clone.
#[derive(Clone)]
pub struct Recorder {
    messages: mpsc::Sender<Message>,
}

impl Recorder {
    /// A recorder for `component`, for example `default-scheduler`.
    pub fn new(client: Client, component: &str) -> Self {
        let (messages, mut waiting) = mpsc::channel::<Message>(WAITING);
        let component = component.to_owned();
        tokio::spawn(async move {
            let mut memory = HashMap::new();
            while let Some(message) = waiting.recv().await {
                let reason = message.said.reason;
                if let Err(error) = write(&client, &component, &mut memory, message).await {
                    tracing::debug!(reason, %error, "event not written");
                }
            }
        });
        Self { messages }
    }

    /// Something went as it should.
    pub fn normal(&self, about: ObjectReference, reason: &'static str, note: impl Into<String>) {
        self.event("Normal", about, reason, note.into());
    }

    /// Something did not.
    pub fn warning(&self, about: ObjectReference, reason: &'static str, note: impl Into<String>) {
        self.event("Warning", about, reason, note.into());
    }

    fn event(&self, type_: &'static str, mut about: ObjectReference, reason: &'static str, mut note: String) {
        if note.len() > LONGEST_NOTE {
            let end = (0..=LONGEST_NOTE - 3).rev().find(|at| note.is_char_boundary(*at)).unwrap_or(0);
            note.truncate(end);
            note.push_str("...");
        }
        // The event tells of the object, not of one version of it.
        about.resource_version = None;
        let said = Said {
            uid: about.uid.clone().unwrap_or_default(),
            name: about.name.clone().unwrap_or_default(),
            type_,
            reason,
            note,
        };
        let _ = self.messages.try_send(Message { about, said });
    }
}

async fn write(
    client: &Client,
    component: &str,
    memory: &mut HashMap<Said, Written>,
    message: Message,
) -> Result<(), kube::Error> {
    let namespace = message.about.namespace.clone().filter(|namespace| !namespace.is_empty());
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let api = Api::<Event>::namespaced(client.clone(), &namespace);
    let now = Timestamp::now();
    if memory.len() >= REMEMBERED {
        memory.retain(|_, written| written.at.elapsed() < MEMORY);
    }
    if let Some(written) = memory.get_mut(&message.said).filter(|written| written.at.elapsed() < MEMORY) {
        let patch = json!({"count": written.count + 1, "lastTimestamp": Time(now)});
        match api.patch(&written.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {
                written.count += 1;
                written.at = Instant::now();
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let event = event(component, &namespace, &message, now);
    let created = api.create(&PostParams::default(), &event).await?;
    let name = created.metadata.name.unwrap_or_default();
    memory.insert(message.said, Written { name, count: 1, at: Instant::now() });
    Ok(())
}

fn event(component: &str, namespace: &str, message: &Message, now: Timestamp) -> Event {
    let said = &message.said;
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", said.name, now.as_nanosecond())),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: message.about.clone(),
        reason: Some(said.reason.to_owned()),
        message: Some(said.note.clone()),
        type_: Some(said.type_.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some(component.to_owned()), host: None }),
        reporting_component: Some(component.to_owned()),
        ..Event::default()
    }
}
