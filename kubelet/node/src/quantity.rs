//! Kubernetes quantities (`100m`, `1.5`, `2Gi`, `1e3`) as integers. Pure; rounds up as Kubernetes does.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANO: i128 = 1_000_000_000;

/// The value in thousandths, as processors are counted. `None` when it is no quantity.
pub fn milli(quantity: &Quantity) -> Option<i64> {
    divide_up(nano(&quantity.0)?, NANO / 1000)
}

/// The value in whole units, as bytes are counted. `None` when it is no quantity.
pub fn whole(quantity: &Quantity) -> Option<i64> {
    divide_up(nano(&quantity.0)?, NANO)
}

fn divide_up(value: i128, by: i128) -> Option<i64> {
    let rounded = if value >= 0 { (value + by - 1) / by } else { value / by };
    i64::try_from(rounded).ok()
}

fn nano(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let negative = number.starts_with('-');
    let digits = number.trim_start_matches(['+', '-']);
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if integer.is_empty() && fraction.is_empty() {
        return None;
    }
    // (numerator, denominator) of the suffix
    let (up, down): (i128, i128) = match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANO, 1),
        "T" => (1000 * NANO, 1),
        "P" => (1_000_000 * NANO, 1),
        "E" => (NANO * NANO, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_i128.checked_pow(power.unsigned_abs())?;
            if power >= 0 { (factor, 1) } else { (1, factor) }
        }
    };
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let parse = |part: &str| if part.is_empty() { Some(0) } else { part.parse::<i128>().ok() };
    let mantissa = parse(integer)?.checked_mul(scale)?.checked_add(parse(fraction)?)?;
    let numerator = mantissa.checked_mul(up)?.checked_mul(NANO)?;
    let denominator = scale.checked_mul(down)?;
    let value = (numerator + denominator - 1) / denominator;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        Quantity(text.to_owned())
    }

    #[test]
    fn processors_are_counted_in_thousandths_rounded_up() {
        for (text, expected) in
            [("100m", 100), ("1", 1000), ("1.5", 1500), ("0.0001", 1), ("2e3", 2_000_000), ("1n", 1)]
        {
            assert_eq!(milli(&quantity(text)), Some(expected), "{text}");
        }
    }

    #[test]
    fn memory_is_counted_in_bytes() {
        for (text, expected) in
            [("64Mi", 64 << 20), ("1G", 1_000_000_000), ("1.5Ki", 1536), ("128974848000m", 128_974_848)]
        {
            assert_eq!(whole(&quantity(text)), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_has_no_value() {
        for text in ["", "Mi", "1Zi", "a"] {
            assert_eq!(whole(&quantity(text)), None, "{text}");
        }
    }
}
