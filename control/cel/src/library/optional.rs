//! Optional values.

use super::Answer;
use crate::value::{Value, failed, no_overload};

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    Some(match (function, args) {
        ("optional.of", [value]) => Ok(Value::some(value.clone())),
        ("optional.ofNonZeroValue", [value]) if is_zero(value) => Ok(Value::Optional(None)),
        ("optional.ofNonZeroValue", [value]) => Ok(Value::some(value.clone())),
        ("optional.none", []) => Ok(Value::Optional(None)),
        ("value", [Value::Optional(Some(value))]) => Ok((**value).clone()),
        ("value", [Value::Optional(None)]) => failed("optional.none() dereference"),
        ("hasValue", [Value::Optional(value)]) => Ok(Value::Bool(value.is_some())),
        ("optional.unwrap" | "unwrapOpt", [list]) => match list.items().map(|items| items.all()) {
            Some(items) => items.map(|items| {
                let present = items.into_iter().filter_map(|v| match v {
                    Value::Optional(value) => value.map(|v| (*v).clone()),
                    other => Some(other),
                });
                Value::list(present.collect())
            }),
            None => no_overload(),
        },
        ("first" | "last", [list]) => {
            let items = list.items()?;
            let at = if function == "first" { 0 } else { items.len().wrapping_sub(1) };
            items.get(at).transpose().map(|v| v.map_or(Value::Optional(None), Value::some))
        }
        _ => return None,
    })
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(b) => !b,
        Value::Int(i) => *i == 0,
        Value::Uint(u) => *u == 0,
        Value::Double(d) => *d == 0.0,
        Value::Duration(d) => d.is_zero(),
        Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Joined(_) | Value::Map(_) | Value::Json(..) => {
            value.size() == 0
        }
        _ => false,
    }
}
