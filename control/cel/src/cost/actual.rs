//! What a call costs, by the sizes of what it is given.

use super::{REGEX, STRING};
use crate::value::Value;

fn ceil(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// The cost that the arguments decide; `None` if the result does.
pub fn before(function: &str, args: &[Value<'_>]) -> Option<u64> {
    let size = |n: usize| args.get(n).map_or(1, Value::size);
    let is_text = |n: usize| matches!(args.get(n), Some(Value::String(_) | Value::Bytes(_)));
    Some(match function {
        "check" => 350_000,
        "fieldSelector" | "labelSelector" => 10 + ceil(size(1), STRING) + ceil(size(1), 0.5) * 50,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(1, traversal),
        "sort" | "distinct" => self_compared(args.first()),
        "@sortByAssociatedKeys" => self_compared(args.get(1)),
        "flatten" => {
            let depth = match args.get(1) {
                Some(Value::Int(depth)) => u64::try_from(*depth).unwrap_or(0),
                _ => 1,
            };
            size(0).saturating_mul(depth).saturating_add(NEW_LIST)
        }
        "reverse" => size(0).saturating_add(NEW_LIST),
        "slice" => match args {
            [_, Value::Int(start), Value::Int(end)] => {
                u64::try_from(end.saturating_sub(*start)).unwrap_or(0).min(size(0)).saturating_add(NEW_LIST)
            }
            _ => NEW_LIST,
        },
        "sets.contains" | "sets.intersects" => size(0).saturating_mul(size(1)).saturating_add(1),
        "sets.equivalent" => size(0).saturating_mul(size(1)).saturating_mul(2).saturating_add(1),
        "lists.range" => match args.first() {
            Some(Value::Int(n)) => u64::try_from(*n).unwrap_or(0).saturating_add(NEW_LIST),
            _ => NEW_LIST,
        },
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => ceil(size(0), STRING),
        "ip" if matches!(args.first(), Some(Value::Cidr(..))) => 1,
        "ip" => ceil(size(0), STRING),
        "replace" | "split" | "ip.isCanonical" => ceil(size(0), 2.0 * STRING),
        "join" => return None,
        "find" | "findAll" | "matches" => ceil(1 + size(0), STRING).saturating_mul(ceil(size(1), REGEX)),
        "validate" => match args.first() {
            Some(Value::Format(format)) => ceil(1 + size(1), STRING).saturating_mul(ceil(format.regex_size, REGEX)),
            _ => 1,
        },
        "containsIP" => {
            let parse = if is_text(1) { ceil(size(1), STRING) } else { 0 };
            ceil(2 * size(0), STRING) + parse
        }
        "containsCIDR" => {
            let parse = if is_text(1) { ceil(size(1), STRING) } else { 0 };
            ceil(2 * size(0), STRING) + ceil(size(0), STRING) + 1 + parse
        }
        "startsWith" | "endsWith" | "format" | "strings.quote" => ceil(size(0), STRING),
        "bytes" | "string" if is_text(0) => ceil(size(0), STRING),
        "contains" => ceil(size(0), STRING).saturating_mul(ceil(size(1), STRING)),
        "@in" if args.get(1).is_some_and(|v| v.items().is_some()) => size(1),
        "_==_" | "_!=_" => match args.first() {
            Some(
                Value::Quantity(_)
                | Value::Ip(_)
                | Value::Cidr(..)
                | Value::Format(_)
                | Value::Url(_)
                | Value::Semver(_),
            ) => 1,
            _ => ceil(size(0).min(size(1)), STRING),
        },
        "_<_" | "_<=_" | "_>_" | "_>=_" if is_text(0) => ceil(size(0).min(size(1)), STRING),
        "_+_" if is_text(0) => ceil(size(0) + size(1), STRING),
        _ => 1,
    })
}

/// What a call costs that makes a list, without its elements.
const NEW_LIST: u64 = 11;

/// Sorting is priced as if each element were compared with each.
fn self_compared(list: Option<&Value<'_>>) -> u64 {
    let Some(list) = list else { return NEW_LIST };
    let first = list.items().and_then(|items| items.get(0));
    let texts = matches!(first, Some(Ok(Value::String(_) | Value::Bytes(_))));
    let pairs = list.size().saturating_mul(list.size());
    let factor = if texts { 2.0 + STRING } else { 2.0 };
    ((pairs as f64 * factor) as u64).saturating_add(NEW_LIST)
}

/// The cost that the result decides.
pub fn after(result: &Value<'_>) -> u64 {
    ceil(result.size(), 2.0 * STRING)
}

fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::String(s) => (s.len() as f64 * STRING) as u64,
        Value::Bytes(b) => (b.len() as f64 * STRING) as u64,
        _ => match value.items() {
            Some(items) => (0..items.len()).filter_map(|n| items.get(n)).map(|v| v.map_or(1, |v| traversal(&v))).sum(),
            None => 1,
        },
    }
}
