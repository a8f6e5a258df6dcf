//! Whether answers were spread as random choice spreads them.

use std::collections::BTreeMap;

/// How often each of the answers came.
pub fn counts(answers: &[String]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.clone()).or_default() += 1;
    }
    counts
}

/// What is wrong with `counts` as so many choices among `members` with equal odds: a stranger, or a member more than five standard
/// deviations away from its share (once in two million runs by chance).
pub fn unfair(counts: &BTreeMap<String, u64>, members: impl IntoIterator<Item = String>) -> Option<String> {
    let members: Vec<String> = members.into_iter().collect();
    if let Some(stranger) = counts.keys().find(|name| !members.contains(name)) {
        return Some(format!("{stranger:?} answered and is none of {members:?}: {counts:?}"));
    }
    #[allow(clippy::cast_precision_loss)]
    let (total, share) = (counts.values().sum::<u64>() as f64, 1.0 / members.len() as f64);
    let (mean, deviation) = (total * share, (total * share * (1.0 - share)).sqrt());
    members.iter().find_map(|name| {
        #[allow(clippy::cast_precision_loss)]
        let count = counts.get(name).copied().unwrap_or(0) as f64;
        let far = (count - mean).abs() > 5.0 * deviation;
        far.then(|| format!("{name} answered {count} of {total} times, expected {mean:.0} ± {:.0}", 5.0 * deviation))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(a: u64, b: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)])
    }

    #[test]
    fn chance_is_let_pass_and_bias_is_not() {
        let members = || ["a".to_owned(), "b".to_owned()];
        assert_eq!(unfair(&spread(330, 270), members()), None);
        assert!(unfair(&spread(370, 230), members()).is_some());
        assert!(unfair(&spread(600, 0), members()).is_some());
        assert!(unfair(&spread(300, 300), ["a".to_owned()]).is_some());
    }
}
