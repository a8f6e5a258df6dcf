//! Evaluation, and the count of what it costs. Every step is counted as cel-go counts it, and an expression that costs more than
//! it may ends at once.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use orlop_schema::structural::Pattern;

use crate::ast::{Comprehension, Entry, Expr, Kind, Literal};
use crate::cost::actual;
use crate::library;
use crate::library::regex::Patterns;
use crate::macros::{ACCUMULATOR, UNUSED};
use crate::value::{EvalError, Evaluated, Key, Str, Value, failed, no_overload};
use crate::work;

/// The variables of an evaluation.
pub trait Variables<'a>: Sync {
    /// A variable.
    fn get(&self, name: &str) -> Option<Value<'a>>;

    /// A field of `variables`, evaluated when first asked for, within the limit given; and what that cost.
    fn composed(&self, name: &str, _limit: u64) -> (Evaluated<Value<'a>>, u64) {
        (failed(format!("no such key: {name}")), 0)
    }
}

impl<'a> Variables<'a> for [(&str, Value<'a>)] {
    fn get(&self, name: &str) -> Option<Value<'a>> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone())
    }
}

/// Evaluates a checked tree. The cost is told whether or not there is a value.
pub fn evaluate<'a>(
    root: &Expr,
    constants: &HashMap<Arc<str>, Pattern>,
    variables: &dyn Variables<'a>,
    limit: u64,
) -> (Evaluated<Value<'a>>, u64) {
    let patterns = Patterns::new(constants);
    let mut evaluator = Evaluator { variables, patterns, scopes: Vec::new(), cost: 0, limit };
    let value = evaluator.eval(root);
    (value, evaluator.cost)
}

struct Evaluator<'a, 'v> {
    variables: &'v dyn Variables<'a>,
    patterns: Patterns<'v>,
    scopes: Vec<(Arc<str>, Value<'a>)>,
    cost: u64,
    limit: u64,
}

impl<'a> Evaluator<'a, '_> {
    fn charge(&mut self, cost: u64) -> Evaluated<()> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    // Small on the stack: this is what recurses.
    fn eval(&mut self, expr: &Expr) -> Evaluated<Value<'a>> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(constant(literal)),
            Kind::Ident(name) => self.ident(name),
            Kind::Select { operand, field, test } => self.select(operand, field, *test),
            Kind::Call { target, function, args } => self.call(target.as_deref(), function, args),
            Kind::List { elements, optional } => self.list(elements, optional),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.construct(name, fields),
            Kind::Comprehension(c) => self.fold(c),
        }
    }

    fn ident(&mut self, name: &Arc<str>) -> Evaluated<Value<'a>> {
        self.charge(1)?;
        if let Some((_, value)) = self.scopes.iter().rev().find(|(n, _)| n == name) {
            return match value {
                Value::Failed(message) => failed(message.to_string()),
                value => Ok(value.clone()),
            };
        }
        if let Some(value) = self.variables.get(name) {
            return Ok(value);
        }
        match crate::check::type_named(name) {
            Some(_) => Ok(Value::Type(name.clone())),
            None => failed(format!("no such attribute(s): {name}")),
        }
    }

    fn select(&mut self, operand: &Expr, field: &Arc<str>, test: bool) -> Evaluated<Value<'a>> {
        let operand = self.eval(operand)?;
        if let Value::Variables = operand {
            if test {
                return Ok(Value::Bool(true));
            }
            self.charge(1)?;
            let (value, cost) = self.variables.composed(field, self.limit - self.cost);
            self.charge(cost)?;
            return value;
        }
        if test {
            return Ok(Value::Bool(match &operand {
                Value::Optional(None) => false,
                _ => operand.field(field)?.is_some(),
            }));
        }
        self.charge(1)?;
        if let Value::Optional(None) = operand {
            return Ok(operand);
        }
        match operand.field(field)? {
            Some(value) => Ok(value),
            None if matches!(operand, Value::Optional(_)) => Ok(Value::Optional(None)),
            None => failed(format!("no such key: {field}")),
        }
    }

    fn call(&mut self, target: Option<&Expr>, function: &str, args: &[Expr]) -> Evaluated<Value<'a>> {
        match (function, args) {
            ("_&&_", [a, b]) => self.logical(a, b, false),
            ("_||_", [a, b]) => self.logical(a, b, true),
            ("_?_:_", [condition, yes, no]) => match self.eval(condition)? {
                Value::Bool(true) => self.eval(yes),
                Value::Bool(false) => self.eval(no),
                _ => no_overload(),
            },
            ("@not_strictly_false", [value]) => {
                let value = match self.eval(value) {
                    Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                    other => other,
                };
                self.charge(1)?;
                Ok(Value::Bool(!matches!(value, Ok(Value::Bool(false)))))
            }
            ("_+_" | "cel.@mapInsert", [Expr { kind: Kind::Ident(name), .. }, rest @ ..]) if &**name == ACCUMULATOR => {
                self.accumulate(function, rest)
            }
            ("or" | "orValue", [other]) if target.is_some() => self.otherwise(target, function, other),
            ("_?._" | "_[?_]" | "_[_]", [operand, index]) => {
                let operand = self.eval(operand)?;
                let index = self.eval(index)?;
                self.charge(1)?;
                self.metered(|_| library::index(function, &operand, &index))
            }
            _ => self.apply(target, function, args),
        }
    }

    fn apply(&mut self, target: Option<&Expr>, function: &str, args: &[Expr]) -> Evaluated<Value<'a>> {
        let mut values = Vec::with_capacity(args.len() + usize::from(target.is_some()));
        if let Some(target) = target {
            values.push(self.eval(target)?);
        }
        for arg in args {
            values.push(self.eval(arg)?);
        }
        // What costs more than is left is not begun.
        let before = actual::before(function, &values);
        self.charge(before.unwrap_or_default())?;
        let result = self.metered(|patterns| match library::regex::takes_pattern(function) {
            true => patterns.call(function, &values),
            false => library::call(function, target.is_some(), &values),
        })?;
        if before.is_none() {
            self.charge(actual::after(&result))?;
        }
        Ok(result)
    }

    /// Does what may be more work than it costs, and charges for that.
    fn metered(&mut self, call: impl FnOnce(&mut Patterns<'_>) -> Evaluated<Value<'a>>) -> Evaluated<Value<'a>> {
        let (result, cost) = work::metered(self.limit.saturating_sub(self.cost), || call(&mut self.patterns));
        self.charge(cost)?;
        result
    }

    /// `a && b` or `a || b`: one decided operand decides, even if the other fails.
    fn logical(&mut self, a: &Expr, b: &Expr, decides: bool) -> Evaluated<Value<'a>> {
        let first = self.eval(a);
        match &first {
            Ok(Value::Bool(value)) if *value == decides => return first,
            Err(EvalError::CostLimit) => return first,
            _ => {}
        }
        let second = self.eval(b);
        match (&first, &second) {
            (_, Ok(Value::Bool(value))) if *value == decides => second,
            (_, Err(EvalError::CostLimit)) => second,
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => Ok(Value::Bool(!decides)),
            (Err(_), _) => first,
            (_, Err(_)) => second,
            _ => no_overload(),
        }
    }

    /// The accumulator's only owner changes it in place: a fold would copy what it has with each step otherwise.
    fn accumulate(&mut self, function: &str, rest: &[Expr]) -> Evaluated<Value<'a>> {
        let mut values = vec![Value::Null];
        for arg in rest {
            values.push(self.eval(arg)?);
        }
        self.charge(1)?;
        if let Some((_, accu)) = self.scopes.iter_mut().rev().find(|(n, _)| &**n == ACCUMULATOR) {
            values[0] = std::mem::replace(accu, Value::Null);
        }
        if let [Value::List(all), Value::List(more)] = values.as_mut_slice()
            && function == "_+_"
        {
            self.charge(1)?;
            Arc::make_mut(all).extend(more.iter().cloned());
            return Ok(Value::List(all.clone()));
        }
        if let [Value::Map(all), rest @ ..] = values.as_mut_slice() {
            self.charge(1)?;
            let map = Arc::make_mut(all);
            let mut insert = |key: &Value<'a>, value: Value<'a>| -> Evaluated<()> {
                let Some(key) = Key::of(key) else { return no_overload() };
                match map.insert(key, value) {
                    None => Ok(()),
                    Some(_) => failed("insert failed: key already exists"),
                }
            };
            match rest {
                [key, value] => insert(key, value.clone())?,
                [more] => {
                    for (key, value) in more.entries().unwrap_or_else(no_overload)? {
                        insert(&key, value)?;
                    }
                }
                _ => return no_overload(),
            }
            return Ok(Value::Map(all.clone()));
        }
        self.charge(actual::before(function, &values).unwrap_or(1))?;
        self.metered(|_| library::call(function, false, &values))
    }

    fn otherwise(&mut self, target: Option<&Expr>, function: &str, other: &Expr) -> Evaluated<Value<'a>> {
        let Some(target) = target else { return no_overload() };
        match self.eval(target)? {
            Value::Optional(Some(value)) if function == "orValue" => Ok((*value).clone()),
            value @ Value::Optional(Some(_)) => Ok(value),
            Value::Optional(None) => self.eval(other),
            _ => no_overload(),
        }
    }

    fn list(&mut self, elements: &[Expr], optional: &[usize]) -> Evaluated<Value<'a>> {
        let mut items = Vec::with_capacity(elements.len());
        for (at, element) in elements.iter().enumerate() {
            match (self.eval(element)?, optional.contains(&at)) {
                (Value::Optional(Some(value)), true) => items.push((*value).clone()),
                (Value::Optional(None), true) => {}
                (_, true) => return no_overload(),
                (value, false) => items.push(value),
            }
        }
        self.charge(10)?;
        Ok(Value::list(items))
    }

    fn map(&mut self, entries: &[Entry]) -> Evaluated<Value<'a>> {
        let mut map = IndexMap::with_capacity(entries.len());
        for entry in entries {
            let key = self.eval(&entry.key)?;
            let value = self.eval(&entry.value)?;
            let value = match (value, entry.optional) {
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (Value::Optional(None), true) => continue,
                (value, _) => value,
            };
            let Some(key) = Key::of(&key) else {
                return failed(format!("unsupported key type: {}", key.type_name()));
            };
            if map.insert(key, value).is_some() {
                return failed("Failed with repeated key");
            }
        }
        self.charge(30)?;
        Ok(Value::Map(Arc::new(map)))
    }

    fn construct(&mut self, name: &Arc<str>, fields: &[Entry]) -> Evaluated<Value<'a>> {
        let mut made = IndexMap::with_capacity(fields.len());
        for entry in fields {
            let Kind::Literal(Literal::String(field)) = &entry.key.kind else { return no_overload() };
            let value = match (self.eval(&entry.value)?, entry.optional) {
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (Value::Optional(None), true) => continue,
                (value, _) => value,
            };
            made.insert(field.to_string(), value);
        }
        self.charge(40)?;
        Ok(Value::Struct(name.clone(), Arc::new(made)))
    }

    fn fold(&mut self, c: &Comprehension) -> Evaluated<Value<'a>> {
        let range = self.eval(&c.range)?;
        let init = self.eval(&c.init)?;
        let depth = self.scopes.len();
        self.scopes.push((c.accu_var.clone(), init));
        if &*c.iter_var != UNUSED || c.iter_var2.is_some() {
            self.iterate(c, &range)?;
        }
        self.scopes.truncate(depth + 1);
        let result = self.eval(&c.result);
        self.scopes.truncate(depth);
        result
    }

    fn iterate(&mut self, c: &Comprehension, range: &Value<'a>) -> Evaluated<()> {
        let accu = self.scopes.len() - 1;
        if let Some(items) = range.items() {
            for at in 0..items.len() {
                let Some(item) = items.get(at) else { break };
                let item = item?;
                let vars = match &c.iter_var2 {
                    Some(_) => (Value::Int(at as i64), Some(item)),
                    None => (item, None),
                };
                if !self.once(c, accu, vars)? {
                    break;
                }
            }
            return Ok(());
        }
        if c.iter_var2.is_some() {
            for (key, value) in range.entries().unwrap_or_else(no_overload)? {
                if !self.once(c, accu, (key, Some(value)))? {
                    break;
                }
            }
            return Ok(());
        }
        let Some(keys) = range.keys() else { return no_overload() };
        for key in keys {
            if !self.once(c, accu, (key, None))? {
                break;
            }
        }
        Ok(())
    }

    /// One step; false if the fold is decided. A failed step of `all` and `exists` is remembered and may be overruled.
    fn once(&mut self, c: &Comprehension, accu: usize, vars: (Value<'a>, Option<Value<'a>>)) -> Evaluated<bool> {
        self.scopes.truncate(accu + 1);
        self.scopes.push((c.iter_var.clone(), vars.0));
        if let (Some(name), Some(value)) = (&c.iter_var2, vars.1) {
            self.scopes.push((name.clone(), value));
        }
        if !matches!(self.eval(&c.condition)?, Value::Bool(true)) {
            return Ok(false);
        }
        let logical = matches!(&c.step.kind, Kind::Call { function, .. } if matches!(&**function, "_||_" | "_&&_"));
        self.scopes[accu].1 = match self.eval(&c.step) {
            Err(EvalError::Failed(message)) if logical => Value::Failed(message.into()),
            next => next?,
        };
        Ok(true)
    }
}

fn constant<'a>(literal: &Literal) -> Value<'a> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(b) => Value::Bool(*b),
        Literal::Int(i) => Value::Int(*i),
        Literal::Uint(u) => Value::Uint(*u),
        Literal::Double(d) => Value::Double(*d),
        Literal::String(s) => Value::String(Str::Shared(s.clone())),
        Literal::Bytes(b) => Value::Bytes(b.clone()),
    }
}
