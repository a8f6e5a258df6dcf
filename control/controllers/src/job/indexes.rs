//! Completion indexes as text: `0,2-4` (`status.completedIndexes`).

use std::collections::BTreeSet;

/// Reads the text; what is no index below `completions` is left out.
pub(super) fn parse(text: &str, completions: i32) -> BTreeSet<i32> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            indexes.extend(first.max(0)..last.saturating_add(1).min(completions));
        }
    }
    indexes
}

/// Writes it.
pub(super) fn format(indexes: &BTreeSet<i32>) -> String {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    let parts = ranges.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        // As Kubernetes does: two are listed, three and more are a range.
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_in_ranges_and_read_again() {
        let indexes: BTreeSet<i32> = [0, 2, 3, 4, 6, 7].into();
        assert_eq!(format(&indexes), "0,2-4,6,7");
        assert_eq!(parse("0,2-4,6,7", 10), indexes);
        assert_eq!(parse("", 10), BTreeSet::new());
        assert_eq!(parse("0-100,x", 3), [0, 1, 2].into());
    }
}
