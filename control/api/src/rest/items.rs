//! A long list, written in pieces while it is sent: the client reads its beginning while the rest is being written, and no list is in
//! memory twice.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use crate::object::Object;
use crate::wire::BoxError;

/// What is written at once. It is to be in the processor's cache still when it is encrypted.
const PIECE: usize = 64 << 10;
/// Lists that are not longer are sent whole.
pub(super) const SHORT: u64 = 2 * PIECE as u64;

/// Objects that are fetched into the processor's nearest cache before they are copied, and lines of each.
const AHEAD: usize = 16;
/// Bytes of a cache line.
const LINE: usize = 64;

/// The rest of a list in JSON.
pub(super) struct Items {
    /// What comes before the first item, until it was sent.
    head: Vec<u8>,
    objects: std::vec::IntoIter<Arc<Object>>,
    /// Whether each item says itself what it is.
    whole: bool,
    /// Bytes that are still to be sent.
    left: u64,
    begun: bool,
}

const TAIL: &[u8] = b"]}";

impl Items {
    /// `head` up to the bracket before the first item, then objects as they are stored, whole or without what the list says of all.
    pub(super) fn new(head: Vec<u8>, objects: Vec<Arc<Object>>, whole: bool) -> Self {
        let of = |object: &Arc<Object>| if whole { object.length() } else { object.item_length() };
        let commas = objects.len().saturating_sub(1);
        let left = head.len() + objects.iter().map(of).sum::<usize>() + commas + TAIL.len();
        Self { head, objects: objects.into_iter(), whole, left: left as u64, begun: false }
    }

    /// Bytes that are still to be sent.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes, at least so many unless it ends; none behind its end.
    pub(super) fn next(&mut self, size: usize) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        // The last object may reach over the end.
        let room = usize::try_from(self.left).map_or(size, |left| left.min(size.saturating_add(size / 16)));
        let mut piece = BytesMut::with_capacity(room);
        piece.put_slice(&std::mem::take(&mut self.head));
        let mut warm = 0;
        while piece.len() < size {
            if warm == 0 {
                warm = touch(self.objects.as_slice());
            }
            let Some(object) = self.objects.next() else {
                piece.put_slice(TAIL);
                break;
            };
            warm -= 1;
            if std::mem::replace(&mut self.begun, true) {
                piece.put_u8(b',');
            }
            match self.whole {
                true => object.write(&mut piece),
                false => object.write_item(&mut piece),
            }
        }
        self.left = self.left.saturating_sub(piece.len() as u64);
        Some(piece.freeze())
    }
}

/// Reads a little of each of the next objects, and tells of how many: their bytes lie about in memory, and a processor waits for many
/// places at once in the time that it waits for one.
fn touch(objects: &[Arc<Object>]) -> usize {
    let next = &objects[..objects.len().min(AHEAD)];
    let bytes = next.iter().flat_map(|object| object.stored().iter().step_by(LINE).take(AHEAD));
    std::hint::black_box(bytes.fold(0_u8, |all, byte| all ^ byte));
    next.len()
}

impl Body for Items {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.next(PIECE).map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn a_list_has_the_bytes_that_it_says_however_it_is_cut() {
        let maps = Catalog::builtin().get("", "v1", "configmaps").unwrap().clone();
        let map = |number: i64| {
            let metadata = json!({"name": format!("map-{number}"), "namespace": "n"});
            let value = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"n": "x".repeat(number as usize)}});
            // Some were never stored and say no revision.
            Arc::new(Object::from_value(&maps, &value, 1 << (number % 50) & !1))
        };
        for (count, whole) in [(0, true), (1, false), (100, true), (100, false)] {
            let objects: Vec<_> = (0..count).map(map).collect();
            let mut items = Items::new(b"{\"items\":[".to_vec(), objects.clone(), whole);
            let (said, mut bytes, mut pieces) = (items.left(), Vec::new(), 0);
            while let Some(piece) = items.next(700) {
                bytes.extend_from_slice(&piece);
                pieces += 1;
                assert_eq!(items.left(), said - bytes.len() as u64);
            }
            assert!(items.is_end_stream() && pieces > count / 8);
            let mut read: Value = serde_json::from_slice(&bytes).unwrap();
            for (item, object) in read["items"].as_array_mut().unwrap().iter_mut().zip(&objects) {
                let mut expected = object.value();
                if !whole {
                    let fields = expected.as_object_mut().unwrap();
                    fields.shift_remove("kind");
                    fields.shift_remove("apiVersion");
                }
                assert_eq!(*item, expected);
            }
            assert_eq!(read["items"].as_array().unwrap().len(), count as usize);
        }
    }
}
