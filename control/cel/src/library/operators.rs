//! Operators on numbers, strings, lists, times; overflow is an error.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Answer;
use crate::decl::ListKind;
use crate::value::{Evaluated, Index, Items, Joined, Value, failed, no_overload};
use crate::work;

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    Some(match (function, args) {
        ("!_", [Value::Bool(b)]) => Ok(Value::Bool(!b)),
        ("-_", [Value::Int(i)]) => i.checked_neg().map_or_else(|| overflow("integer"), |i| Ok(Value::Int(i))),
        ("-_", [Value::Double(d)]) => Ok(Value::Double(-d)),
        ("_==_", [a, b]) => Ok(Value::Bool(a.equals(b))),
        ("_!=_", [a, b]) => Ok(Value::Bool(!a.equals(b))),
        ("_<_", [a, b]) => compare(a, b, |o| o == Ordering::Less),
        ("_<=_", [a, b]) => compare(a, b, |o| o != Ordering::Greater),
        ("_>_", [a, b]) => compare(a, b, |o| o == Ordering::Greater),
        ("_>=_", [a, b]) => compare(a, b, |o| o != Ordering::Less),
        ("_+_", [a, b]) => add(a, b),
        ("_-_", [a, b]) => subtract(a, b),
        ("_*_", [Value::Int(a), Value::Int(b)]) => int(a.checked_mul(*b)),
        ("_*_", [Value::Uint(a), Value::Uint(b)]) => uint(a.checked_mul(*b)),
        ("_*_", [Value::Double(a), Value::Double(b)]) => Ok(Value::Double(a * b)),
        ("_/_", [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)]) => failed("division by zero"),
        ("_/_", [Value::Int(a), Value::Int(b)]) => int(a.checked_div(*b)),
        ("_/_", [Value::Uint(a), Value::Uint(b)]) => uint(a.checked_div(*b)),
        ("_/_", [Value::Double(a), Value::Double(b)]) => Ok(Value::Double(a / b)),
        ("_%_", [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)]) => failed("modulus by zero"),
        ("_%_", [Value::Int(a), Value::Int(b)]) => int(a.checked_rem(*b)),
        ("_%_", [Value::Uint(a), Value::Uint(b)]) => uint(a.checked_rem(*b)),
        ("@in", [value, all]) => contains(value, all),
        ("!_" | "-_" | "_*_" | "_/_" | "_%_", _) => no_overload(),
        _ => return None,
    })
}

fn overflow<T>(what: &str) -> Evaluated<T> {
    failed(format!("{what} overflow"))
}

fn int<'a>(value: Option<i64>) -> Evaluated<Value<'a>> {
    value.map_or_else(|| overflow("integer"), |i| Ok(Value::Int(i)))
}

fn uint<'a>(value: Option<u64>) -> Evaluated<Value<'a>> {
    value.map_or_else(|| overflow("unsigned integer"), |u| Ok(Value::Uint(u)))
}

fn compare<'a>(a: &Value<'a>, b: &Value<'a>, holds: fn(Ordering) -> bool) -> Evaluated<Value<'a>> {
    match a.compare(b) {
        Some(order) => Ok(Value::Bool(holds(order))),
        None => match (a, b) {
            (Value::Double(_), _) | (_, Value::Double(_)) if a.size() == 1 && b.size() == 1 => {
                failed("NaN values cannot be ordered")
            }
            _ => no_overload(),
        },
    }
}

fn add<'a>(a: &Value<'a>, b: &Value<'a>) -> Evaluated<Value<'a>> {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => return int(a.checked_add(*b)),
        (Value::Uint(a), Value::Uint(b)) => return uint(a.checked_add(*b)),
        (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
        (Value::String(a), Value::String(b)) => Value::string(format!("{}{}", &**a, &**b)),
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes([&**a, &**b].concat().into()),
        (Value::Duration(a), Value::Duration(b)) => match a.checked_add(*b) {
            Some(sum) => Value::Duration(sum),
            None => return overflow("duration"),
        },
        (Value::Timestamp(t), Value::Duration(d)) | (Value::Duration(d), Value::Timestamp(t)) => {
            match t.checked_add(*d) {
                Ok(sum) => Value::Timestamp(sum),
                Err(_) => return overflow("timestamp"),
            }
        }
        _ => match (a.items(), b.items()) {
            (Some(x), Some(y)) => return joined(a, b, &x, &y),
            _ => return no_overload(),
        },
    })
}

/// The sum of two lists: sets and maps by key keep each element once, in the place of the first.
fn joined<'a>(a: &Value<'a>, b: &Value<'a>, x: &Items<'a, '_>, y: &Items<'a, '_>) -> Evaluated<Value<'a>> {
    let Some((kind, item)) = a.declared_list().filter(|(kind, _)| !matches!(kind, ListKind::Atomic)) else {
        return Joined::sum(a, b);
    };
    if !work::spend(work::ELEMENT * (x.len() + y.len()) as u64) {
        return Ok(Value::Null);
    }
    let ListKind::Map(keys) = kind else {
        let mut index = Index::new(Some(item));
        x.all()?.into_iter().for_each(|value| index.push(value));
        y.all()?.into_iter().for_each(|value| index.insert(value));
        return Ok(Value::list(index.into_values()));
    };
    let key = |value: &Value<'a>| {
        // An optional is equal to another whether it has a value or not.
        let fields = keys.iter().map(|k| value.field(k).map(|field| Value::Optional(field.map(Arc::new))));
        fields.collect::<Evaluated<Vec<_>>>().map(Value::list)
    };
    let mut index = Index::new(None);
    let mut all = x.all()?;
    for value in &all {
        index.push(key(value)?);
    }
    for value in y.all()? {
        let key = key(&value)?;
        match index.place(&key) {
            Some(at) => all[at] = value,
            None => {
                index.push(key);
                all.push(value);
            }
        }
    }
    Ok(Value::list(all))
}

fn subtract<'a>(a: &Value<'a>, b: &Value<'a>) -> Evaluated<Value<'a>> {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => return int(a.checked_sub(*b)),
        (Value::Uint(a), Value::Uint(b)) => return uint(a.checked_sub(*b)),
        (Value::Double(a), Value::Double(b)) => Value::Double(a - b),
        (Value::Duration(a), Value::Duration(b)) => match a.checked_sub(*b) {
            Some(rest) => Value::Duration(rest),
            None => return overflow("duration"),
        },
        (Value::Timestamp(t), Value::Duration(d)) => match t.checked_sub(*d) {
            Ok(rest) => Value::Timestamp(rest),
            Err(_) => return overflow("timestamp"),
        },
        (Value::Timestamp(a), Value::Timestamp(b)) => Value::Duration(a.duration_since(*b)),
        _ => return no_overload(),
    })
}

fn contains<'a>(value: &Value<'a>, all: &Value<'a>) -> Evaluated<Value<'a>> {
    if let Some(items) = all.items() {
        for at in 0..items.len() {
            if items.get(at).transpose()?.is_some_and(|v| v.equals(value)) {
                return Ok(Value::Bool(true));
            }
        }
        return Ok(Value::Bool(false));
    }
    Ok(Value::Bool(all.get(value)?.is_some()))
}

/// Without repetitions.
pub(crate) fn distinct<'a>(items: Vec<Value<'a>>) -> Vec<Value<'a>> {
    let mut index = Index::new(None);
    items.into_iter().for_each(|item| index.insert(item));
    index.into_values()
}

/// A list of strings.
pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Value<'a> {
    Value::list(texts.into_iter().map(Value::string).collect())
}
