//! Quantities, as resources are counted.

use orlop_schema::quantity::{Format, Quantity};

use super::Answer;
use crate::value::{Value, failed};

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    match (function, args) {
        ("isQuantity", [Value::String(s)]) => return Some(Ok(Value::Bool(s.parse::<Quantity>().is_ok()))),
        ("quantity", [Value::String(s)]) => {
            return Some(s.parse::<Quantity>().map(Value::Quantity).or_else(|e| failed(e.to_string())));
        }
        _ => {}
    }
    let (Value::Quantity(own), rest) = args.split_first()? else { return None };
    const NANO: i128 = 1_000_000_000;
    let is_integer = own.nanos() % NANO == 0 && i64::try_from(own.nanos() / NANO).is_ok();
    Some(Ok(match (function, rest) {
        ("sign", []) => Value::Int(own.nanos().signum() as i64),
        ("isInteger", []) => Value::Bool(is_integer),
        ("asInteger", []) if is_integer => Value::Int((own.nanos() / NANO) as i64),
        ("asInteger", []) => return Some(failed("cannot convert value to integer")),
        ("asApproximateFloat", []) => Value::Double(own.nanos() as f64 / NANO as f64),
        ("isGreaterThan", [Value::Quantity(other)]) => Value::Bool(own > other),
        ("isLessThan", [Value::Quantity(other)]) => Value::Bool(own < other),
        ("compareTo", [Value::Quantity(other)]) => Value::Int(own.cmp(other) as i64),
        ("add", [Value::Quantity(other)]) => Value::Quantity(own.plus(*other)),
        ("sub", [Value::Quantity(other)]) => Value::Quantity(own.minus(*other)),
        ("add", [Value::Int(n)]) => Value::Quantity(own.plus(Quantity::from_units(*n, Format::DecimalSi))),
        ("sub", [Value::Int(n)]) => Value::Quantity(own.minus(Quantity::from_units(*n, Format::DecimalSi))),
        _ => return None,
    }))
}
