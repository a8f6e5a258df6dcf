//! A Job's success policy: which indexes, or how many, must have succeeded.
use crate::field::{Errors, Path};
use crate::meta::non_negative;
use crate::value::{go_quote, int, items};
use serde_json::Value;

pub(super) fn validate(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (rules, completions) = (items(&spec["successPolicy"]["rules"]), int(&spec["completions"]));
    if rules.is_empty() {
        errors.required(path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > 20 {
        errors.too_many(path, rules.len(), 20);
    }
    for (index, rule) in rules.iter().enumerate() {
        let (path, indexes, count) = (path.index(index), rule["succeededIndexes"].as_str(), &rule["succeededCount"]);
        if indexes.is_none() && count.is_null() {
            errors.required(&path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut total = 0;
        if let Some(indexes) = indexes {
            let path = path.child("succeededIndexes");
            if indexes.len() > 64 * 1024 {
                errors.too_long(&path, 64 * 1024);
            }
            match count_indexes(indexes, completions) {
                Ok(counted) => total = counted,
                Err(why) => errors.invalid(&path, indexes, format!("error parsing succeededIndexes: {why}")),
            }
        }
        if !count.is_null() {
            let (path, count) = (path.child("succeededCount"), int(count));
            non_negative(&count.into(), &path, errors);
            let mut at_most = |limit: i64, of: &str| {
                if count > limit {
                    errors.invalid(&path, count, format!("must be less than or equal to {limit} (the number of {of})"));
                }
            };
            at_most(completions, "specified completions");
            if indexes.is_some() {
                at_most(total, "indexes in the specified succeededIndexes field");
            }
        }
    }
}

/// How many indexes `1,3-5,7` names, all below `completions`.
fn count_indexes(indexes: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total) = (None, 0);
    if indexes.is_empty() {
        return Ok(0);
    }
    for interval in indexes.split(',') {
        let (first, end) = interval_of(interval, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn interval_of(interval: &str, completions: i64) -> Result<(i64, i64), String> {
    let limits: Vec<&str> = interval.split('-').collect();
    if limits.len() > 2 {
        let shown = go_quote(interval);
        return Err(format!(
            "the fragment {shown} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let number = |limit: &str| match limit.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {}", go_quote(limit))),
        Ok(index) if index >= completions => Err(format!("too large index: {}", go_quote(limit))),
        Ok(index) => Ok(index),
    };
    let first = number(limits[0])?;
    let end = limits.get(1).map_or(Ok(first), |limit| number(limit))?;
    if limits.len() == 2 && first >= end {
        return Err(format!("non-increasing order, previous: {first}, current: {end}"));
    }
    Ok((first, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Cases of Kubernetes' `TestValidateIndexesString`.
    #[test]
    fn indexes_grow_and_stay_below_the_completions() {
        for (indexes, counted) in [("", 0), ("0", 1), ("1,3-5,7", 5)] {
            assert_eq!(count_indexes(indexes, 8), Ok(counted), "{indexes}");
        }
        for (indexes, why) in [
            ("1,3,2", "non-increasing order, previous: 3, current: 2"),
            ("3-2", "non-increasing order, previous: 3, current: 2"),
            ("8", "too large index: \"8\""),
            ("a", "cannot convert string to integer for index: \"a\""),
            (
                "1-2-3",
                "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
            ),
        ] {
            assert_eq!(count_indexes(indexes, 8), Err(why.to_owned()), "{indexes}");
        }
    }

    #[test]
    fn a_rule_asks_for_no_more_than_there_is() {
        let mut errors = Errors::default();
        let spec = json!({"completions": 5, "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 6}, {}]}});
        validate(&spec, &Path::new("rules"), &mut errors);
        assert_eq!(
            errors.message(),
            "[rules[0].succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions), \
             rules[0].succeededCount: Invalid value: 6: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field), \
             rules[1]: Required value: at least one of succeededCount or succeededIndexes must be specified]"
        );
    }
}
