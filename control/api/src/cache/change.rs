//! One change of one object, and its watch events, each encoded once for all watchers.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use crate::object::Object;
use crate::status::Status;
use crate::wire;

/// What happened to an object.
#[derive(Debug)]
pub enum ChangeKind {
    /// It is new.
    Created(Arc<Object>),
    /// It was another before.
    Updated {
        /// As it is now.
        object: Arc<Object>,
        /// As it was.
        previous: Arc<Object>,
    },
    /// It is gone: its last state, with the deletion's `resourceVersion`.
    Deleted(Arc<Object>),
}

/// A watch event's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// `ADDED`
    Added,
    /// `MODIFIED`
    Modified,
    /// `DELETED`
    Deleted,
}

impl EventType {
    /// As written on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// A change at a revision.
#[derive(Debug)]
pub struct Change {
    /// The store's revision.
    pub revision: i64,
    /// What happened.
    pub kind: ChangeKind,
    /// By encoding or shape, and type.
    frames: [[OnceLock<Bytes>; 3]; 3],
    /// The state before, as a deletion event carries it (an object that stops matching a selector).
    left: OnceLock<Arc<Object>>,
}

impl Change {
    /// A change.
    pub fn new(revision: i64, kind: ChangeKind) -> Self {
        Self { revision, kind, frames: Default::default(), left: OnceLock::new() }
    }

    /// Bytes that remembering it costs.
    pub(super) fn size(&self) -> usize {
        match &self.kind {
            ChangeKind::Created(object) | ChangeKind::Deleted(object) => object.size(),
            ChangeKind::Updated { object, previous } => object.size() + previous.size(),
        }
    }

    /// What a watcher who sees only matching objects is told, and about which state of the object.
    pub fn seen_by(&self, matches: impl Fn(&Object) -> bool) -> Option<(EventType, Arc<Object>)> {
        match &self.kind {
            ChangeKind::Created(object) => matches(object).then(|| (EventType::Added, object.clone())),
            ChangeKind::Deleted(object) => matches(object).then(|| (EventType::Deleted, object.clone())),
            ChangeKind::Updated { object, previous } => match (matches(previous), matches(object)) {
                (true, true) => Some((EventType::Modified, object.clone())),
                (false, true) => Some((EventType::Added, object.clone())),
                (true, false) => {
                    let left = self.left.get_or_init(|| Arc::new(previous.at(self.revision)));
                    Some((EventType::Deleted, left.clone()))
                }
                (false, false) => None,
            },
        }
    }

    /// The JSON frame of an event about `object`, encoded at most once per type.
    pub fn frame(&self, event: EventType, object: &Object) -> Bytes {
        self.frames[0][event as usize].get_or_init(|| object_frame(event.name(), object)).clone()
    }

    /// The JSON frame of an event with the metadata of `object` alone, likewise.
    pub fn metadata_frame(&self, event: EventType, object: &Object) -> Bytes {
        self.frames[2][event as usize].get_or_init(|| metadata_frame(event.name(), object)).clone()
    }

    /// The protobuf frame of an event about `object`, likewise.
    pub fn protobuf_frame(&self, event: EventType, object: &Object) -> Result<Bytes, Status> {
        let slot = &self.frames[1][event as usize];
        if let Some(known) = slot.get() {
            return Ok(known.clone());
        }
        let frame = wire::protobuf::event(event.name(), &object.value())?;
        Ok(slot.get_or_init(|| frame).clone())
    }
}

/// `{"type":…,"object":…}` and a newline.
pub fn frame(event: &str, object: &[u8]) -> Bytes {
    framed(event, object.len(), |bytes| bytes.put_slice(object))
}

/// Likewise about an object as it is.
pub fn object_frame(event: &str, object: &Object) -> Bytes {
    framed(event, object.size(), |bytes| object.write(bytes))
}

/// Likewise about its metadata.
pub fn metadata_frame(event: &str, object: &Object) -> Bytes {
    framed(event, object.size(), |bytes| object.write_metadata(bytes))
}

fn framed(event: &str, size: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::with_capacity(size + event.len() + 24);
    bytes.put_slice(b"{\"type\":\"");
    bytes.put_slice(event.as_bytes());
    bytes.put_slice(b"\",\"object\":");
    write(&mut bytes);
    bytes.put_slice(b"}\n");
    bytes.freeze()
}
