//! The order of keys: letters behind everything else, and numbers by what they count.

use std::cmp::Ordering;

/// Sorts entries by their keys. The order, which is Go's, contradicts itself here and there (`k2` < `k10` < `k1a` < `k2`), which the
/// standard library's sort may take offence at.
pub fn sort<T>(mut entries: Vec<(&str, T)>) -> Vec<(&str, T)> {
    if entries.len() < 2 {
        return entries;
    }
    let right = sort(entries.split_off(entries.len() / 2));
    let mut left = sort(entries).into_iter().peekable();
    let mut sorted = Vec::with_capacity(left.len() + right.len());
    for entry in right {
        while let Some(before) = left.next_if(|(key, _)| compare(key, entry.0) != Ordering::Greater) {
            sorted.push(before);
        }
        sorted.push(entry);
    }
    sorted.extend(left);
    sorted
}

/// Which of two keys comes first.
fn compare(left: &str, right: &str) -> Ordering {
    let same = left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count();
    // Of characters, not of bytes.
    let same = (0..=same).rev().find(|at| left.is_char_boundary(*at) && right.is_char_boundary(*at)).unwrap_or(0);
    let (before, left, right) = (&left[..same], &left[same..], &right[same..]);
    let (Some(first), Some(other)) = (left.chars().next(), right.chars().next()) else {
        return left.len().cmp(&right.len());
    };
    match (first.is_alphabetic(), other.is_alphabetic()) {
        (true, true) => return first.cmp(&other),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero behind other digits counts: they are the beginning of the same number.
    let begun = before.bytes().rev().take_while(u8::is_ascii_digit).any(|digit| digit != b'0');
    let begun = u128::from(begun && (first == '0' || other == '0'));
    let (left, right) = (number(left, begun), number(right, begun));
    left.cmp(&right).then(first.cmp(&other))
}

/// The number that a text begins with, behind other digits, and how long it is.
fn number(text: &str, begun: u128) -> (u128, usize) {
    let digits = text.bytes().take_while(u8::is_ascii_digit);
    digits.fold((begun, 0), |(number, length), digit| {
        (number.saturating_mul(10).saturating_add(u128::from(digit - b'0')), length + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted<'a>(keys: &[&'a str]) -> Vec<&'a str> {
        sort(keys.iter().map(|key| (*key, ())).collect()).into_iter().map(|(key, ())| key).collect()
    }

    #[test]
    fn letters_are_behind_all_else_and_numbers_count() {
        assert_eq!(
            sorted(&["b", "a", "", "a10", "a9", "a09", "a", "A", "a-b", "a.b", ".", "f:x", "f:", "é", "z", "ab"]),
            ["", ".", "A", "a", "a", "a-b", "a.b", "a9", "a09", "a10", "ab", "b", "f:", "f:x", "z", "é"]
        );
        assert_eq!(sorted(&["k1", "k10", "k100", "k2"]), ["k1", "k2", "k10", "k100"]);
        assert_eq!(sorted(&["k1a", "k10", "k1"]), ["k1", "k10", "k1a"]);
    }

    #[test]
    fn two_keys_have_one_order_and_contradictions_of_more_do_no_harm() {
        let mut keys = vec![String::new()];
        for length in 0..4 {
            let longest: Vec<String> = keys.iter().filter(|key| key.chars().count() == length).cloned().collect();
            keys.extend(longest.iter().flat_map(|key| ["a", "-", ":", "0", "1", "2"].map(|c| format!("{key}{c}"))));
        }
        for (index, left) in keys.iter().enumerate() {
            assert_eq!(compare(left, left), Ordering::Equal);
            for right in &keys[index + 1..] {
                assert_ne!(compare(left, right), Ordering::Equal, "{left:?} {right:?}");
                assert_eq!(compare(left, right), compare(right, left).reverse(), "{left:?} {right:?}");
            }
        }
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut again = sorted(&keys);
        assert_eq!(again.len(), keys.len());
        again.sort_unstable();
        again.dedup();
        assert_eq!(again.len(), keys.len());
    }
}
