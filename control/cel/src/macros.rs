//! Macros become folds while parsing, step by step as cel-go's do, because costs count these steps.

use std::sync::Arc;

use crate::ast::{Comprehension, Expr, Kind, Literal};
use crate::issue::Issue;
use crate::parser::Parser;

/// The accumulator of the folds; no expression can name it.
pub const ACCUMULATOR: &str = "@result";
/// The variable of folds that only bind a name.
pub const UNUSED: &str = "#unused";

/// `name(args)`
pub fn global(p: &mut Parser, at: u32, name: &str, mut args: Vec<Expr>) -> Result<Expr, Issue> {
    if name == "has" && args.len() == 1 {
        return match args.remove(0) {
            Expr { kind: Kind::Select { operand, field, test: false }, .. } => {
                Ok(p.node(at, Kind::Select { operand, field, test: true }))
            }
            other => Err(Issue { offset: p.position(&other), message: "invalid argument to has() macro".into() }),
        };
    }
    Ok(p.call(at, None, name, args))
}

/// `target.name(args)`
pub fn member(p: &mut Parser, at: u32, target: Expr, name: &str, mut args: Vec<Expr>) -> Result<Expr, Issue> {
    match (name, args.len()) {
        ("all" | "exists" | "exists_one" | "existsOne" | "filter" | "map" | "optMap" | "optFlatMap" | "sortBy", 2) => {
            let body = args.remove(1);
            let offset = p.position(&args[0]);
            // Two arguments of which the first is no name is a call of the function, where there is one.
            let message = match name {
                "filter" => "argument is not an identifier",
                "optMap" => "optMap() variable name must be a simple identifier",
                "optFlatMap" => "optFlatMap() variable name must be a simple identifier",
                "sortBy" => "sortBy can only be called on a list, with a simple identifier as its first argument",
                _ => "argument must be a simple name",
            };
            let var = simple_name(&args[0]).ok_or_else(|| Issue { offset, message: message.into() })?;
            Ok(one_variable(p, at, target, name, var, body))
        }
        ("map", 3) => {
            let (transform, filter) = (args.remove(2), args.remove(1));
            let offset = p.position(&args[0]);
            let message = "argument is not an identifier".to_owned();
            let var = simple_name(&args[0]).ok_or(Issue { offset, message })?;
            Ok(map(p, at, target, [var, UNUSED.into()], false, transform, Some(filter)))
        }
        (
            "all" | "exists" | "exists_one" | "existsOne" | "transformList" | "transformMap" | "transformMapEntry",
            3 | 4,
        ) if args.len() == 3 || name.starts_with("transform") => {
            let body: Vec<Expr> = args.split_off(2);
            let vars = [variable(p, &args[0])?, variable(p, &args[1])?];
            if vars[0] == vars[1] {
                let message = format!("duplicate variable name: {}", vars[1]);
                return Err(Issue { offset: p.position(&args[1]), message });
            }
            Ok(two_variables(p, at, target, name, vars, body))
        }
        _ => Ok(p.call(at, Some(target), name, args)),
    }
}

fn simple_name(expr: &Expr) -> Option<Arc<str>> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.clone()),
        _ => None,
    }
}

fn variable(p: &Parser, expr: &Expr) -> Result<Arc<str>, Issue> {
    simple_name(expr)
        .ok_or_else(|| Issue { offset: p.position(expr), message: "argument must be a simple name".into() })
}

fn one_variable(p: &mut Parser, at: u32, target: Expr, name: &str, var: Arc<str>, body: Expr) -> Expr {
    let vars = [var.clone(), UNUSED.into()];
    match name {
        "all" => all(p, at, target, vars, false, body),
        "exists" => exists(p, at, target, vars, false, body),
        "exists_one" | "existsOne" => exists_one(p, at, target, vars, false, body),
        "map" => map(p, at, target, vars, false, body, None),
        "filter" => {
            let element = p.node(at, Kind::Ident(var));
            map(p, at, target, vars, false, element, Some(body))
        }
        "sortBy" => {
            let input: Arc<str> = "@__sortBy_input__".into();
            let list = p.node(at, Kind::Ident(input.clone()));
            let keys = map(p, at, list, vars, false, body, None);
            let list = p.node(at, Kind::Ident(input.clone()));
            let sorted = p.call(at, Some(list), "@sortByAssociatedKeys", vec![keys]);
            bind(p, at, input, target, sorted)
        }
        _ => optional_map(p, at, target, var, body, name == "optMap"),
    }
}

fn two_variables(p: &mut Parser, at: u32, target: Expr, name: &str, vars: [Arc<str>; 2], mut body: Vec<Expr>) -> Expr {
    let last = body.pop();
    let filter = body.pop();
    let Some(last) = last else { return target };
    match name {
        "all" => all(p, at, target, vars, true, last),
        "exists" => exists(p, at, target, vars, true, last),
        "exists_one" | "existsOne" => exists_one(p, at, target, vars, true, last),
        "transformList" => map(p, at, target, vars, true, last, filter),
        _ => {
            let init = p.node(at, Kind::Map(Vec::new()));
            let accu = accumulator(p, at);
            let mut args = vec![accu];
            if name == "transformMap" {
                args.push(p.node(at, Kind::Ident(vars[0].clone())));
            }
            args.push(last);
            let insert = p.call(at, None, "cel.@mapInsert", args);
            let step = filtered(p, at, filter, insert);
            let condition = p.node(at, Kind::Literal(Literal::Bool(true)));
            let result = accumulator(p, at);
            fold(p, at, target, vars, true, [init, condition, step, result])
        }
    }
}

fn accumulator(p: &mut Parser, at: u32) -> Expr {
    p.node(at, Kind::Ident(ACCUMULATOR.into()))
}

fn fold(p: &mut Parser, at: u32, range: Expr, vars: [Arc<str>; 2], two: bool, parts: [Expr; 4]) -> Expr {
    let [init, condition, step, result] = parts;
    let [iter_var, second] = vars;
    let iter_var2 = two.then_some(second);
    let accu_var = ACCUMULATOR.into();
    let all = Comprehension { iter_var, iter_var2, range, accu_var, init, condition, step, result };
    p.node(at, Kind::Comprehension(Box::new(all)))
}

fn all(p: &mut Parser, at: u32, range: Expr, vars: [Arc<str>; 2], two: bool, body: Expr) -> Expr {
    let init = p.node(at, Kind::Literal(Literal::Bool(true)));
    let accu = accumulator(p, at);
    let condition = p.call(at, None, "@not_strictly_false", vec![accu]);
    let accu = accumulator(p, at);
    let step = p.call(at, None, "_&&_", vec![accu, body]);
    let result = accumulator(p, at);
    fold(p, at, range, vars, two, [init, condition, step, result])
}

fn exists(p: &mut Parser, at: u32, range: Expr, vars: [Arc<str>; 2], two: bool, body: Expr) -> Expr {
    let init = p.node(at, Kind::Literal(Literal::Bool(false)));
    let accu = accumulator(p, at);
    let not = p.call(at, None, "!_", vec![accu]);
    let condition = p.call(at, None, "@not_strictly_false", vec![not]);
    let accu = accumulator(p, at);
    let step = p.call(at, None, "_||_", vec![accu, body]);
    let result = accumulator(p, at);
    fold(p, at, range, vars, two, [init, condition, step, result])
}

fn exists_one(p: &mut Parser, at: u32, range: Expr, vars: [Arc<str>; 2], two: bool, body: Expr) -> Expr {
    let init = p.node(at, Kind::Literal(Literal::Int(0)));
    let condition = p.node(at, Kind::Literal(Literal::Bool(true)));
    let accu = accumulator(p, at);
    let one = p.node(at, Kind::Literal(Literal::Int(1)));
    let more = p.call(at, None, "_+_", vec![accu, one]);
    let step = filtered(p, at, Some(body), more);
    let accu = accumulator(p, at);
    let one = p.node(at, Kind::Literal(Literal::Int(1)));
    let result = p.call(at, None, "_==_", vec![accu, one]);
    fold(p, at, range, vars, two, [init, condition, step, result])
}

fn map(
    p: &mut Parser,
    at: u32,
    range: Expr,
    vars: [Arc<str>; 2],
    two: bool,
    transform: Expr,
    filter: Option<Expr>,
) -> Expr {
    let init = p.node(at, Kind::List { elements: Vec::new(), optional: Vec::new() });
    let condition = p.node(at, Kind::Literal(Literal::Bool(true)));
    let accu = accumulator(p, at);
    let element = p.node(at, Kind::List { elements: vec![transform], optional: Vec::new() });
    let more = p.call(at, None, "_+_", vec![accu, element]);
    let step = filtered(p, at, filter, more);
    let result = accumulator(p, at);
    fold(p, at, range, vars, two, [init, condition, step, result])
}

fn filtered(p: &mut Parser, at: u32, filter: Option<Expr>, step: Expr) -> Expr {
    match filter {
        None => step,
        Some(filter) => {
            let accu = accumulator(p, at);
            p.call(at, None, "_?_:_", vec![filter, step, accu])
        }
    }
}

/// A name for a value within `result`.
fn bind(p: &mut Parser, at: u32, name: Arc<str>, value: Expr, result: Expr) -> Expr {
    let range = p.node(at, Kind::List { elements: Vec::new(), optional: Vec::new() });
    let condition = p.node(at, Kind::Literal(Literal::Bool(false)));
    let step = p.node(at, Kind::Ident(name.clone()));
    let all = Comprehension {
        iter_var: UNUSED.into(),
        iter_var2: None,
        range,
        accu_var: name,
        init: value,
        condition,
        step,
        result,
    };
    p.node(at, Kind::Comprehension(Box::new(all)))
}

/// `target.optMap(var, body)`. The target is bound to a name first: standing twice in the tree it would double with each call of
/// a chain.
fn optional_map(p: &mut Parser, at: u32, target: Expr, var: Arc<str>, body: Expr, wraps: bool) -> Expr {
    let name: Arc<str> = "@target".into();
    let ident = |p: &mut Parser, name: &str| p.node(at, Kind::Ident(name.into()));
    let bound_target = ident(p, &name);
    let has_value = p.call(at, Some(bound_target), "hasValue", vec![]);
    let bound_target = ident(p, &name);
    let value = p.call(at, Some(bound_target), "value", vec![]);
    let bound = bind(p, at, var, value, body);
    let some = if wraps {
        let namespace = ident(p, "optional");
        p.call(at, Some(namespace), "of", vec![bound])
    } else {
        bound
    };
    let namespace = ident(p, "optional");
    let none = p.call(at, Some(namespace), "none", vec![]);
    let chosen = p.call(at, None, "_?_:_", vec![has_value, some, none]);
    bind(p, at, name, target, chosen)
}
