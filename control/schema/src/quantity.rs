//! `resource.Quantity`: a decimal fixed-point number with a suffix, `100m`, `1.5Gi`, `2e3`, read and written as Kubernetes does.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Kubernetes' own text for what is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form number and suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// The number is malformed.
    #[error("unable to parse numeric part of quantity")]
    Number,
}

/// How a quantity was written, which decides how it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `k`, `M`, `m`.
    DecimalSi,
    /// `Ki`, `Mi`.
    BinarySi,
    /// `e3`, `E6`.
    DecimalExponent,
}

/// A quantity in units of 10^-9, the finest that Kubernetes keeps. Finer fractions round up, larger numbers saturate.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

const NANO: i128 = 1_000_000_000;
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
/// Kubernetes caps at 2^63-1 whole units.
const MAX: i128 = i64::MAX as i128 * NANO;

impl Quantity {
    /// A quantity from its value in units of 10^-9.
    pub fn from_nanos(nanos: i128, format: Format) -> Self {
        Self { nanos: nanos.clamp(-MAX, MAX), format }
    }

    /// Whole units.
    pub fn from_units(units: i64, format: Format) -> Self {
        Self::from_nanos(i128::from(units) * NANO, format)
    }

    /// Thousandths, as CPU is counted.
    pub fn from_millis(millis: i64) -> Self {
        Self::from_nanos(i128::from(millis) * 1_000_000, Format::DecimalSi)
    }

    /// The value in units of 10^-9.
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// Whole units, rounded up (away from zero) as Go's `Value()` does.
    pub fn units(self) -> i64 {
        round_up(self.nanos, NANO) as i64
    }

    /// Thousandths, rounded up, as Go's `MilliValue()` does; saturates.
    pub fn millis(self) -> i64 {
        round_up(self.nanos, 1_000_000).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// How it was written.
    pub fn format(self) -> Format {
        self.format
    }

    /// The sum, written as the left side is (the right side if the left is zero), saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self::from_nanos(self.nanos + other.nanos, format)
    }

    /// The difference, written as the left side is (the right side if the left is zero), saturating.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self::from_nanos(self.nanos - other.nanos, format)
    }
}

fn round_up(value: i128, unit: i128) -> i128 {
    let whole = value / unit;
    if value % unit == 0 { whole } else { whole + value.signum() }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
            None => return Err(QuantityError::Format),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError::Format);
        }
        let (base, exponent, format) = scale(suffix)?;
        let mut digits: i128 = 0;
        let mut saturated = false;
        let mut places = 0;
        let mut inexact = false;
        for digit in whole.bytes().chain(fraction.bytes().take(21)) {
            match digits.checked_mul(10).and_then(|d| d.checked_add(i128::from(digit - b'0'))) {
                Some(d) if d < i128::MAX / 100 => digits = d,
                _ => saturated = true,
            }
        }
        places += fraction.len().min(21) as i32;
        inexact |= fraction.bytes().skip(21).any(|d| d != b'0');
        let magnitude = if saturated { MAX } else { scaled(digits, places, base, exponent, inexact) };
        let nanos = if negative { -magnitude } else { magnitude };
        Ok(Self::from_nanos(nanos, format))
    }
}

/// `digits * 10^-places * base^exponent` in nanos, rounded up, saturated.
fn scaled(digits: i128, places: i32, base: i32, exponent: i32, inexact: bool) -> i128 {
    if digits == 0 {
        return i128::from(inexact);
    }
    let mut value = digits;
    let mut ten = 9 - places;
    if base == 2 {
        // Multiply by the power of two as far as it fits; what does not fit saturates anyway.
        for _ in 0..exponent {
            value = match value.checked_mul(2) {
                Some(v) => v,
                None if ten < 0 => {
                    ten += 1;
                    round_up(value, 10) * 2
                }
                None => return MAX,
            };
        }
    } else {
        ten += exponent;
    }
    while ten > 0 {
        match value.checked_mul(10) {
            Some(v) if v <= MAX => value = v,
            _ => return MAX,
        }
        ten -= 1;
    }
    let mut rest = inexact;
    while ten < 0 && value > 0 {
        rest |= value % 10 != 0;
        value /= 10;
        ten += 1;
    }
    (value + i128::from(rest)).min(MAX)
}

/// Base, exponent and format of a suffix.
fn scale(suffix: &str) -> Result<(i32, i32, Format), QuantityError> {
    if let Some(at) = BINARY.iter().skip(1).position(|s| *s == suffix) {
        return Ok((2, 10 * (at as i32 + 1), Format::BinarySi));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok((10, *exponent, Format::DecimalSi));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or_else(|| format_or_suffix(suffix))?;
    let exponent = exponent.parse::<i32>().map_err(|_| format_or_suffix(suffix))?;
    Ok((10, exponent.clamp(-60, 60), Format::DecimalExponent))
}

/// Kubernetes tells characters that cannot be in a suffix from a suffix that does not exist.
fn format_or_suffix(suffix: &str) -> QuantityError {
    let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let digits = letters.strip_prefix(['-', '+']).unwrap_or(letters);
    if digits.bytes().all(|b| b.is_ascii_digit()) { QuantityError::Suffix } else { QuantityError::Format }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi && self.nanos.abs() >= 1024 * NANO && self.nanos % NANO == 0 {
            let mut units = self.nanos / NANO;
            let mut at = 0;
            while units % 1024 == 0 && at + 1 < BINARY.len() {
                units /= 1024;
                at += 1;
            }
            return write!(f, "{units}{}", BINARY[at]);
        }
        let mut value = self.nanos;
        let mut exponent = -9;
        while value % 1000 == 0 && exponent < 18 {
            value /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 { write!(f, "{value}") } else { write!(f, "{value}e{exponent}") };
        }
        let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(s, _)| s);
        write!(f, "{value}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Quantity>().map_or_else(|e| e.to_string(), |q| q.to_string())
    }

    #[test]
    fn writes_the_canonical_form() {
        for (given, expected) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("100m", "100m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("123456789", "123456789"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12000e-3", "12"),
            ("1E", "1E"),
            ("0.0000000001", "1n"),
            ("-5m", "-5m"),
            ("+3", "3"),
            (".5", "500m"),
            ("5.", "5"),
            ("9999999999999999999999", "9223372036854775807"),
        ] {
            assert_eq!(canonical(given), expected, "{given}");
        }
    }

    #[test]
    fn tells_bad_numbers_from_bad_suffixes() {
        assert_eq!("1Kx".parse::<Quantity>(), Err(QuantityError::Format));
        assert_eq!("1iM".parse::<Quantity>(), Err(QuantityError::Suffix));
        assert_eq!("".parse::<Quantity>(), Err(QuantityError::Format));
        assert_eq!("abc".parse::<Quantity>(), Err(QuantityError::Format));
        assert_eq!("1.2.3".parse::<Quantity>(), Err(QuantityError::Format));
    }

    #[test]
    fn rounds_up_and_compares_by_value() {
        let read = |text: &str| text.parse::<Quantity>().expect("a quantity");
        let cpu = read("1.0005");
        assert_eq!((cpu.millis(), cpu.units()), (1001, 2));
        assert_eq!(read("1Gi"), read("1024Mi"));
        assert!(read("1G") < read("1Gi"));
    }
}
