//! The functions. Names and overloads are in `declarations.txt`; what they do is here, a library a file.

use crate::value::{Evaluated, Value, failed, no_overload};

pub mod authorizer;
pub mod convert;
pub mod format;
pub mod ip;
pub mod lists;
pub mod operators;
pub mod optional;
pub mod quantity;
pub mod regex;
pub mod semver;
pub mod strings;
pub mod time;
pub mod url;

/// What a library answers: `None` if the function is not its.
pub(crate) type Answer<'a> = Option<Evaluated<Value<'a>>>;

/// Calls a function; of a member call the target is the first argument.
pub fn call<'a>(function: &str, member: bool, args: &[Value<'a>]) -> Evaluated<Value<'a>> {
    operators::call(function, args)
        .or_else(|| optional::call(function, args))
        .or_else(|| strings::call(function, member, args))
        .or_else(|| lists::call(function, args))
        .or_else(|| time::call(function, args))
        .or_else(|| convert::call(function, args))
        .or_else(|| quantity::call(function, args))
        .or_else(|| semver::call(function, args))
        .or_else(|| ip::call(function, args))
        .or_else(|| url::call(function, args))
        .or_else(|| format::call(function, args))
        .or_else(|| authorizer::call(function, args))
        .unwrap_or_else(no_overload)
}

/// `a[i]`, `a[?i]` and `a.?f`.
pub fn index<'a>(function: &str, operand: &Value<'a>, index: &Value<'a>) -> Evaluated<Value<'a>> {
    let (target, optional) = match operand {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => (&**inner, true),
        other => (other, function != "_[_]"),
    };
    let found = match (target.items(), index) {
        (Some(items), _) => {
            let at = match index {
                Value::Int(i) => *i,
                Value::Uint(u) => i64::try_from(*u).unwrap_or(i64::MAX),
                Value::Double(d) if d.fract() == 0.0 => *d as i64,
                other => return failed(format!("unsupported index type '{}' in list", other.type_name())),
            };
            let item = usize::try_from(at).ok().and_then(|at| items.get(at)).transpose()?;
            if item.is_none() && !optional {
                return failed(format!("index out of bounds: {at}"));
            }
            item
        }
        (None, key) => {
            let found = target.get(key)?;
            if found.is_none() && !optional {
                return failed(format!("no such key: {}", strings::show(key)));
            }
            found
        }
    };
    Ok(match (found, optional) {
        (Some(value), false) => value,
        (Some(value), true) => Value::some(value),
        (None, _) => Value::Optional(None),
    })
}
