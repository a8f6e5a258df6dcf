//! What a reader of YAML 1.1 takes for something else than a string if it is not quoted.

/// Whether it is a string to such a reader.
pub fn is_text(text: &str) -> bool {
    match text.as_bytes().first() {
        None => false,
        Some(b'.') => !(is_word(text) || has_separators_right(text) && is_float(&without_separators(text))),
        Some(b'+' | b'-' | b'0'..=b'9') => {
            let digits = without_separators(text);
            !(is_word(text) || is_time(text) || is_float(&digits) || is_other_base(&digits) || is_base_60(text))
        }
        Some(_) => !is_word(text),
    }
}

/// Truths, nothing, numbers that are none, and what merges one mapping into another (which the original does not quote).
fn is_word(text: &str) -> bool {
    let text =
        text.strip_prefix(['+', '-']).filter(|text| text.starts_with(".i") || text.starts_with(".I")).unwrap_or(text);
    matches!(
        text,
        "~" | "null"
            | "Null"
            | "NULL"
            | "y"
            | "Y"
            | "yes"
            | "Yes"
            | "YES"
            | "true"
            | "True"
            | "TRUE"
            | "on"
            | "On"
            | "ON"
            | "n"
            | "N"
            | "no"
            | "No"
            | "NO"
            | "false"
            | "False"
            | "FALSE"
            | "off"
            | "Off"
            | "OFF"
            | ".nan"
            | ".NaN"
            | ".NAN"
            | ".inf"
            | ".Inf"
            | ".INF"
            | "<<"
    )
}

fn without_separators(text: &str) -> String {
    text.replace('_', "")
}

/// Whether each underscore is between digits.
fn has_separators_right(text: &str) -> bool {
    let digit = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
    text.bytes().enumerate().all(|(at, byte)| byte != b'_' || digit(at.checked_sub(1)) && digit(at.checked_add(1)))
}

/// Takes the digits that a text begins with.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// A decimal number that is not beyond all bounds.
fn is_float(text: &str) -> bool {
    let (whole, rest) = digits(text.strip_prefix(['+', '-']).unwrap_or(text));
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    let exponent = rest.strip_prefix(['e', 'E']).map(|rest| digits(rest.strip_prefix(['+', '-']).unwrap_or(rest)));
    let complete = rest.is_empty() || exponent.is_some_and(|(exponent, rest)| !exponent.is_empty() && rest.is_empty());
    let one = !whole.is_empty() || !fraction.is_empty();
    one && complete && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// An integer in base 2, 8 or 16 that fits into 64 bits.
fn is_other_base(text: &str) -> bool {
    // A sign is taken even behind the prefix.
    if let Some(binary) = text.strip_prefix("0b")
        && i64::from_str_radix(binary, 2).is_ok()
    {
        return true;
    }
    let (sign, rest) = match text.as_bytes().first() {
        Some(sign @ (b'+' | b'-')) => (Some(*sign), &text[1..]),
        _ => (None, text),
    };
    let base = match rest.get(..2) {
        Some("0b" | "0B") => 2,
        Some("0o" | "0O") => 8,
        Some("0x" | "0X") => 16,
        _ => return false,
    };
    let most = match sign {
        None => u64::MAX,
        Some(b'-') => 1 << 63,
        Some(_) => (1 << 63) - 1,
    };
    !rest[2..].starts_with(['+', '-']) && u64::from_str_radix(&rest[2..], base).is_ok_and(|number| number <= most)
}

/// Digits in groups of sixty, like `1:30:00`.
fn is_base_60(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (groups, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut groups = groups.split(':');
    let first = groups.next().unwrap_or_default();
    let digits_only = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let mut more = 0;
    let right = groups.all(|group| {
        more += 1;
        matches!(group.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
    });
    right && more > 0 && first.starts_with(|c: char| c.is_ascii_digit()) && digits_only(first) && digits_only(fraction)
}

/// A date, or a date and a time.
fn is_time(text: &str) -> bool {
    date_and_time(text).is_some()
}

fn date_and_time(text: &str) -> Option<()> {
    let (year, rest) = digits(text);
    let year = year.parse::<i16>().ok().filter(|_| year.len() == 4)?;
    let (month, rest) = part(rest.strip_prefix('-')?, 12)?;
    let (day, rest) = part(rest.strip_prefix('-')?, 31)?;
    jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    if rest.is_empty() {
        return Some(());
    }
    let (time, with_zone) = match rest.strip_prefix(['T', 't']) {
        Some(time) => (time, true),
        None => (rest.strip_prefix(' ')?.trim_start_matches(' '), false),
    };
    let (_, rest) = part(time, 23)?;
    let (_, rest) = part(rest.strip_prefix(':')?, 59)?;
    let (_, rest) = part(rest.strip_prefix(':')?, 59)?;
    let rest = match rest.strip_prefix(['.', ',']).map(digits) {
        Some((fraction, rest)) if !fraction.is_empty() => rest,
        _ => rest,
    };
    if !with_zone {
        return rest.is_empty().then_some(());
    }
    if rest == "Z" {
        return Some(());
    }
    let (hours, minutes) = rest.strip_prefix(['+', '-'])?.split_once(':')?;
    let two = |text: &str, most: u8| text.len() == 2 && part(text, most).is_some_and(|(_, rest)| rest.is_empty());
    (two(hours, 24) && two(minutes, 60)).then_some(())
}

/// One or two digits, at most so many.
fn part(text: &str, most: u8) -> Option<(u8, &str)> {
    let length = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(length);
    Some((number.parse().ok().filter(|number| *number <= most)?, rest))
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn what_would_be_read_otherwise() {
        for text in [
            "",
            "~",
            "null",
            "NULL",
            "y",
            "N",
            "yes",
            "No",
            "true",
            "FALSE",
            "on",
            "Off",
            ".nan",
            "+.inf",
            "-.INF",
            "<<",
            "0",
            "-1",
            "+12",
            "1.",
            "1.5",
            ".5",
            "-.5",
            "1e3",
            "1E-3",
            "1_000",
            "1_",
            ".1_0",
            "007",
            "08",
            "0x1F",
            "-0X1f",
            "0o17",
            "0b101",
            "0b-1",
            "0xffffffffffffffff",
            "-0x8000000000000000",
            "1:30",
            "+1:30:59.9",
            "190:20:30.15",
            "2001-12-14",
            "2001-1-2",
            "2001-12-14t21:59:43.10-05:00",
            "2026-11-22T08:00:00Z",
            "2001-12-14 21:59:43",
            "2001-12-14   1:2:3,5",
            "2024-02-29",
        ] {
            assert!(!is_text(text), "{text}");
        }
    }

    #[test]
    fn what_is_a_string() {
        for text in [
            "nULL",
            "Y es",
            "tRUE",
            "oN",
            ".",
            "..",
            "-",
            "+",
            "--1",
            "1..2",
            "1e",
            "e1",
            "_1",
            ".1_",
            "._1",
            "1e400",
            ".5e999",
            "0x",
            "0xg",
            "0b2",
            "0b",
            "0o8",
            "0x10000000000000000",
            "-0x8000000000000001",
            "+0x8000000000000000",
            "1:60",
            "1:",
            ":1",
            "1:2:345",
            "a:1",
            "2001-13-01",
            "2001-02-30",
            "2023-02-29",
            "201-12-14",
            "2001-12-14T25:00:00Z",
            "2001-12-14T1:00:00",
            "2001-12-14 1:00:00Z",
            "2001-12-",
            "2001-12-14T21:59:43+5:00",
            "10.0.0.1",
            "1.2.3",
            "v1",
            "100m",
            "-.nan",
            "+.nan",
            "+.Nan",
        ] {
            assert!(is_text(text), "{text}");
        }
    }
}
