//! Netlink attributes: how every message of this crate is written and read.
//!
//! Lengths are little u16 fields of the kernel's `struct nlattr`; values are padded to four bytes. nfnetlink's integers are
//! big-endian unless an attribute is raw data.

/// Marks an attribute whose value is attributes.
const NESTED: u16 = 0x8000;
/// The bits of a type that are flags.
const TYPE_MASK: u16 = 0x3fff;

/// Appends attributes to a message under construction.
pub(crate) trait Put {
    /// The bytes so far.
    fn bytes(&mut self) -> &mut Vec<u8>;

    /// One attribute with raw bytes.
    fn put(&mut self, kind: u16, value: &[u8]) {
        let out = self.bytes();
        out.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }

    /// A big-endian 32-bit attribute.
    fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    /// A NUL-terminated string.
    fn put_str(&mut self, kind: u16, value: &str) {
        let mut text = Vec::with_capacity(value.len() + 1);
        text.extend_from_slice(value.as_bytes());
        text.push(0);
        self.put(kind, &text);
    }

    /// An attribute that holds what `inner` writes.
    fn nest<R>(&mut self, kind: u16, inner: impl FnOnce(&mut Self) -> R) -> R {
        let start = self.bytes().len();
        self.bytes().extend_from_slice(&[0; 4]);
        let result = inner(self);
        let out = self.bytes();
        let length = ((out.len() - start) as u16).to_ne_bytes();
        out[start..start + 2].copy_from_slice(&length);
        out[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
        result
    }
}

impl Put for Vec<u8> {
    fn bytes(&mut self) -> &mut Vec<u8> {
        self
    }
}

/// Iterates over the attributes of a message body: (type, value). Stops at the first malformed one.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of a type.
    pub fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(k, _)| *k == kind).map(|(_, value)| value)
    }

    /// The attributes inside the first attribute of a type; empty if there is none.
    pub fn nested(self, kind: u16) -> Attributes<'a> {
        Attributes(self.get(kind).unwrap_or_default())
    }

    /// A big-endian 32-bit attribute.
    pub fn u32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A NUL-terminated string.
    pub fn str(self, kind: u16) -> Option<&'a str> {
        let value = self.get(kind)?;
        std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        out.put_str(1, "orlop");
        out.nest(2, |o| {
            o.put_u32(3, 7);
            o.put(4, &[1, 2, 3]);
        });
        assert_eq!(out.len() % 4, 0);
        let read = Attributes(&out);
        assert_eq!(read.str(1), Some("orlop"));
        assert_eq!(read.nested(2).u32(3), Some(7));
        assert_eq!(read.nested(2).get(4), Some(&[1, 2, 3][..]));
        assert_eq!(read.count(), 2);
    }

    #[test]
    fn a_truncated_attribute_ends_the_iteration() {
        assert_eq!(Attributes(&[9, 0, 1, 0, 1]).count(), 0);
        assert_eq!(Attributes(&[2, 0, 1, 0]).count(), 0);
    }
}
