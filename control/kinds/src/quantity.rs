//! `resource.Quantity`: a fixed-point number with the suffix family it was written in. Parsing, the canonical form, comparison and
//! arithmetic follow `k8s.io/apimachinery/pkg/api/resource`. Values are held in units of 10^-9 (Kubernetes' smallest), in an i128.
use std::cmp::Ordering;
use thiserror::Error;

const NANO: i128 = 1_000_000_000;
/// Binary quantities are capped at 2^63-1, as Kubernetes caps them.
const MAX_BINARY: i128 = i64::MAX as i128 * NANO;

/// The family of suffixes that a quantity prints with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `m`, `k`, `M`, ...
    DecimalSI,
    /// `Ki`, `Mi`, ...
    BinarySI,
    /// `e3`, `E6`.
    DecimalExponent,
}

/// Why a string is no quantity; the texts are Kubernetes'.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum QuantityError {
    /// The shape is wrong.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The digits are wrong or too many.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// No such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// A quantity such as `100m`, `1.5Gi` or `2e3`.
#[derive(Clone, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
    /// What was parsed, when Kubernetes would repeat it instead of computing the canonical form.
    written: Option<Box<str>>,
}

impl Quantity {
    /// Zero in that family.
    pub const fn zero(format: Format) -> Self {
        Self { nanos: 0, format, written: None }
    }

    /// An integer.
    pub fn new(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANO, format, written: None }
    }

    /// Thousandths.
    pub fn milli(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * (NANO / 1000), format, written: None }
    }

    /// Reads a JSON value as Kubernetes does: a string or a bare number.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, QuantityError> {
        match value {
            serde_json::Value::String(s) => s.trim().parse(),
            serde_json::Value::Number(n) => n.to_string().parse(),
            serde_json::Value::Null => Ok(Self::zero(Format::DecimalSI)),
            _ => Err(QuantityError::Format),
        }
    }

    /// The integer value, rounded up (away from zero).
    pub fn value(&self) -> i64 {
        self.scaled(NANO)
    }

    /// The value in thousandths, rounded up (away from zero).
    pub fn milli_value(&self) -> i64 {
        self.scaled(NANO / 1000)
    }

    fn scaled(&self, unit: i128) -> i64 {
        let rounded = round_up(self.nanos, unit) / unit;
        rounded.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// Rounds up to thousandths, as defaulting does for every resource list.
    pub fn round_up_to_milli(&mut self) {
        let rounded = round_up(self.nanos, NANO / 1000);
        if rounded != self.nanos {
            self.nanos = rounded;
            self.written = None;
        }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether it has no fraction.
    pub fn is_integer(&self) -> bool {
        self.nanos % NANO == 0
    }

    /// The sum; a zero takes the other's family.
    pub fn add(&mut self, other: &Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_add(other.nanos);
        self.written = None;
    }

    /// The difference; a zero takes the other's family.
    pub fn sub(&mut self, other: &Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_sub(other.nanos);
        self.written = None;
    }
}

fn round_up(nanos: i128, unit: i128) -> i128 {
    match nanos % unit {
        0 => nanos,
        rest if rest > 0 => nanos - rest + unit,
        rest => nanos - rest - unit,
    }
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

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(written) = &self.written {
            return f.write_str(written);
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let kibi = 1024 * NANO;
        if self.format == Format::BinarySI && self.nanos.abs() >= kibi && self.nanos % NANO == 0 {
            let (mut number, mut power) = (self.nanos / NANO, 0);
            while number % 1024 == 0 && power < 6 {
                number /= 1024;
                power += 1;
            }
            return write!(f, "{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let (mut number, mut exponent) = (self.nanos, -9);
        while number % 1000 == 0 && exponent < 18 {
            number /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 { write!(f, "{number}") } else { write!(f, "{number}e{exponent}") };
        }
        const SI: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        write!(f, "{number}{}", SI[((exponent + 9) / 3) as usize])
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let negative = text.starts_with('-');
        let split = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(split);
        if text.is_empty() || (number.is_empty() && !suffix.is_empty()) || !suffix_is_shaped(suffix) {
            return Err(QuantityError::Format);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') {
            return Err(QuantityError::Format);
        }
        let whole = whole.trim_start_matches('0');
        let (base, exponent, mut format) = interpret(suffix).ok_or(QuantityError::Suffix)?;
        let digits = format!("{whole}{fraction}");
        let mantissa: i128 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| QuantityError::Numeric)? };

        let mut nanos = scale(mantissa, base, exponent, fraction.len()).ok_or(QuantityError::Numeric)?;
        if format == Format::BinarySI {
            nanos = nanos.min(MAX_BINARY);
            if nanos > 0 && nanos < NANO {
                format = Format::DecimalSI;
            }
        }
        let written = is_written_canonically(whole, fraction, exponent, format, mantissa).then(|| text.into());
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format, written })
    }
}

/// `[eEinumkKMGTP]*[-+]?[0-9]*`
fn suffix_is_shaped(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    rest.strip_prefix(['+', '-']).unwrap_or(rest).bytes().all(|c| c.is_ascii_digit())
}

/// The base, exponent and family that a suffix stands for.
fn interpret(suffix: &str) -> Option<(u32, i32, Format)> {
    let decimal = |exponent| Some((10, exponent, Format::DecimalSI));
    let binary = |exponent| Some((2, exponent, Format::BinarySI));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            Some((10, exponent, Format::DecimalExponent))
        }
    }
}

/// `mantissa * base^exponent / 10^places`, in nanos, rounded up. `None` when it does not fit.
fn scale(mantissa: i128, base: u32, exponent: i32, places: usize) -> Option<i128> {
    if mantissa == 0 {
        return Some(0);
    }
    let (mantissa, decimal) = match base {
        2 => (mantissa.checked_mul(1 << exponent)?, 9 - i32::try_from(places).ok()?),
        _ => (mantissa, exponent.checked_add(9)?.checked_sub(i32::try_from(places).ok()?)?),
    };
    match u32::try_from(decimal) {
        Ok(up) => mantissa.checked_mul(10i128.checked_pow(up)?),
        Err(_) => match 10i128.checked_pow(decimal.unsigned_abs()) {
            Some(unit) => Some(round_up(mantissa, unit) / unit),
            None => Some(1),
        },
    }
}

/// Kubernetes keeps the string that was parsed when a quick look says that it is canonical; the look is not exact (`1.500` is kept).
fn is_written_canonically(whole: &str, fraction: &str, exponent: i32, format: Format, mantissa: i128) -> bool {
    let precision = 18 - whole.len() as i32 - fraction.len() as i32;
    match format {
        Format::BinarySI => {
            fraction.is_empty()
                && 15 - whole.len() as i32 - exponent * 3 / 10 > 0
                && exponent % 10 == 0
                && mantissa & 7 != 0
        }
        _ => {
            let scale = exponent - fraction.len() as i32;
            precision >= 0
                && scale >= -9
                && scale % 3 == 0
                && !whole.is_empty()
                && !format!("{whole}{fraction}").ends_with("000")
        }
    }
}

#[cfg(test)]
mod tests;
