//! Lists: Kubernetes' own library, cel-go's list extension version 3, and sets.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::SignedDuration;

use super::Answer;
use super::operators;
use crate::value::{Evaluated, Value, failed, no_overload};
use crate::work;

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    if let ("lists.range", [Value::Int(n)]) = (function, args) {
        return Some(Ok(Value::list((0..*n).map(Value::Int).collect())));
    }
    let list = args.first()?.items()?;
    let all = match list.all() {
        Ok(all) => all,
        Err(e) => return Some(Err(e)),
    };
    Some(match (function, &args[1..]) {
        ("isSorted", []) => is_sorted(&all),
        ("sum", []) => sum(all),
        ("min", []) => extreme(all, "min", Ordering::Less),
        ("max", []) => extreme(all, "max", Ordering::Greater),
        ("indexOf", [value]) => Ok(place(all.iter().position(|v| v.equals(value)))),
        ("lastIndexOf", [value]) => Ok(place(all.iter().rposition(|v| v.equals(value)))),
        ("slice", [Value::Int(start), Value::Int(end)]) => slice(&all, *start, *end),
        ("flatten", []) => flatten(all, 1),
        ("flatten", [Value::Int(depth)]) if *depth >= 0 => flatten(all, *depth),
        ("flatten", _) => failed("level must be non-negative"),
        ("sort", []) => sort(all.clone(), all),
        ("@sortByAssociatedKeys", [keys]) => match keys.items() {
            Some(keys) => keys.all().and_then(|keys| sort(keys, all)),
            None => no_overload(),
        },
        ("distinct", []) => Ok(Value::list(operators::distinct(all))),
        ("reverse", []) => Ok(Value::list(all.into_iter().rev().collect())),
        ("sets.contains" | "sets.equivalent" | "sets.intersects", [other]) => sets(function, &all, other),
        _ => return None,
    })
}

fn place<'a>(at: Option<usize>) -> Value<'a> {
    Value::Int(at.map_or(-1, |n| n as i64))
}

fn is_sorted<'a>(all: &[Value<'a>]) -> Evaluated<Value<'a>> {
    for pair in all.windows(2) {
        match pair[0].compare(&pair[1]) {
            None => return no_overload(),
            Some(Ordering::Greater) => return Ok(Value::Bool(false)),
            Some(_) => {}
        }
    }
    Ok(Value::Bool(true))
}

fn sum(all: Vec<Value<'_>>) -> Evaluated<Value<'_>> {
    let mut items = all.into_iter();
    let Some(first) = items.next() else { return Ok(Value::Int(0)) };
    let zero = match &first {
        Value::Int(_) => Value::Int(0),
        Value::Uint(_) => Value::Uint(0),
        Value::Double(_) => Value::Double(0.0),
        Value::Duration(_) => Value::Duration(SignedDuration::ZERO),
        _ => return no_overload(),
    };
    std::iter::once(first)
        .chain(items)
        .try_fold(zero, |sum, item| operators::call("_+_", &[sum, item]).unwrap_or_else(no_overload))
}

fn extreme<'a>(all: Vec<Value<'a>>, name: &str, better: Ordering) -> Evaluated<Value<'a>> {
    let mut items = all.into_iter();
    let Some(mut best) = items.next() else { return failed(format!("{name} called on empty list")) };
    for item in items {
        match item.compare(&best) {
            None => return no_overload(),
            Some(order) if order == better => best = item,
            Some(_) => {}
        }
    }
    Ok(best)
}

fn slice<'a>(all: &[Value<'a>], start: i64, end: i64) -> Evaluated<Value<'a>> {
    let what = format!("cannot slice({start}, {end})");
    if start < 0 || end < 0 {
        return failed(format!("{what}, negative indexes not supported"));
    }
    if start > end {
        return failed(format!("{what}, start index must be less than or equal to end index"));
    }
    match all.get(start as usize..end as usize) {
        Some(part) => Ok(Value::list(part.to_vec())),
        None => failed(format!("{what}, list is length {}", all.len())),
    }
}

fn flatten(all: Vec<Value<'_>>, depth: i64) -> Evaluated<Value<'_>> {
    let mut level = all;
    for _ in 0..depth.min(64) {
        let mut flat = Vec::with_capacity(level.len());
        let mut deeper = false;
        for item in level {
            match item.items() {
                Some(items) => {
                    if !work::spend(work::ELEMENT * items.len() as u64) {
                        return Ok(Value::Null);
                    }
                    flat.extend(items.all()?);
                    deeper = true;
                }
                None => flat.push(item),
            }
        }
        level = flat;
        if !deeper {
            break;
        }
    }
    Ok(Value::list(level))
}

fn sort<'a>(keys: Vec<Value<'a>>, all: Vec<Value<'a>>) -> Evaluated<Value<'a>> {
    if keys.len() != all.len() {
        return failed(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            all.len(),
            keys.len()
        ));
    }
    if keys.windows(2).any(|pair| pair[0].type_name() != pair[1].type_name()) {
        return failed("list elements must have the same type");
    }
    // Not a number is not even equal to itself.
    if keys.iter().any(|k| k.compare(k).is_none()) {
        return failed("list elements must be comparable");
    }
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| keys[*a].compare(&keys[*b]).unwrap_or(Ordering::Equal));
    Ok(Value::List(Arc::new(order.into_iter().map(|at| all[at].clone()).collect())))
}

fn sets<'a>(function: &str, a: &[Value<'a>], other: &Value<'a>) -> Evaluated<Value<'a>> {
    let Some(b) = other.items() else { return no_overload() };
    let b = b.all()?;
    let within = |all: &[Value<'a>], value: &Value<'a>| all.iter().any(|v| v.equals(value));
    Ok(Value::Bool(match function {
        "sets.contains" => b.iter().all(|v| within(a, v)),
        "sets.equivalent" => b.iter().all(|v| within(a, v)) && a.iter().all(|v| within(&b, v)),
        _ => b.iter().any(|v| within(a, v)),
    }))
}
