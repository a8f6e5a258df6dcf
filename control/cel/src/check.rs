//! The type check: every name, field and function must exist and every operand fit, as cel-go's checker decides and says it.

use std::sync::Arc;

use orlop_schema::structural::Pattern;

use crate::ast::{Ast, Comprehension, Entry, Expr, Kind, Literal};
use crate::declarations::{self, Overload};
use crate::issue::{Issue, Issues};
use crate::types::{Fields, Type};

/// What a type check finds.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The tree, with qualified function names resolved.
    pub ast: Ast,
    /// The type of each node.
    pub types: Vec<Type>,
    /// The overloads that each call may take.
    pub overloads: Vec<Vec<&'static str>>,
    /// The variables it names.
    pub idents: Vec<Arc<str>>,
}

impl Checked {
    /// The type of the whole.
    pub fn output(&self) -> &Type {
        &self.types[self.ast.root.id as usize]
    }
}

/// Checks an expression against the variables and objects that there are.
pub fn check(ast: Ast, variables: &[(Arc<str>, Type)], fields: &dyn Fields) -> Result<Checked, Issues> {
    let count = ast.positions.len();
    let mut checker = Checker {
        positions: &ast.positions,
        fields,
        scopes: variables.to_vec(),
        globals: variables.len(),
        bindings: Vec::new(),
        trail: Vec::new(),
        types: vec![Type::Dyn; count],
        overloads: vec![Vec::new(); count],
        idents: Vec::new(),
        issues: Vec::new(),
    };
    let mut root = ast.root.clone();
    checker.check(&mut root);
    let issues = std::mem::take(&mut checker.issues);
    if !issues.is_empty() {
        return Err(Issues::new(&ast.source, issues));
    }
    let types = checker.types.iter().map(|t| checker.substitute(t, true)).collect();
    let (overloads, idents) = (checker.overloads, checker.idents);
    Ok(Checked { ast: Ast { root, ..ast }, types, overloads, idents })
}

struct Checker<'a> {
    positions: &'a [u32],
    fields: &'a dyn Fields,
    scopes: Vec<(Arc<str>, Type)>,
    globals: usize,
    bindings: Vec<Option<Type>>,
    trail: Vec<(u32, Option<Type>)>,
    types: Vec<Type>,
    overloads: Vec<Vec<&'static str>>,
    idents: Vec<Arc<str>>,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn issue(&mut self, id: u32, message: String) {
        let offset = self.positions.get(id as usize).copied().unwrap_or_default();
        self.issues.push(Issue { offset, message });
    }

    /// The overloads of a function. Patches are a language of mutating policies only.
    fn function(&self, name: &str) -> Option<&'static [Overload]> {
        declarations::function(name).filter(|_| !name.starts_with("jsonpatch.") || self.fields.constructs("JSONPatch"))
    }

    fn type_of(&self, expr: &Expr) -> Type {
        self.types[expr.id as usize].clone()
    }

    fn set(&mut self, expr: &Expr, ty: Type) {
        self.types[expr.id as usize] = ty;
    }

    fn new_var(&mut self) -> Type {
        self.bindings.push(None);
        Type::Var((self.bindings.len() - 1) as u32)
    }

    /// Replaces what was found; what was not is dynamic at the end.
    fn substitute(&self, ty: &Type, last: bool) -> Type {
        match ty {
            Type::Var(n) => match &self.bindings[*n as usize] {
                Some(bound) => self.substitute(bound, last),
                None if last => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(item) => Type::list(self.substitute(item, last)),
            Type::Map(key, value) => Type::map(self.substitute(key, last), self.substitute(value, last)),
            Type::Optional(inner) => Type::optional(self.substitute(inner, last)),
            Type::Type(inner) => Type::Type(Arc::new(self.substitute(inner, last))),
            other => other.clone(),
        }
    }

    fn assignable(&mut self, from: &Type, to: &Type) -> bool {
        let mark = self.trail.len();
        let fits = self.unify(from, to);
        if !fits {
            self.undo(mark);
        }
        fits
    }

    fn bind(&mut self, var: u32, ty: &Type) -> bool {
        if let Some(bound) = self.bindings[var as usize].clone() {
            if !self.unify(ty, &bound) {
                return false;
            }
            let general = self.most_general(ty, &bound);
            if !self.mentions(&general, var) {
                self.assign(var, general);
            }
            return true;
        }
        if self.mentions(ty, var) {
            return false;
        }
        self.assign(var, ty.clone());
        true
    }

    fn assign(&mut self, var: u32, ty: Type) {
        let before = self.bindings[var as usize].replace(ty);
        self.trail.push((var, before));
    }

    /// Takes back what was found since.
    fn undo(&mut self, mark: usize) {
        while self.trail.len() > mark {
            if let Some((var, before)) = self.trail.pop() {
                self.bindings[var as usize] = before;
            }
        }
    }

    fn mentions(&self, ty: &Type, var: u32) -> bool {
        match ty {
            Type::Var(n) if *n == var => true,
            Type::Var(n) => self.bindings[*n as usize].as_ref().is_some_and(|t| self.mentions(t, var)),
            Type::List(inner) | Type::Optional(inner) | Type::Type(inner) => self.mentions(inner, var),
            Type::Map(key, value) => self.mentions(key, var) || self.mentions(value, var),
            _ => false,
        }
    }

    fn unify(&mut self, from: &Type, to: &Type) -> bool {
        match (from, to) {
            (Type::Var(a), Type::Var(b)) if a == b => true,
            (_, Type::Var(n)) => self.bind(*n, from),
            (Type::Var(n), _) => self.bind(*n, to),
            _ if from.is_dyn() || to.is_dyn() => true,
            (Type::Null, Type::Object(_) | Type::Optional(_) | Type::Duration | Type::Timestamp) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.unify(a, b),
            (Type::Map(k, v), Type::Map(l, w)) => self.unify(k, l) && self.unify(v, w),
            (Type::Type(_), Type::Type(_)) => true,
            _ => from == to,
        }
    }

    fn most_general(&self, a: &Type, b: &Type) -> Type {
        if self.is_at_least_as_general(a, b) { a.clone() } else { b.clone() }
    }

    fn is_at_least_as_general(&self, a: &Type, b: &Type) -> bool {
        match (a, b) {
            (Type::Dyn | Type::Error | Type::Var(_), _) => true,
            (_, Type::Dyn | Type::Error | Type::Var(_)) => false,
            (Type::List(x), Type::List(y)) | (Type::Optional(x), Type::Optional(y)) => {
                self.is_at_least_as_general(x, y)
            }
            (Type::Map(k, v), Type::Map(l, w)) => {
                self.is_at_least_as_general(k, l) && self.is_at_least_as_general(v, w)
            }
            (Type::Null, _) => false,
            _ => true,
        }
    }

    fn check(&mut self, expr: &mut Expr) {
        let ty = match &mut expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(name) => {
                let name = name.clone();
                self.ident(expr, &name)
            }
            Kind::Select { .. } => self.select(expr),
            Kind::Call { .. } => self.call(expr),
            Kind::List { elements, optional } => {
                let optional = std::mem::take(optional);
                let ty = self.list(elements, &optional);
                if let Kind::List { optional: own, .. } = &mut expr.kind {
                    *own = optional;
                }
                ty
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { .. } => self.construct(expr),
            Kind::Comprehension(comprehension) => self.comprehension(comprehension),
        };
        self.set(expr, ty);
    }

    fn lookup(&mut self, name: &str) -> Option<Type> {
        if let Some(at) = self.scopes.iter().rposition(|(n, _)| &**n == name) {
            let (name, ty) = self.scopes[at].clone();
            if at < self.globals && !self.idents.contains(&name) {
                self.idents.push(name);
            }
            return Some(ty);
        }
        type_named(name).map(|ty| Type::Type(Arc::new(ty)))
    }

    fn ident(&mut self, expr: &Expr, name: &str) -> Type {
        match self.lookup(name) {
            Some(ty) => ty,
            None => {
                self.issue(expr.id, format!("undeclared reference to '{name}' (in container '')"));
                Type::Error
            }
        }
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        if let Some(name) = expr.qualified_name()
            && (type_named(&name).is_some() || self.scopes[..self.globals].iter().any(|(n, _)| **n == *name))
        {
            expr.kind = Kind::Ident(name.as_str().into());
            return self.ident(expr, &name);
        }
        let id = expr.id;
        let Kind::Select { operand, field, test } = &mut expr.kind else { return Type::Error };
        let (field, test) = (field.clone(), *test);
        self.check(operand);
        let operand = self.type_of(operand);
        let ty = self.field(id, &operand, &field, false);
        if test { Type::Bool } else { ty }
    }

    fn field(&mut self, id: u32, operand: &Type, field: &str, optional: bool) -> Type {
        let operand = self.substitute(operand, false);
        let (target, is_optional) = match &operand {
            Type::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let found = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(name) => match self.fields.field(name, field) {
                Some(ty) => ty,
                None => {
                    self.issue(id, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Var(_) => {
                self.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                self.issue(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if is_optional || optional { Type::optional(found) } else { found }
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Call { target, function, args } = &mut expr.kind else { return Type::Error };
        if &**function == "_?._" {
            let [operand, field] = args.as_mut_slice() else { return Type::Error };
            self.check(operand);
            self.set(field, Type::String);
            let operand = self.type_of(operand);
            let Kind::Literal(Literal::String(name)) = &field.kind else { return Type::Error };
            let name = name.clone();
            self.overloads[id as usize] = vec!["select_optional_field"];
            return self.field(id, &operand, &name, true);
        }
        for arg in args.iter_mut() {
            self.check(arg);
        }
        if let Some(inner) = target {
            let qualified = inner.qualified_name().map(|prefix| format!("{prefix}.{function}"));
            match qualified.filter(|q| self.function(q).is_some() && !self.shadowed(inner)) {
                Some(name) => {
                    *function = name.into();
                    *target = None;
                }
                None => self.check(inner),
            }
        }
        let Some(overloads) = self.function(function) else {
            let message = format!("undeclared reference to '{function}' (in container '')");
            self.issue(id, message);
            return Type::Error;
        };
        let function = function.clone();
        let mut types: Vec<Type> = target.iter().map(|t| self.type_of(t)).collect();
        types.extend(args.iter().map(|a| self.type_of(a)));
        if matches!(&*function, "_&&_" | "_||_") {
            let mut fits = true;
            for (arg, ty) in args.iter().zip(&types) {
                if !self.assignable(ty, &Type::Bool) {
                    let found = self.substitute(ty, true);
                    self.issue(arg.id, format!("expected type 'bool' but found '{found}'"));
                    fits = false;
                }
            }
            self.overloads[id as usize] = vec![overloads[0].id];
            return if fits { Type::Bool } else { Type::Error };
        }
        if let Some(message) = invalid_literal(&function, args) {
            self.issue(args[args.len() - 1].id, message);
        }
        let member = target.is_some();
        match self.resolve(id, overloads, member, &types) {
            Some(ty) => ty,
            None => {
                let shown: Vec<String> = types.iter().map(|t| self.substitute(t, true).to_string()).collect();
                let signature = match (member, shown.split_first()) {
                    (true, Some((first, rest))) => format!("{first}.({})", rest.join(", ")),
                    _ => format!("({})", shown.join(", ")),
                };
                self.issue(id, format!("found no matching overload for '{function}' applied to '{signature}'"));
                Type::Error
            }
        }
    }

    /// Whether the first name of a qualified one is a variable of a macro.
    fn shadowed(&self, expr: &Expr) -> bool {
        match &expr.kind {
            Kind::Ident(name) => self.scopes[self.globals..].iter().any(|(n, _)| n == name),
            Kind::Select { operand, .. } => self.shadowed(operand),
            _ => false,
        }
    }

    fn resolve(&mut self, id: u32, overloads: &'static [Overload], member: bool, args: &[Type]) -> Option<Type> {
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|o| o.member == member && o.args.len() == args.len()) {
            let mut params: Vec<(char, Type)> = Vec::new();
            let wanted: Vec<Type> = overload.args.iter().map(|t| self.instantiate(t, &mut params)).collect();
            let mark = self.trail.len();
            if !args.iter().zip(&wanted).all(|(arg, want)| self.unify(arg, want)) {
                self.undo(mark);
                continue;
            }
            self.overloads[id as usize].push(overload.id);
            let ty = self.instantiate(&overload.result, &mut params);
            let ty = self.substitute(&ty, false);
            result = Some(match result {
                None => ty,
                Some(before) if before == ty => before,
                Some(_) => Type::Dyn,
            });
        }
        result
    }

    fn instantiate(&mut self, ty: &Type, params: &mut Vec<(char, Type)>) -> Type {
        match ty {
            Type::Param(name) => {
                if let Some((_, var)) = params.iter().find(|(n, _)| n == name) {
                    return var.clone();
                }
                let var = self.new_var();
                params.push((*name, var.clone()));
                var
            }
            Type::List(item) => Type::list(self.instantiate(item, params)),
            Type::Optional(inner) => Type::optional(self.instantiate(inner, params)),
            Type::Type(inner) => Type::Type(Arc::new(self.instantiate(inner, params))),
            Type::Map(key, value) => {
                let key = self.instantiate(key, params);
                Type::map(key, self.instantiate(value, params))
            }
            other => other.clone(),
        }
    }

    fn join(&mut self, expr: &Expr, before: Option<Type>, now: Type) -> Type {
        let Some(before) = before else { return now };
        if self.assignable(&before, &now) {
            let (before, now) = (self.substitute(&before, false), self.substitute(&now, false));
            return self.most_general(&before, &now);
        }
        let (expected, found) = (self.substitute(&before, true), self.substitute(&now, true));
        self.issue(expr.id, format!("expected type '{expected}' but found '{found}'"));
        Type::Error
    }

    fn list(&mut self, elements: &mut [Expr], optional: &[usize]) -> Type {
        let mut item = None;
        for (at, element) in elements.iter_mut().enumerate() {
            self.check(element);
            let mut ty = self.type_of(element);
            if optional.contains(&at) {
                ty = self.unwrapped(element, ty);
            }
            item = Some(self.join(element, item, ty));
        }
        let item = item.unwrap_or_else(|| self.new_var());
        Type::list(item)
    }

    fn unwrapped(&mut self, expr: &Expr, ty: Type) -> Type {
        match self.substitute(&ty, false) {
            Type::Optional(inner) => (*inner).clone(),
            other if other.is_dyn() => other,
            other => {
                let message = format!("expected type 'optional_type({other})' but found '{other}'");
                self.issue(expr.id, message);
                other
            }
        }
    }

    fn map(&mut self, entries: &mut [Entry]) -> Type {
        let (mut key, mut value) = (None, None);
        for entry in entries.iter_mut() {
            self.check(&mut entry.key);
            let ty = self.type_of(&entry.key);
            key = Some(self.join(&entry.key, key, ty));
            self.check(&mut entry.value);
            let mut ty = self.type_of(&entry.value);
            if entry.optional {
                ty = self.unwrapped(&entry.value, ty);
            }
            value = Some(self.join(&entry.value, value, ty));
        }
        let key = key.unwrap_or_else(|| self.new_var());
        let value = value.unwrap_or_else(|| self.new_var());
        Type::map(key, value)
    }

    fn construct(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let Kind::Struct { name, fields } = &mut expr.kind else { return Type::Error };
        let name = name.clone();
        if !self.fields.constructs(&name) {
            self.issue(id, format!("undeclared reference to '{name}' (in container '')"));
            return Type::Error;
        }
        for entry in fields.iter_mut() {
            self.check(&mut entry.value);
            let mut found = self.type_of(&entry.value);
            if entry.optional {
                found = self.unwrapped(&entry.value, found);
            }
            self.set(&entry.key, Type::String);
            let Kind::Literal(Literal::String(field)) = &entry.key.kind else { continue };
            match self.fields.field(&name, field) {
                None => self.issue(entry.key.id, format!("undefined field '{field}'")),
                Some(wanted) if !self.assignable(&found, &wanted) => {
                    let found = self.substitute(&found, true);
                    let message =
                        format!("expected type of field '{field}' is '{wanted}' but provided type is '{found}'");
                    self.issue(entry.key.id, message);
                }
                Some(_) => {}
            }
        }
        Type::Object(name)
    }

    fn comprehension(&mut self, c: &mut Comprehension) -> Type {
        self.check(&mut c.range);
        self.check(&mut c.init);
        let accu = self.type_of(&c.init);
        let range = self.substitute(&self.type_of(&c.range), false);
        let (first, second) = match &range {
            Type::List(item) if c.iter_var2.is_some() => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Var(_) => {
                self.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            ty if ty.is_dyn() => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.issue(c.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        let depth = self.scopes.len();
        self.scopes.push((c.accu_var.clone(), accu.clone()));
        self.scopes.push((c.iter_var.clone(), first));
        if let Some(name) = &c.iter_var2 {
            self.scopes.push((name.clone(), second));
        }
        self.check(&mut c.condition);
        self.expect(&c.condition, &Type::Bool);
        self.check(&mut c.step);
        self.expect(&c.step, &accu);
        self.scopes.truncate(depth);
        self.scopes.push((c.accu_var.clone(), accu));
        self.check(&mut c.result);
        self.scopes.truncate(depth);
        let result = self.type_of(&c.result);
        self.substitute(&result, false)
    }

    fn expect(&mut self, expr: &Expr, wanted: &Type) {
        let found = self.type_of(expr);
        if !self.assignable(&found, wanted) {
            let (wanted, found) = (self.substitute(wanted, true), self.substitute(&found, true));
            self.issue(expr.id, format!("expected type '{wanted}' but found '{found}'"));
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// The names of types as values.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "net.IP"
        | "net.CIDR"
        | "kubernetes.URL"
        | "kubernetes.Quantity"
        | "kubernetes.Semver"
        | "kubernetes.NamedFormat" => Type::object(name),
        _ => return None,
    })
}

/// Constants that can only fail when evaluated are told of at once.
fn invalid_literal(function: &str, args: &[Expr]) -> Option<String> {
    let last = match &args.last()?.kind {
        Kind::Literal(literal) => literal,
        _ => return None,
    };
    match (function, last) {
        ("duration", Literal::String(text)) if args.len() == 1 => {
            crate::library::time::parse_duration(text).is_none().then(|| "invalid duration argument".to_owned())
        }
        ("timestamp", Literal::String(text)) if args.len() == 1 => {
            crate::library::time::parse_timestamp(text).is_none().then(|| "invalid timestamp argument".to_owned())
        }
        ("timestamp", Literal::Int(seconds)) if args.len() == 1 => {
            let valid = (-62_135_596_800..=253_402_300_799).contains(seconds);
            (!valid).then(|| "invalid timestamp argument".to_owned())
        }
        ("matches", Literal::String(text)) => {
            Pattern::new(text).check().is_err().then(|| "invalid matches argument".to_owned())
        }
        _ => None,
    }
}
