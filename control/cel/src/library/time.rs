//! Durations and timestamps, in Go's form and in UTC unless a time zone is named.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::Answer;
use crate::value::{Evaluated, Value, failed};

/// `1h30m`, as Go's time.ParseDuration.
pub fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 18 || fraction.contains('.') {
            return None;
        }
        nanos += whole.parse::<i128>().unwrap_or(0) * scale;
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            nanos += fraction.parse::<i128>().ok()? * scale / 10_i128.pow(fraction.len() as u32);
        }
        rest = tail;
    }
    let nanos = if negative { -nanos } else { nanos };
    i64::try_from(nanos).ok().map(SignedDuration::from_nanos)
}

/// As the string conversion prints it: seconds with a fraction.
pub fn show_duration(duration: SignedDuration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos().unsigned_abs());
    let sign = if duration.is_negative() { "-" } else { "" };
    if nanos == 0 {
        return format!("{sign}{}s", seconds.unsigned_abs());
    }
    let fraction = format!("{nanos:09}");
    format!("{sign}{}.{}s", seconds.unsigned_abs(), fraction.trim_end_matches('0'))
}

/// RFC 3339, within the years that CEL knows.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || bytes[4] != b'-' || bytes[10] != b'T' || text.contains('[') {
        return None;
    }
    let at: Timestamp = text.parse().ok()?;
    (-62_135_596_800..=253_402_300_799).contains(&at.as_second()).then_some(at)
}

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    if !function.starts_with("get") {
        return None;
    }
    match args {
        [Value::Duration(d)] => {
            let seconds = d.as_secs();
            Some(Ok(Value::Int(match function {
                "getHours" => seconds / 3600,
                "getMinutes" => seconds / 60,
                "getSeconds" => seconds,
                "getMilliseconds" => i64::try_from(d.as_millis()).unwrap_or(i64::MAX),
                _ => return None,
            })))
        }
        [Value::Timestamp(t)] => Some(part(function, &t.to_zoned(TimeZone::UTC))),
        [Value::Timestamp(t), Value::String(zone)] => Some(match time_zone(zone) {
            Ok(zone) => part(function, &t.to_zoned(zone)),
            Err(error) => Err(error),
        }),
        _ => None,
    }
}

fn time_zone(name: &str) -> Evaluated<TimeZone> {
    if name == "UTC" || name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    if let Some((hours, minutes)) = name.split_once(':') {
        let sign = if hours.starts_with('-') { -1 } else { 1 };
        if let (Ok(h), Ok(m)) = (hours.trim_start_matches(['+', '-']).parse::<i32>(), minutes.parse::<i32>())
            && let Ok(offset) = jiff::tz::Offset::from_seconds(sign * (h * 3600 + m * 60))
        {
            return Ok(TimeZone::fixed(offset));
        }
    }
    TimeZone::get(name).or_else(|_| failed(format!("unknown time zone {name}")))
}

fn part<'a>(function: &str, at: &Zoned) -> Evaluated<Value<'a>> {
    Ok(Value::Int(i64::from(match function {
        "getFullYear" => i32::from(at.year()),
        "getMonth" => i32::from(at.month()) - 1,
        "getDayOfYear" => i32::from(at.day_of_year()) - 1,
        "getDayOfMonth" => i32::from(at.day()) - 1,
        "getDate" => i32::from(at.day()),
        "getDayOfWeek" => i32::from(at.weekday().to_sunday_zero_offset()),
        "getHours" => i32::from(at.hour()),
        "getMinutes" => i32::from(at.minute()),
        "getSeconds" => i32::from(at.second()),
        "getMilliseconds" => at.subsec_nanosecond() / 1_000_000,
        _ => return crate::value::no_overload(),
    })))
}
