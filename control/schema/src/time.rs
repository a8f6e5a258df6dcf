//! `meta/v1.Time` and `MicroTime`: RFC 3339 in UTC, to the second and to the microsecond.

use jiff::Timestamp;

/// The canonical form of a time if it differs; fractions of a second are dropped, as Go's `Time` drops them when it is written.
pub(crate) fn canonical_seconds(text: &str) -> Result<Option<String>, String> {
    if is_canonical(text, 20) {
        return Ok(None);
    }
    let time = parse(text, "2006-01-02T15:04:05Z07:00")?;
    Ok(Some(seconds(time)))
}

/// The canonical form of a time with six digits of fraction, if it differs.
pub(crate) fn canonical_micros(text: &str) -> Result<Option<String>, String> {
    if is_canonical(text, 27) {
        return Ok(None);
    }
    let time = parse(text, "2006-01-02T15:04:05.000000Z07:00")?;
    Ok(Some(micros(time)))
}

/// RFC 3339 in whole seconds.
pub(crate) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// RFC 3339 with six digits of fraction.
pub(crate) fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn parse(text: &str, layout: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""))
}

/// Whether the text already has the form that is written: right length, UTC, valid.
fn is_canonical(text: &str, length: usize) -> bool {
    text.len() == length
        && text.ends_with('Z')
        && text.as_bytes().get(10) == Some(&b'T')
        && text.parse::<Timestamp>().is_ok()
}
