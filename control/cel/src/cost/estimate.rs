//! What an expression may cost at most, from the sizes that its schema allows.

use std::collections::HashMap;
use std::sync::Arc;

use super::{REGEX, STRING};
use crate::ast::{Comprehension, Expr, Id, Kind, Literal};
use crate::check::Checked;
use crate::decl::{DeclKind, DeclType};
use crate::types::Type;

/// A span of costs or sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl Span {
    const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    fn fixed(n: u64) -> Self {
        Self { min: n, max: n }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn by(self, factor: f64) -> Self {
        let scaled = |n: u64| {
            let product = n as f64 * factor;
            if product.ceil() >= 18_446_744_073_709_551_616.0 { u64::MAX } else { product.ceil() as u64 }
        };
        Self { min: scaled(self.min), max: scaled(self.max) }
    }

    fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// The most that an expression can cost. `roots` are the variables whose sizes a declared type bounds.
pub fn estimate(checked: &Checked, roots: &[(&str, &DeclType)]) -> Span {
    let mut coster = Coster {
        checked,
        roots,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    coster.cost(&checked.ast.root)
}

#[derive(Clone)]
struct Local {
    name: Arc<str>,
    path: Vec<String>,
    size: Option<Span>,
    entry: Option<(Span, Span)>,
}

struct Coster<'a> {
    checked: &'a Checked,
    roots: &'a [(&'a str, &'a DeclType)],
    paths: HashMap<Id, Vec<String>>,
    sizes: HashMap<Id, Span>,
    /// Sizes of keys and values of lists and maps that the expression makes.
    entries: HashMap<Id, (Span, Span)>,
    locals: Vec<Local>,
}

impl Coster<'_> {
    fn cost(&mut self, expr: &Expr) -> Span {
        match &expr.kind {
            Kind::Literal(_) => Span::default(),
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.to_string()], |l| l.path.clone());
                self.paths.insert(expr.id, path);
                Span::fixed(1)
            }
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { target, function, args } => self.call(expr, target.as_deref(), function, args),
            Kind::List { elements, .. } => {
                let mut sum = Span::fixed(10);
                let mut item = Span { min: if elements.is_empty() { 0 } else { u64::MAX }, max: 0 };
                for element in elements {
                    sum = sum.plus(self.cost(element));
                    item = item.union(self.size_or_unknown(element));
                }
                self.entries.insert(expr.id, (Span::fixed(1), item));
                sum
            }
            Kind::Map(entries) => {
                let mut sum = Span::fixed(30);
                let none = Span { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
                let (mut keys, mut values) = (none, none);
                for entry in entries {
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    keys = keys.union(self.size_or_unknown(&entry.key));
                    values = values.union(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, (keys, values));
                sum
            }
            Kind::Struct { fields, .. } => {
                fields.iter().fold(Span::fixed(40), |sum, entry| sum.plus(self.cost(&entry.value)))
            }
            Kind::Comprehension(c) if is_bind(c) => {
                let sum = self.cost(&c.range).plus(self.cost(&c.init));
                self.push_local(&c.accu_var, &c.init);
                let sum = sum.plus(self.cost(&c.result));
                self.locals.pop();
                self.copy_sizes(expr.id, &c.result);
                sum
            }
            Kind::Comprehension(c) => self.fold(expr, c),
        }
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> Span {
        let mut sum = self.cost(operand);
        if test {
            return sum;
        }
        if matches!(self.type_of(operand), Type::Map(..) | Type::Object(_) | Type::Var(_)) {
            sum = sum.plus(Span::fixed(1));
        }
        let mut path = self.path(operand);
        path.push(field.to_owned());
        self.paths.insert(expr.id, path);
        sum
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> Span {
        if let ("dyn", [arg]) = (function, args) {
            let cost = self.cost(arg).plus(Span::fixed(1));
            self.copy_sizes(expr.id, arg);
            return cost;
        }
        let costs: Vec<Span> = args.iter().map(|a| self.cost(a)).collect();
        let base = target.map_or(Span::default(), |t| self.cost(t));
        let overloads = &self.checked.overloads[expr.id as usize];
        let mut cost = Span { min: u64::MAX, max: 0 };
        let mut result: Option<Span> = None;
        for overload in overloads {
            let (own, size) = self.function(expr, function, overload, target, args, &costs);
            cost = cost.union(own);
            result = match (result, size) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            if matches!(*overload, "index_list" | "index_map")
                && let Some(first) = args.first()
            {
                result = self.entry_of(first).map(|(_, value)| value);
                let mut path = self.path(first);
                path.push(if *overload == "index_list" { "@items" } else { "@values" }.to_owned());
                self.paths.insert(expr.id, path);
            }
            if result.is_none() {
                result = self.size(expr);
            }
        }
        if overloads.is_empty() {
            return Span::default();
        }
        if let Some(size) = result {
            self.sizes.insert(expr.id, size);
        }
        base.plus(cost)
    }

    /// The cost of a call and the size of what it gives.
    fn function(
        &mut self,
        expr: &Expr,
        function: &str,
        overload: &str,
        target: Option<&Expr>,
        args: &[Expr],
        costs: &[Span],
    ) -> (Span, Option<Span>) {
        let sum = costs.iter().fold(Span::default(), |a, b| a.plus(*b));
        let size = |c: &mut Self, n: usize| args.get(n).map_or(Span::UNKNOWN, |a| c.size_or_unknown(a));
        let of_target = |c: &mut Self| target.map_or(Span::UNKNOWN, |t| c.size_or_unknown(t));
        let one = Span::fixed(1);
        let (own, result) = match function {
            "check" => (Span::fixed(350_000), None),
            "fieldSelector" | "labelSelector" => {
                let sz = size(self, 0);
                (Span::fixed(10).plus(sz.by(STRING)).plus(sz.by(0.5).by(50.0)), None)
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" if target.is_some() => {
                let list = of_target(self);
                match target.and_then(|t| self.element(t)) {
                    Some((Type::String | Type::Bytes, element)) => (list.times(one.plus(element.by(STRING))), None),
                    Some(_) => (list, None),
                    None => (list.by(STRING), None),
                }
            }
            "sort" | "@sortByAssociatedKeys" | "distinct" if target.is_some() => {
                let list = if args.is_empty() { of_target(self) } else { size(self, 0) };
                let texts = overload.starts_with("list_string") || overload.starts_with("list_bytes");
                let (pairs, factor) = (list.times(list), if texts { 2.0 + STRING } else { 2.0 });
                (pairs.by(factor).plus(NEW_LIST), Some(pairs))
            }
            "flatten" | "reverse" if target.is_some() => {
                let (list, depth) = (of_target(self), args.first().map_or(1, |depth| integer(depth, u64::MAX)));
                (list.by(depth as f64).plus(NEW_LIST), Some(list))
            }
            "slice" if args.len() == 2 => {
                let most = of_target(self).max;
                let length = Span::fixed(integer(&args[1], most).wrapping_sub(integer(&args[0], 0)));
                (length.plus(NEW_LIST), Some(length))
            }
            "sets.contains" | "sets.intersects" => (size(self, 0).times(size(self, 1)).plus(one), None),
            "sets.equivalent" => {
                let pairs = size(self, 0).times(size(self, 1));
                (pairs.plus(pairs).plus(one), None)
            }
            "lists.range" if args.len() == 1 => {
                let length = Span::fixed(integer(&args[0], u64::MAX));
                (length.plus(NEW_LIST), Some(length))
            }
            "url" | "jsonpatch.escapeKey" => (size(self, 0).by(STRING), Some(size(self, 0))),
            "lowerAscii" | "upperAscii" | "substring" | "trim" if target.is_some() => {
                let sz = of_target(self);
                (sz.by(STRING), Some(sz))
            }
            "replace" if args.len() >= 2 => {
                let (sz, from, to) = (of_target(self), size(self, 0), size(self, 1));
                (sz.by(2.0 * STRING), Some(replaced(sz, from, to)))
            }
            "split" if target.is_some() => {
                let sz = of_target(self);
                let most = match args.get(1).map(|a| &a.kind) {
                    Some(Kind::Literal(Literal::Int(n))) => *n as u64,
                    _ => sz.max,
                };
                (sz.by(2.0 * STRING), Some(Span { min: 0, max: most }))
            }
            "join" if target.is_some() => {
                let list = of_target(self);
                let mut sz = target.and_then(|t| self.element(t)).map_or(Span::default(), |(_, e)| list.times(e));
                if !args.is_empty() {
                    let between = Span { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
                    sz = sz.plus(size(self, 0).times(between));
                }
                (sz.by(STRING), Some(sz))
            }
            "find" | "findAll" if target.is_some() => {
                let sz = of_target(self);
                let cost = sz.plus(one).by(STRING).times(size(self, 0).by(REGEX));
                (cost, Some(Span { min: 0, max: sz.max }))
            }
            "ip" if overload == "cidr_ip" => (one, None),
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                (size(self, 0).by(STRING), None)
            }
            "ip.isCanonical" => (size(self, 0).by(2.0 * STRING), None),
            "containsIP" | "containsCIDR" => {
                let sz = Span { min: 4, max: 16 };
                let mut cost = sz.plus(sz).by(STRING);
                if function == "containsCIDR" {
                    cost = cost.plus(sz.by(STRING)).plus(one);
                }
                if overload.ends_with("_string") {
                    cost = cost.plus(size(self, 0).by(STRING));
                }
                (cost, None)
            }
            "validate" => (size(self, 0).by(STRING).by(128.0 * REGEX), None),
            _ => match overload {
                "string_format" => (of_target(self).by(STRING), None),
                "string_to_bytes" => {
                    let sz = size(self, 0);
                    (sz.by(STRING), Some(Span { min: sz.min, max: sz.max.saturating_mul(4) }))
                }
                "bytes_to_string" => {
                    let sz = size(self, 0);
                    (sz.by(STRING), Some(Span { min: sz.min / 4, max: sz.max }))
                }
                // cel-go knows no bound here and so refuses messages with numbers; a number has few digits.
                "int64_to_string"
                | "uint64_to_string"
                | "double_to_string"
                | "bool_to_string"
                | "duration_to_string"
                | "timestamp_to_string" => (one, Some(Span { min: 1, max: 64 })),
                "strings_quote" => {
                    let sz = size(self, 0);
                    let most = sz.max.saturating_mul(2).saturating_add(2);
                    (sz.by(STRING), Some(Span { min: sz.min + 2, max: most }))
                }
                "starts_with_string" | "ends_with_string" => (size(self, 0).by(STRING), None),
                "in_list" => (size(self, 1), None),
                "matches_string" => (of_target(self).plus(one).by(STRING).times(size(self, 0).by(REGEX)), None),
                "contains_string" => (of_target(self).by(STRING).times(size(self, 0).by(STRING)), None),
                "logical_or" | "logical_and" => {
                    let [a, b] = [costs[0], costs[1]];
                    return (Span { min: a.min, max: a.plus(b).max }, None);
                }
                "conditional" => {
                    let size = size(self, 1).union(size(self, 2));
                    if let (Some((k, v)), Some((l, w))) = (self.entry_of(&args[1]), self.entry_of(&args[2])) {
                        self.entries.insert(expr.id, (k.union(l), v.union(w)));
                    }
                    return (costs[0].plus(costs[1].union(costs[2])), Some(size));
                }
                "add_string" | "add_bytes" | "add_list" => {
                    let result = size(self, 0).plus(size(self, 1));
                    if let (Some((k, v)), Some((l, w))) = (self.entry_of(&args[0]), self.entry_of(&args[1])) {
                        self.entries.insert(expr.id, (k.union(l), v.union(w)));
                    }
                    let own = if overload == "add_list" { one } else { result.by(STRING) };
                    (own, Some(result))
                }
                "equals" if self.is_opaque(&args[0]) => (one, None),
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes"
                | "equals"
                | "not_equals" => {
                    let most = size(self, 0).max.min(size(self, 1).max);
                    (Span { min: u64::from(most > 0), max: most }.by(STRING), None)
                }
                _ => (one, None),
            },
        };
        (own.plus(sum), result)
    }

    fn fold(&mut self, expr: &Expr, c: &Comprehension) -> Span {
        let sum = self.cost(&c.range).plus(self.cost(&c.init));
        let depth = self.locals.len();
        self.push_local(&c.accu_var, &c.init);
        let entry = self.entry_of(&c.range);
        let path = self.path(&c.range);
        let is_list = matches!(self.type_of(&c.range), Type::List(_));
        let mut push = |name: &Arc<str>, part: &str, size: Option<Span>| {
            let mut path = path.clone();
            path.push(part.to_owned());
            self.locals.push(Local { name: name.clone(), path, size, entry: None });
        };
        let (key, value) = (entry.map(|e| e.0), entry.map(|e| e.1));
        match &c.iter_var2 {
            Some(second) => {
                push(&c.iter_var, if is_list { "@indices" } else { "@keys" }, key);
                push(second, if is_list { "@items" } else { "@values" }, value);
            }
            None if is_list => push(&c.iter_var, "@items", value),
            None => push(&c.iter_var, "@keys", key),
        }
        let step = self.cost(&c.condition).plus(self.cost(&c.step));
        let step_entry = self.entry_of(&c.step);
        self.locals.truncate(depth + 1);
        let sum = sum.plus(self.cost(&c.result));
        self.locals.truncate(depth);
        let count = self.size_or_unknown(&c.range);
        match &c.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&c.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List { .. } | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entry) = step_entry {
                    self.entries.insert(expr.id, entry);
                }
            }
            _ => {}
        }
        sum.plus(count.times(step))
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|l| &*l.name == name)
    }

    fn push_local(&mut self, name: &Arc<str>, value: &Expr) {
        let (path, size, entry) = (self.path(value), self.size(value), self.entry_of(value));
        self.locals.push(Local { name: name.clone(), path, size, entry });
    }

    fn copy_sizes(&mut self, to: Id, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to, size);
        }
        if let Some(entry) = self.entry_of(from) {
            self.entries.insert(to, entry);
        }
    }

    fn type_of(&self, expr: &Expr) -> &Type {
        &self.checked.types[expr.id as usize]
    }

    fn is_opaque(&self, expr: &Expr) -> bool {
        matches!(self.type_of(expr), Type::Object(name) if name.starts_with("kubernetes.") || name.starts_with("net."))
    }

    fn path(&self, expr: &Expr) -> Vec<String> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn entry_of(&self, expr: &Expr) -> Option<(Span, Span)> {
        self.entries.get(&expr.id).copied().or_else(|| match &expr.kind {
            Kind::Ident(name) => self.local(name)?.entry,
            _ => None,
        })
    }

    /// The type of a list's elements and their size.
    fn element(&self, list: &Expr) -> Option<(Type, Span)> {
        let Type::List(item) = self.type_of(list) else { return None };
        let mut path = self.path(list);
        let size = match path.is_empty() {
            true => Span::UNKNOWN,
            false => {
                path.push("@items".into());
                self.declared(&path).unwrap_or(Span::UNKNOWN)
            }
        };
        Some(((**item).clone(), size))
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Span {
        self.size(expr).unwrap_or(Span::UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Span> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        match &expr.kind {
            Kind::Literal(Literal::String(s)) => return Some(Span::fixed(s.chars().count() as u64)),
            Kind::Literal(Literal::Bytes(b)) => return Some(Span::fixed(b.len() as u64)),
            Kind::Literal(_) => return Some(Span::fixed(1)),
            Kind::List { elements, .. } => return Some(Span::fixed(elements.len() as u64)),
            Kind::Map(entries) => return Some(Span::fixed(entries.len() as u64)),
            _ => {}
        }
        let path = self.path(expr);
        if let Some(size) = self.declared(&path) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.type_of(expr)) {
            return Some(Span::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    /// What the declared type at a path allows.
    fn declared(&self, path: &[String]) -> Option<Span> {
        let (root, rest) = path.split_first()?;
        let mut decl = self.roots.iter().find(|(name, _)| name == root)?.1;
        for part in rest {
            decl = match (part.as_str(), &decl.kind) {
                ("@items", DeclKind::List { item, .. }) | ("@values", DeclKind::Map(item)) => item,
                ("@keys", DeclKind::Map(_)) => return Some(Span::default()),
                (name, DeclKind::Object { fields, .. }) => &fields.get(name)?.decl,
                _ => return None,
            };
        }
        Some(Span { min: 0, max: decl.max_elements.max(0) as u64 })
    }
}

/// What a call costs that makes a list, without its elements.
const NEW_LIST: Span = Span { min: 11, max: 11 };

/// A literal of a natural number, or what else it may be.
fn integer(expr: &Expr, otherwise: u64) -> u64 {
    match &expr.kind {
        Kind::Literal(Literal::Int(n)) => u64::try_from(*n).unwrap_or(0),
        _ => otherwise,
    }
}

fn is_bind(c: &Comprehension) -> bool {
    matches!(&c.condition.kind, Kind::Literal(Literal::Bool(false)))
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint | Type::Type(_) => true,
        Type::Optional(inner) => is_scalar(inner),
        _ => false,
    }
}

/// The size of `replace(from, to)`.
fn replaced(sz: Span, from: Span, to: Span) -> Span {
    let (mut count, mut kept) = (Span::default(), Span::default());
    if from.min == 0 {
        count.max = sz.max.saturating_add(1);
        kept.max = sz.max;
    } else if to.max <= from.min {
        kept.max = sz.max;
    } else {
        count.max = sz.max.div_ceil(from.min);
    }
    if from.max == 0 {
        count.min = sz.min.saturating_add(1);
        kept.min = sz.min;
    } else if from.max <= to.min {
        kept.min = sz.min;
    } else {
        count.min = sz.min.div_ceil(from.max);
    }
    count.times(to).plus(kept)
}
