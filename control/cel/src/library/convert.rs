//! Conversions between types.

use jiff::Timestamp;

use super::{Answer, strings, time};
use crate::value::{Evaluated, Value, failed, no_overload};

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    let [value] = args else { return None };
    Some(match function {
        "dyn" => Ok(value.clone()),
        "type" => Ok(Value::Type(value.type_name())),
        "int" => int(value),
        "uint" => uint(value),
        "double" => match value {
            Value::Double(d) => Ok(Value::Double(*d)),
            Value::Int(i) => Ok(Value::Double(*i as f64)),
            Value::Uint(u) => Ok(Value::Double(*u as f64)),
            Value::String(s) => s.parse().map(Value::Double).or_else(|_| wrong(value, "double")),
            _ => no_overload(),
        },
        "bool" => match value {
            Value::Bool(b) => Ok(Value::Bool(*b)),
            Value::String(s) => match &**s {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
                _ => wrong(value, "bool"),
            },
            _ => no_overload(),
        },
        "bytes" => match value {
            Value::Bytes(b) => Ok(Value::Bytes(b.clone())),
            Value::String(s) => Ok(Value::Bytes(s.as_bytes().into())),
            _ => no_overload(),
        },
        "string" => match value {
            Value::Bytes(b) => match std::str::from_utf8(b) {
                Ok(s) => Ok(Value::string(s)),
                Err(_) => failed("invalid UTF-8 in bytes, cannot convert to string"),
            },
            Value::String(_) => Ok(value.clone()),
            Value::List(_) | Value::Joined(_) | Value::Map(_) | Value::Json(..) | Value::Null | Value::Optional(_) => {
                no_overload()
            }
            other => Ok(Value::string(strings::show(other))),
        },
        "duration" => match value {
            Value::Duration(d) => Ok(Value::Duration(*d)),
            Value::Int(i) => Ok(Value::Duration(jiff::SignedDuration::from_nanos(*i))),
            Value::String(s) => time::parse_duration(s)
                .map_or_else(|| wrong(value, "google.protobuf.Duration"), |d| Ok(Value::Duration(d))),
            _ => no_overload(),
        },
        "timestamp" => match value {
            Value::Timestamp(t) => Ok(Value::Timestamp(*t)),
            Value::Int(i) => Timestamp::from_second(*i).map(Value::Timestamp).or_else(|_| failed("timestamp overflow")),
            Value::String(s) => time::parse_timestamp(s)
                .map_or_else(|| wrong(value, "google.protobuf.Timestamp"), |t| Ok(Value::Timestamp(t))),
            _ => no_overload(),
        },
        _ => return None,
    })
}

fn wrong<'a>(value: &Value<'a>, to: &str) -> Evaluated<Value<'a>> {
    failed(format!("type conversion error from '{}' to '{to}'", value.type_name()))
}

fn int<'a>(value: &Value<'a>) -> Evaluated<Value<'a>> {
    match value {
        Value::Int(i) => Ok(Value::Int(*i)),
        Value::Uint(u) => i64::try_from(*u).map(Value::Int).or_else(|_| failed("integer overflow")),
        Value::Double(d) if d.is_finite() && *d > -9.223_372_036_854_775e18 && *d < 9.223_372_036_854_775e18 => {
            Ok(Value::Int(*d as i64))
        }
        Value::Double(_) => failed("integer overflow"),
        Value::String(s) => s.parse().map(Value::Int).or_else(|_| wrong(value, "int")),
        Value::Timestamp(t) => Ok(Value::Int(t.as_second())),
        Value::Duration(d) => i64::try_from(d.as_nanos()).map(Value::Int).or_else(|_| failed("integer overflow")),
        _ => no_overload(),
    }
}

fn uint<'a>(value: &Value<'a>) -> Evaluated<Value<'a>> {
    match value {
        Value::Uint(u) => Ok(Value::Uint(*u)),
        Value::Int(i) => u64::try_from(*i).map(Value::Uint).or_else(|_| failed("unsigned integer overflow")),
        Value::Double(d) if *d >= 0.0 && *d < 1.844_674_407_370_955e19 => Ok(Value::Uint(*d as u64)),
        Value::Double(_) => failed("unsigned integer overflow"),
        Value::String(s) => s.parse().map(Value::Uint).or_else(|_| wrong(value, "uint")),
        _ => no_overload(),
    }
}

/// As Go's `%g`.
pub(crate) fn show_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let shown = format!("{value:e}");
        let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        return format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    value.to_string()
}
