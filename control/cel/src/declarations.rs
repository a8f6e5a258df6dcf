//! Every function of the language and its libraries, with the types it takes and gives: what kube-apiserver v1.36 offers.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub struct Overload {
    /// Its name in cel-go, which costs go by.
    pub id: &'static str,
    /// Whether the first argument stands before the dot.
    pub member: bool,
    /// What it takes.
    pub args: Vec<Type>,
    /// What it gives.
    pub result: Type,
}

/// The overloads of a function.
pub fn function(name: &str) -> Option<&'static [Overload]> {
    FUNCTIONS.get(name).map(Vec::as_slice)
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut functions: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for line in TABLE.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
        if let Some((name, overload)) = parse(line) {
            functions.entry(name).or_default().push(overload);
        }
    }
    functions
});

/// `id target::name(args) -> result`
fn parse(line: &'static str) -> Option<(&'static str, Overload)> {
    let (id, rest) = line.trim().split_once(' ')?;
    let (call, result) = rest.split_once(" -> ")?;
    let (target, call) = match call.split_once("::") {
        Some((target, call)) => (Some(target.trim()), call),
        None => (None, call.trim()),
    };
    let (name, args) = call.trim().split_once('(')?;
    let mut types: Vec<Type> = target.map(Type::parse).into_iter().collect();
    types.extend(split(args.strip_suffix(')')?).into_iter().map(Type::parse));
    Some((name, Overload { id, member: target.is_some(), args: types, result: Type::parse(result) }))
}

/// At the commas outside brackets.
fn split(args: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in args.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&args[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !args[start..].trim().is_empty() {
        parts.push(&args[start..]);
    }
    parts
}

const TABLE: &str = include_str!("declarations.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_declaration() {
        for line in TABLE.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
            assert!(parse(line).is_some(), "{line}");
        }
    }
}
