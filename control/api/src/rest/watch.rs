//! `watch`: the cache's history and present as a stream of events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use orlop_schema::protobuf::WATCH_MEDIA_TYPE;
use rand::Rng;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::DropGuard;

use super::{Call, read::parse_version};
use crate::cache::{Change, ChangeKind, EventType, Subscription};
use crate::flow_control::Unfinished;
use crate::metrics::{Events, LongRunning};
use crate::object::Object;
use crate::selector::Selectors;
use crate::status::Status;
use crate::table;
use crate::wire::{self, Body, BoxError, Encoding, Shape};

/// A watch without `timeoutSeconds` ends after 30 to 60 minutes.
const TIMEOUT: std::ops::Range<u64> = 1800..3600;
/// Nor does any watch last longer than a day.
const LONGEST: u64 = 86_400;
/// How often a bookmark tells where a quiet watch stands.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// Why a watch ends.
enum End {
    /// Its listener is closed.
    Closing,
    /// Its resource is served no more, or otherwise than it was.
    Removed,
    /// It has lasted as long as it was to.
    Deadline,
}

/// A running watch.
struct Watch {
    call: Arc<Call>,
    selectors: Selectors,
    prefix: String,
    /// What is to be sent before anything from `changes`.
    initial: VecDeque<Arc<Object>>,
    /// Dropped when these were sent: until then the watch has its seat.
    beginning: Option<DropGuard>,
    /// The bookmark that closes the initial events, if it was asked for.
    initial_end: Option<i64>,
    changes: Subscription,
    bookmarks: bool,
    /// Changes up to this revision are not for this watch.
    after: i64,
    /// Whether a Table event still has to carry its columns.
    columns: bool,
    /// What ends it. Each is polled only when it has something to say, not with every event.
    ends: FuturesUnordered<BoxFuture<'static, End>>,
    bookmark: tokio::time::Interval,
    removed: bool,
    done: bool,
    events: Events,
    _counted: LongRunning,
}

impl Call {
    pub(super) async fn watch(self: &Arc<Self>) -> Result<Response<Body>, Status> {
        let cache = self.cache()?;
        let mut selectors = self.selectors()?;
        if !self.info.name.is_empty() {
            let named = format!("metadata.name={}", self.info.name);
            selectors.fields = crate::selector::FieldSelector::parse(&named)?;
        }
        let hub = self.server.registry().hub();
        let version = self.query.text("resourceVersion");
        let bookmarks = self.query.flag("allowWatchBookmarks");
        let initial_events = self.query.get("sendInitialEvents").map(|_| self.query.flag("sendInitialEvents"));
        self.check_watch_options()?;
        let junk = |status: Status| Status::unknown(status.message);
        let revision = if matches!(version, "" | "0") { 0 } else { parse_version(version).map_err(junk)? };
        let from_now = if version.is_empty() {
            hub.fresh(&cache).await?;
            true
        } else if initial_events == Some(true) {
            hub.reach(revision).await?;
            true
        } else {
            revision == 0
        };
        let prefix = if self.namespace().is_empty() { String::new() } else { format!("{}/", self.namespace()) };
        let mut initial = VecDeque::new();
        let mut initial_end = None;
        let changes = if from_now {
            let before = hub.revision();
            let (objects, latest, changes) = cache.watch_from_now();
            if initial_events != Some(false) {
                let from: Arc<str> = prefix.as_str().into();
                let all = objects.range(from..).take_while(|(key, _)| key.starts_with(&prefix)).map(|(_, o)| o);
                if self.selects_converted(&selectors) {
                    let stored = selectors.labels_only();
                    let all = all.filter(|o| stored.matches(o)).cloned().collect();
                    initial.extend(self.present(all).await?.into_iter().filter(|o| selectors.matches(o)));
                } else {
                    initial.extend(all.filter(|o| selectors.matches(o)).cloned());
                }
            }
            initial_end = (initial_events == Some(true)).then_some(before.max(latest));
            changes
        } else {
            // One that is still to come may be asked for: what comes before it is passed over.
            cache
                .watch_after(revision)
                .map_err(|floor| Status::expired(format!("too old resource version: {revision} ({floor})")))?
        };
        let initial: VecDeque<_> = self.present(initial.into()).await?.into();
        let seconds = match self.query.integer("timeoutSeconds")? {
            Some(seconds) if seconds > 0 => seconds.unsigned_abs().min(LONGEST),
            _ => rand::rng().random_range(TIMEOUT),
        };
        let (closing, gone) = (self.closing.clone(), cache.gone());
        let ends: [BoxFuture<'static, End>; 3] = [
            Box::pin(async move {
                closing.cancelled_owned().await;
                End::Closing
            }),
            Box::pin(async move {
                gone.cancelled_owned().await;
                End::Removed
            }),
            Box::pin(async move {
                sleep(Duration::from_secs(seconds)).await;
                End::Deadline
            }),
        ];
        let mut bookmark = interval_at(Instant::now() + BOOKMARK_EVERY, BOOKMARK_EVERY);
        bookmark.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut response = Response::new(wire::full(Bytes::new()));
        let watch = Watch {
            beginning: (!initial.is_empty()).then(|| Unfinished::mark(&mut response)),
            call: self.clone(),
            selectors,
            prefix,
            initial,
            initial_end,
            changes,
            bookmarks,
            after: if from_now { 0 } else { revision },
            columns: true,
            ends: ends.into_iter().collect(),
            bookmark,
            removed: false,
            done: false,
            events: self.server.metrics().traffic.events(&self.resource),
            _counted: self.server.metrics().long_running(&self.server.catalog(), &self.info),
        };
        let frames = stream::unfold(watch, |mut watch| async move {
            watch.next().await.map(|bytes| (Ok::<_, BoxError>(Frame::data(bytes)), watch))
        });
        *response.body_mut() = StreamBody::new(frames).boxed_unsync();
        let content_type = match self.accept.encoding {
            Encoding::Protobuf => WATCH_MEDIA_TYPE,
            _ => "application/json",
        };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Ok(response)
    }

    fn check_watch_options(&self) -> Result<(), Status> {
        self.check_list_options()?;
        if self.accept.encoding == Encoding::Yaml {
            return Err(Status::not_acceptable(&[
                "application/json;stream=watch",
                "application/vnd.kubernetes.protobuf;stream=watch",
            ]));
        }
        Ok(())
    }
}

/// Whether an object's key begins with a prefix that is a namespace's or empty.
fn in_scope(prefix: &str, object: &Object) -> bool {
    prefix.is_empty() || prefix.strip_suffix('/') == Some(&object.namespace)
}

impl Watch {
    /// The next bytes to send; `None` ends the watch.
    async fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        if !self.initial.is_empty() {
            let mut bytes = Vec::new();
            while let Some(object) = self.initial.pop_front() {
                let event = self.event(EventType::Added, &object);
                self.events.sent(event.len());
                bytes.extend_from_slice(&event);
                if bytes.len() > 64 << 10 {
                    break;
                }
            }
            return Some(bytes.into());
        }
        self.beginning = None;
        if let Some(revision) = self.initial_end.take() {
            return Some(self.bookmark(revision, true));
        }
        loop {
            let standing = self.call.server.registry().hub().revision().max(self.after);
            tokio::select! {
                biased;
                Some(end) = self.ends.next() => match end {
                    End::Closing => return None,
                    End::Removed => self.removed = true,
                    End::Deadline => {
                        self.done = true;
                        return self.bookmarks.then(|| self.bookmark(standing, false));
                    }
                },
                changes = self.changes.next() => {
                    let Ok(changes) = changes else {
                        let status = Status::expired("too old resource version: the watch fell behind and was cut off");
                        return Some(self.fail(&status));
                    };
                    // One event alone, as it mostly comes, is sent as all watchers share it.
                    let (mut alone, mut bytes) = (Bytes::new(), Vec::new());
                    let after = self.after;
                    for change in changes.into_iter().filter(|change| change.revision > after) {
                        let (event, object) = match self.seen(&change).await {
                            Ok(Some(seen)) => seen,
                            Ok(None) => continue,
                            Err(status) => {
                                bytes.extend_from_slice(&std::mem::take(&mut alone));
                                bytes.extend_from_slice(&self.fail(&status));
                                break;
                            }
                        };
                        let frame = match self.call.accept.encoding {
                            _ if !self.is_shared() => self.event(event, &object),
                            Encoding::Json if self.call.accept.shape == Shape::Metadata => {
                                change.metadata_frame(event, &object)
                            }
                            Encoding::Protobuf => match change.protobuf_frame(event, &object) {
                                Ok(frame) => frame,
                                Err(status) => self.fail(&status),
                            },
                            _ => change.frame(event, &object),
                        };
                        self.events.sent(frame.len());
                        if alone.is_empty() && bytes.is_empty() {
                            alone = frame;
                        } else {
                            bytes.extend_from_slice(&std::mem::take(&mut alone));
                            bytes.extend_from_slice(&frame);
                        }
                        if self.done {
                            break;
                        }
                    }
                    if !bytes.is_empty() {
                        return Some(bytes.into());
                    }
                    if !alone.is_empty() {
                        return Some(alone);
                    }
                }
                // What happened before is told first.
                () = std::future::ready(()), if self.removed => return None,
                _ = self.bookmark.tick(), if self.bookmarks => {
                    // Everything up to `standing` was in the history before it was read to its end above.
                    return Some(self.bookmark(standing, false));
                }
            }
        }
    }

    /// What the client is told of a change, in the version that it asked for.
    async fn seen(&mut self, change: &Change) -> Result<Option<(EventType, Arc<Object>)>, Status> {
        let (call, selectors, prefix) = (&self.call, &self.selectors, &self.prefix);
        let matches = |o: &Object| in_scope(prefix, o) && selectors.matches(o);
        if !call.selects_converted(selectors) {
            let Some((event, object)) = change.seen_by(matches) else { return Ok(None) };
            return Ok(Some((event, call.present_one(object).await?)));
        }
        let present = |object: &Arc<Object>| call.present_one(object.clone());
        let kind = match &change.kind {
            ChangeKind::Created(object) => ChangeKind::Created(present(object).await?),
            ChangeKind::Deleted(object) => ChangeKind::Deleted(present(object).await?),
            ChangeKind::Updated { object, previous } => {
                ChangeKind::Updated { object: present(object).await?, previous: present(previous).await? }
            }
        };
        Ok(Change::new(change.revision, kind).seen_by(matches))
    }

    /// Whether events are the same bytes for every watcher.
    fn is_shared(&self) -> bool {
        let converts = self.call.resource.custom.as_ref().is_some_and(|custom| custom.converts());
        let shared = match self.call.accept.shape {
            Shape::Object => true,
            Shape::Metadata => self.call.accept.encoding == Encoding::Json && !self.call.accept.beta,
            Shape::Table => false,
        };
        shared && self.call.resource.is_storage_version() && !converts
    }

    fn event(&mut self, event: EventType, object: &Object) -> Bytes {
        if self.is_shared() && self.call.accept.encoding == Encoding::Json {
            return match self.call.accept.shape {
                Shape::Metadata => crate::cache::metadata_frame(event.name(), object),
                _ => crate::cache::object_frame(event.name(), object),
            };
        }
        let value = match self.call.accept.shape {
            Shape::Table => {
                let value = self.call.value_of(object);
                let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
                let include =
                    table::Include::parse(self.call.query.text("includeObject")).unwrap_or(table::Include::Metadata);
                let mut table = table::head(&self.call.resource, metadata, std::mem::take(&mut self.columns));
                table["apiVersion"] = self.call.accept.shape_version().into();
                table["rows"] = json!([self.call.row(&value, include)]);
                table
            }
            Shape::Metadata => self.call.partial(&self.call.value_of(object)),
            Shape::Object => self.call.value_of(object),
        };
        self.frame(event.name(), &value)
    }

    /// An event in the client's encoding.
    fn frame(&mut self, event: &str, value: &Value) -> Bytes {
        match self.call.accept.encoding {
            Encoding::Protobuf => match wire::protobuf::event(event, value) {
                Ok(frame) => frame,
                Err(status) => self.fail(&status),
            },
            _ => crate::cache::frame(event, value.to_string().as_bytes()),
        }
    }

    /// The event that ends the watch.
    fn fail(&mut self, status: &Status) -> Bytes {
        self.done = true;
        let value = status.to_value();
        match self.call.accept.encoding {
            Encoding::Protobuf => wire::protobuf::event("ERROR", &value).unwrap_or_default(),
            _ => crate::cache::frame("ERROR", value.to_string().as_bytes()),
        }
    }

    fn bookmark(&mut self, revision: i64, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object: Value = match self.call.accept.shape {
            Shape::Object => {
                json!({"kind": self.call.resource.kind, "apiVersion": self.call.resource.api_version(), "metadata": metadata})
            }
            Shape::Metadata => self.call.partial(&json!({"metadata": metadata})),
            Shape::Table => {
                let mut table = table::head(
                    &self.call.resource,
                    json!({"resourceVersion": revision.to_string()}),
                    std::mem::take(&mut self.columns),
                );
                table["apiVersion"] = self.call.accept.shape_version().into();
                let object = self.call.partial(&json!({"metadata": metadata}));
                table["rows"] = json!([{"cells": [], "object": object}]);
                table
            }
        };
        self.frame("BOOKMARK", &object)
    }
}
