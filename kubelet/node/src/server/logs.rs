//! The CRI log format, and which of its lines a request wants. Pure.
//!
//! A line is `<RFC 3339 time> <stdout|stderr> <P|F> <text>`; `P` marks a part of a longer line.

use jiff::{SignedDuration, Timestamp};

use super::query::Query;

/// `PodLogOptions`, as the API server passes them on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    pub since: Option<Timestamp>,
    pub limit_bytes: Option<u64>,
    /// Only what was written to this one; both when nothing is said.
    pub stream: Option<Stream>,
}

/// Where a container writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl LogOptions {
    /// Reads a query string. What is unknown is left to newer kubelets.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for (key, value) in Query::parse(query).pairs() {
            let number = || value.parse::<u64>().map_err(|_| format!("Invalid value: {value:?} for {key}"));
            let flag = || value.is_empty() || value == "1" || value.eq_ignore_ascii_case("true");
            match key {
                "follow" => options.follow = flag(),
                "previous" => options.previous = flag(),
                "timestamps" => options.timestamps = flag(),
                "tailLines" => options.tail_lines = Some(number()?),
                "limitBytes" => options.limit_bytes = Some(number()?),
                "sinceSeconds" => {
                    let seconds = i64::try_from(number()?).unwrap_or(i64::MAX);
                    options.since = Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok();
                }
                "sinceTime" => {
                    // A plus sign that nobody encoded has become a space.
                    let time = value.replace(' ', "+");
                    options.since = Some(time.parse().map_err(|_| format!("Invalid value: {value:?} for {key}"))?);
                }
                "stream" => {
                    options.stream = match value {
                        "" | "All" => None,
                        "Stdout" => Some(Stream::Stdout),
                        "Stderr" => Some(Stream::Stderr),
                        _ => return Err(format!("Invalid value: {value:?} for {key}")),
                    };
                }
                _ => {}
            }
        }
        if options.tail_lines.is_some() && options.stream.is_some() {
            return Err("`tailLines` and specific `stream` are mutually exclusive for now".to_owned());
        }
        Ok(options)
    }

    /// What the reader gets of one line of the file; nothing when it is older than wanted. A line in another format is passed on
    /// as it is, so that nothing a container said is lost.
    pub fn render(&self, line: &[u8]) -> Option<Vec<u8>> {
        let Some(parsed) = parse(line) else { return Some(line.to_vec()) };
        if self.since.is_some_and(|since| parsed.time.parse::<Timestamp>().is_ok_and(|time| time < since)) {
            return None;
        }
        if self.stream.is_some_and(|stream| stream != parsed.stream) {
            return None;
        }
        let mut text = Vec::with_capacity(line.len());
        if self.timestamps {
            text.extend_from_slice(parsed.time.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(parsed.text);
        if !parsed.partial {
            text.push(b'\n');
        }
        Some(text)
    }
}

struct Line<'a> {
    time: &'a str,
    stream: Stream,
    partial: bool,
    text: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |&byte| byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let tags = parts.next()?;
    if !matches!(tags.first(), Some(b'P' | b'F')) {
        return None;
    }
    Some(Line { time, stream, partial: tags.first() == Some(&b'P'), text: parts.next().unwrap_or_default() })
}

/// Where the last `lines` lines of `bytes` begin.
pub fn tail_start(bytes: &[u8], lines: u64) -> usize {
    if lines == 0 {
        return bytes.len();
    }
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let ends = body.iter().enumerate().rev().filter(|&(_, &byte)| byte == b'\n');
    usize::try_from(lines - 1).ok().and_then(|n| ends.map(|(at, _)| at + 1).nth(n)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"2026-11-21T12:00:00.5Z stdout F hello world\n";

    #[test]
    fn a_line_is_stripped_of_its_frame_and_keeps_its_time_on_request() {
        assert_eq!(LogOptions::default().render(LINE).unwrap(), b"hello world\n");
        let timed = LogOptions::parse("timestamps=true").unwrap();
        assert_eq!(timed.render(LINE).unwrap(), b"2026-11-21T12:00:00.5Z hello world\n");
    }

    #[test]
    fn parts_of_a_long_line_are_joined_and_empty_lines_are_kept() {
        let part = b"2026-11-21T12:00:00.5Z stdout P hel\n";
        assert_eq!(LogOptions::default().render(part).unwrap(), b"hel");
        assert_eq!(LogOptions::default().render(b"2026-11-21T12:00:00.5Z stderr F \n").unwrap(), b"\n");
        assert_eq!(LogOptions::default().render(b"garbage\n").unwrap(), b"garbage\n");
    }

    #[test]
    fn older_lines_are_left_out() {
        let since = |time: &str| LogOptions::parse(&format!("sinceTime={time}")).unwrap().render(LINE);
        assert!(since("2026-11-21T12%3A00%3A01Z").is_none());
        assert!(since("2026-11-21T12:00:00Z").is_some());
        assert!(LogOptions::parse("sinceTime=yesterday").is_err());
    }

    #[test]
    fn one_stream_can_be_asked_for() {
        let of = |stream: &str| LogOptions::parse(&format!("stream={stream}")).unwrap().render(LINE);
        assert!(of("Stdout").is_some() && of("All").is_some() && of("Stderr").is_none());
        assert!(LogOptions::parse("stream=Stdin").is_err());
        assert!(
            LogOptions::parse("stream=Stdout&tailLines=1").is_err(),
            "the tail is counted before streams are told apart"
        );
    }

    #[test]
    fn the_tail_begins_after_the_right_newline() {
        for (lines, expected) in [(0, ""), (1, "c\n"), (2, "b\nc\n"), (3, "a\nb\nc\n"), (9, "a\nb\nc\n")] {
            let bytes = b"a\nb\nc\n";
            assert_eq!(&bytes[tail_start(bytes, lines)..], expected.as_bytes(), "{lines}");
        }
    }
}
