//! Links in HTML that a proxied server sends: a path from its root would miss the server behind this one, so the way to it is put before
//! it, as kube-apiserver's proxy does. Works on the stream: only the tag that is being read is kept. Compressed pages stay as they are.

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Response, header};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Frame;

use crate::wire::{Body, BoxError};

/// Attributes that hold a URL, by element (HTML 4 and 5).
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// What is longer than this is no tag.
const LONGEST_TAG: usize = 64 << 10;

/// Puts `base` before the paths in the answer's links, if it is HTML.
pub fn lead_here(response: Response<Body>, base: &str) -> Response<Body> {
    if !is_html(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut links = Links { base: base.trim_end_matches('/').to_owned(), tag: Vec::new() };
    // One more, empty frame for what is left when the body ends in the middle of a tag.
    let frames = BodyStream::new(body).map(Some).chain(futures::stream::iter([None]));
    let frames = frames.map(move |frame| match frame {
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) => Ok(Frame::data(links.feed(&data))),
            Err(trailers) => Ok(trailers),
        },
        Some(Err(error)) => Err::<_, BoxError>(error),
        None => Ok(Frame::data(Bytes::from(std::mem::take(&mut links.tag)))),
    });
    Response::from_parts(parts, StreamBody::new(frames).boxed_unsync())
}

fn is_html(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html")
        && !headers.contains_key(header::CONTENT_ENCODING)
}

struct Links {
    base: String,
    /// From `<` on, while a tag is being read.
    tag: Vec<u8>,
}

impl Links {
    fn feed(&mut self, data: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(data.len() + self.base.len());
        for byte in data {
            match (self.tag.is_empty(), byte) {
                (true, b'<') => self.tag.push(b'<'),
                (true, other) => out.push(*other),
                (false, byte) => {
                    self.tag.push(*byte);
                    let ends = *byte == b'>' && !self.is_quoted();
                    if ends || self.tag.len() > LONGEST_TAG {
                        let tag = std::mem::take(&mut self.tag);
                        out.extend(self.rewritten(&tag));
                    }
                }
            }
        }
        out.into()
    }

    fn attributes(tag: &[u8]) -> &'static [&'static str] {
        let name = tag[1..].split(|b| !b.is_ascii_alphanumeric()).next().unwrap_or_default();
        let known = ATTRIBUTES.iter().find(|(element, _)| element.as_bytes().eq_ignore_ascii_case(name));
        known.map(|(_, attributes)| *attributes).unwrap_or_default()
    }

    /// Whether the tag so far ends inside a quoted value; what holds no link is not looked at, for it may be no tag.
    fn is_quoted(&self) -> bool {
        let mut quote = None;
        if !Self::attributes(&self.tag).is_empty() {
            for byte in &self.tag {
                match quote {
                    None if matches!(byte, b'"' | b'\'') => quote = Some(*byte),
                    Some(open) if open == *byte => quote = None,
                    _ => {}
                }
            }
        }
        quote.is_some()
    }

    fn rewritten(&self, tag: &[u8]) -> Vec<u8> {
        let attributes = Self::attributes(tag);
        let mut out = Vec::with_capacity(tag.len() + self.base.len());
        let mut rest = tag;
        while !attributes.is_empty() {
            // NAME = VALUE, with the value's quote if it has one.
            let Some(equals) = rest.iter().position(|b| *b == b'=') else { break };
            let (before, after) = rest.split_at(equals + 1);
            let name = before[..equals].trim_ascii_end().rsplit(|b| b.is_ascii_whitespace()).next().unwrap_or_default();
            let spaces = after.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let quote = after.get(spaces).copied().filter(|b| matches!(b, b'"' | b'\''));
            let start = spaces + usize::from(quote.is_some());
            let value = &after[start.min(after.len())..];
            let ends = |b: &u8| match quote {
                Some(quote) => *b == quote,
                None => b.is_ascii_whitespace() || *b == b'>',
            };
            let value = &value[..value.iter().position(ends).unwrap_or(value.len())];
            out.extend_from_slice(before);
            out.extend_from_slice(&after[..start]);
            let is_link = attributes.iter().any(|a| a.as_bytes().eq_ignore_ascii_case(name));
            if is_link && self.misses(value) {
                out.extend_from_slice(self.base.as_bytes());
            }
            out.extend_from_slice(value);
            rest = &after[start + value.len()..];
        }
        out.extend_from_slice(rest);
        out
    }

    /// A path from the root that is not behind `base` already. `//host/` is another host.
    fn misses(&self, value: &[u8]) -> bool {
        value.starts_with(b"/") && !value.starts_with(b"//") && !value.starts_with(self.base.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(pieces: &[&str]) -> String {
        let mut links = Links { base: "/api/p/proxy".into(), tag: Vec::new() };
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| links.feed(piece.as_bytes())).collect();
        out.extend(links.tag);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_from_the_root_lead_through_the_proxy() {
        assert_eq!(through(&["<a href=\"/x\">test</a>"]), "<a href=\"/api/p/proxy/x\">test</a>");
        assert_eq!(through(&["<IMG alt=\"a>b\" SRC='/x'>"]), "<IMG alt=\"a>b\" SRC='/api/p/proxy/x'>");
        assert_eq!(through(&["<script src=/x async>a<b</script>"]), "<script src=/api/p/proxy/x async>a<b</script>");
        // In whatever pieces they come.
        assert_eq!(through(&["1<", "a hr", "ef = \"", "/x\"", ">2"]), "1<a href = \"/api/p/proxy/x\">2");
    }

    #[test]
    fn everything_else_stays() {
        for text in [
            "<a href=\"x\">",
            "<a href=\"//h/x\">",
            "<a href=\"http://h/x\">",
            "<a href=\"/api/p/proxy/x\">",
            "<p href=\"/x\">",
            "<a title=\"/x\">",
            "a < b",
            "<a href",
            "<!-- \" -->",
            "<a href=>",
        ] {
            assert_eq!(through(&[text]), text);
        }
    }
}
