//! A duration as Go writes and reads it: `24h0m0s`, `1.5s`, `300ms`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `metav1.Duration`, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub i64);

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl GoDuration {
    /// Whole seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// The same for Rust; a negative one is none.
    pub fn duration(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }

    /// The same, if it is more than nothing.
    pub fn positive(self) -> Option<Duration> {
        self.duration().filter(|period| !period.is_zero())
    }

    /// Reads what Go's `time.ParseDuration` reads.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Some(Self(0));
        }
        let mut total = 0i64;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, after) = rest.split_at(digits);
            let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            let (_, unit) = UNITS.iter().find(|(unit, _)| *unit == name)?;
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if whole.is_empty() && fraction.is_empty() {
                return None;
            }
            let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
            total = total.checked_add(whole.checked_mul(*unit)?)?;
            let mut scale = *unit;
            for digit in fraction.bytes() {
                scale /= 10;
                total =
                    total.checked_add(scale.checked_mul(i64::from(digit.checked_sub(b'0').filter(|d| *d < 10)?))?)?;
            }
            rest = after;
        }
        Some(Self(if negative { -total } else { total }))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let total = self.0.unsigned_abs();
        let fraction = |value: u64, unit: u64, digits: usize| {
            let text = format!("{}.{:0digits$}", value / unit, value % unit);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        match total {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{total}ns"),
            1_000..1_000_000 => write!(f, "{}µs", fraction(total, 1_000, 3)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", fraction(total, 1_000_000, 6)),
            _ => {
                let (minutes, rest) = (total / 60_000_000_000, total % 60_000_000_000);
                let (hours, minutes) = (minutes / 60, minutes % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{}s", fraction(rest, 1_000_000_000, 9))
            }
        }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("time: invalid duration {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::GoDuration;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, nanoseconds, written) in [
            ("24h", 86_400_000_000_000, "24h0m0s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("300ms", 300_000_000, "300ms"),
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("-1m", -60_000_000_000, "-1m0s"),
            ("2.5us", 2_500, "2.5µs"),
            ("7ns", 7, "7ns"),
        ] {
            let parsed = GoDuration::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((parsed.0, parsed.to_string().as_str()), (nanoseconds, written), "{text}");
        }
        for text in ["", "1", "s", ".s", "1 s", "1x", "--1s", "1s-", "9999999999h"] {
            assert_eq!(GoDuration::parse(text), None, "{text}");
        }
    }
}
