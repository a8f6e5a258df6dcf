//! The order of merged lists: what the patch names takes the patch's order, what only the server has keeps its own, and the two interleave.

use serde_json::Value;

use super::{Result, StrategicError, directives};

/// Whether two elements stand for the same: equal merge keys, or equal scalars.
fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) if a.is_object() && b.is_object() => a.get(key) == b.get(key),
        _ => a == b,
    }
}

fn index(order: &[Value], item: &Value, key: Option<&str>) -> Option<usize> {
    order.iter().position(|o| same(o, item, key))
}

/// Puts a merged list in order.
pub(super) fn enforce(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let (mut patched, mut server): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|m| index(patch_order, m, key).is_some());
    patched.sort_by_key(|v| index(patch_order, v, key));
    server.sort_by_key(|v| index(server_order, v, key).unwrap_or(usize::MAX));
    let mut result = Vec::with_capacity(patched.len() + server.len());
    let (mut left, mut right) = (server.into_iter().peekable(), patched.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return result,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(l), Some(r)) => match (index(server_order, l, key), index(server_order, r, key)) {
                (Some(l), Some(r)) => l < r,
                _ => false,
            },
        };
        result.extend(if take_left { left.next() } else { right.next() });
    }
}

/// The patch's elements must appear in `$setElementOrder`, in the same order; deletions need not.
pub(super) fn validate(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<()> {
    let kept = patch.iter().filter(|p| p.get(directives::PATCH).is_none());
    let mut at = 0;
    for item in kept {
        if let (Some(key), Value::Object(map)) = (key, item)
            && !map.contains_key(key)
        {
            return Err(directives::no_merge_key(map, key));
        }
        match order[at..].iter().position(|o| same(o, item, key)) {
            Some(found) => at += found + 1,
            None => {
                let text = |list: &[Value]| Value::Array(list.to_vec()).to_string();
                return Err(StrategicError::OrderMismatch {
                    patch: text(patch),
                    directive: "$setElementOrder",
                    order: text(order),
                });
            }
        }
    }
    Ok(())
}
