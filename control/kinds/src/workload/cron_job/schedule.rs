//! The cron format of five fields, or a descriptor such as `@daily` or `@every 1h`, with the error texts of robfig/cron.

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Whether a schedule can be read; `Err` says why not.
pub(super) fn parse(schedule: &str) -> Result<(), String> {
    let mut schedule = schedule;
    if schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=") {
        schedule = schedule.split_once(' ').map_or("", |(_, rest)| rest.trim());
    }
    if schedule.starts_with('@') {
        return descriptor(schedule);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    };
    field(minute, 0, 59, &[])?;
    field(hour, 0, 23, &[])?;
    field(day, 1, 31, &[])?;
    field(month, 1, 12, &MONTHS)?;
    field(weekday, 0, 6, &DAYS)
}

fn descriptor(schedule: &str) -> Result<(), String> {
    match schedule {
        "@yearly" | "@annually" | "@monthly" | "@weekly" | "@daily" | "@midnight" | "@hourly" => return Ok(()),
        _ => {}
    }
    match schedule.strip_prefix("@every ") {
        Some(period) if is_duration(period) => Ok(()),
        Some(period) => Err(format!(
            "failed to parse duration {schedule}: time: invalid duration {}",
            crate::value::go_quote(period)
        )),
        None => Err(format!("unrecognized descriptor: {schedule}")),
    }
}

/// A Go duration: `1h30m`.
fn is_duration(period: &str) -> bool {
    let mut rest = period.strip_prefix(['+', '-']).unwrap_or(period);
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        if unit.len() == rest.len() || !matches!(&unit[..end], "ns" | "us" | "µs" | "ms" | "s" | "m" | "h") {
            return false;
        }
        rest = &unit[end..];
    }
    true
}

fn field(text: &str, min: u32, max: u32, names: &[&str]) -> Result<(), String> {
    text.split(',').filter(|part| !part.is_empty()).try_for_each(|part| range(part, min, max, names))
}

/// `*`, `a`, `a-b`, each with an optional `/step`.
fn range(expression: &str, min: u32, max: u32, names: &[&str]) -> Result<(), String> {
    let parts: Vec<&str> = expression.split('/').collect();
    let bounds: Vec<&str> = parts[0].split('-').collect();
    let (start, mut end) = match bounds.as_slice() {
        ["*" | "?"] => (min, max),
        [one] => {
            let value = number(one, names, min)?;
            (value, value)
        }
        [low, high] => (number(low, names, min)?, number(high, names, min)?),
        _ => return Err(format!("too many hyphens: {expression}")),
    };
    match parts.as_slice() {
        [_] => {}
        [_, step] => {
            let step = step.parse::<u32>().map_err(|_| unreadable(step))?;
            if step == 0 {
                return Err(format!("step of range should be a positive number: {expression}"));
            }
            if bounds.len() == 1 && !matches!(bounds[0], "*" | "?") {
                end = max;
            }
        }
        _ => return Err(format!("too many slashes: {expression}")),
    }
    if start < min {
        return Err(format!("beginning of range ({start}) below minimum ({min}): {expression}"));
    }
    if end > max {
        return Err(format!("end of range ({end}) above maximum ({max}): {expression}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {expression}"));
    }
    Ok(())
}

fn number(text: &str, names: &[&str], first: u32) -> Result<u32, String> {
    if let Some(index) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(index as u32 + first);
    }
    text.parse().map_err(|_| unreadable(text))
}

fn unreadable(text: &str) -> String {
    let quoted = crate::value::go_quote(text);
    format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: invalid syntax")
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn schedules_are_read_as_cron_reads_them() {
        for good in ["* * * * *", "*/5 0-23/2 1,15 jan-mar MON", "@daily", "@every 1h30m", "0 0 ? * 0", "5/10 * * * *"]
        {
            assert_eq!(parse(good), Ok(()), "{good}");
        }
        for (bad, message) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@never", "unrecognized descriptor: @never"),
        ] {
            assert_eq!(parse(bad).unwrap_err(), message);
        }
    }
}
