//! Regular expressions: RE2's syntax, linear in the text, bounded in what they compile to. A constant of a program is compiled once.

use std::collections::HashMap;
use std::sync::Arc;

use orlop_schema::structural::{Pattern, PatternError};

use super::operators::texts;
use crate::ast::{Kind, Literal};
use crate::program::nodes;
use crate::value::{Evaluated, Value, failed, no_overload};
use crate::work;

/// The functions that take an expression, as their last argument but for a limit.
pub fn takes_pattern(function: &str) -> bool {
    matches!(function, "matches" | "find" | "findAll")
}

/// So many that are no constants are kept while a program runs.
const KEPT: usize = 32;

/// The constant expressions of a program.
pub fn constants(root: &crate::ast::Expr) -> HashMap<Arc<str>, Pattern> {
    let mut patterns = HashMap::new();
    for (expr, _) in nodes(root) {
        let Kind::Call { function, args, .. } = &expr.kind else { continue };
        for arg in args.iter().filter(|_| takes_pattern(function)) {
            if let Kind::Literal(Literal::String(text)) = &arg.kind {
                patterns.entry(text.clone()).or_insert_with(|| Pattern::new(text));
            }
        }
    }
    patterns
}

/// The expressions that a program uses.
pub struct Patterns<'p> {
    constants: &'p HashMap<Arc<str>, Pattern>,
    others: HashMap<Box<str>, Pattern>,
}

impl<'p> Patterns<'p> {
    /// Of a program.
    pub fn new(constants: &'p HashMap<Arc<str>, Pattern>) -> Self {
        Self { constants, others: HashMap::new() }
    }

    fn get(&mut self, source: &str) -> Pattern {
        if let Some(found) = self.constants.get(source).or_else(|| self.others.get(source)) {
            return found.clone();
        }
        if self.others.len() == KEPT {
            self.others.clear();
        }
        // Repetitions and classes compile to more than one sees.
        let larger = if source.contains(['{', '\\']) { 16 } else { 1 };
        work::spend(work::PATTERN * larger);
        self.others.entry(source.into()).or_insert_with(|| Pattern::new(source)).clone()
    }

    /// Calls one of the functions.
    pub fn call<'a>(&mut self, function: &str, args: &[Value<'a>]) -> Evaluated<Value<'a>> {
        let [Value::String(text), Value::String(source), rest @ ..] = args else { return no_overload() };
        let pattern = self.get(source);
        let regex = match pattern.regex() {
            Ok(regex) => regex,
            Err(error) => return failed(unparsable(function, &error)),
        };
        Ok(match function {
            "matches" => Value::Bool(regex.is_match(text)),
            "find" => Value::string(regex.find(text).map_or("", |m| m.as_str())),
            _ => {
                let limit = match rest {
                    [Value::Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                    _ => usize::MAX,
                };
                let found = regex.find_iter(text).take(limit).take_while(|_| work::spend(work::ELEMENT));
                texts(found.map(|m| m.as_str()))
            }
        })
    }
}

fn unparsable(function: &str, error: &PatternError) -> String {
    match function {
        "matches" => error.to_string(),
        _ => format!("Illegal regex: {error}"),
    }
}
