//! What callers hold: an environment to compile in, and compiled programs.

use std::collections::HashMap;
use std::sync::Arc;

use orlop_schema::structural::Pattern;

use crate::ast::{Expr, Kind};
use crate::check::{Checked, check};
use crate::cost::estimate::{Span, estimate};
use crate::decl::DeclType;
use crate::evaluate::{Variables, evaluate};
use crate::issue::Issues;
use crate::library::regex::constants;
use crate::parser::parse;
use crate::types::{Fields, Type};
use crate::value::{Evaluated, Value};

/// What one expression may cost (`PerCallLimit`).
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// What all expressions about one object may cost (`RuntimeCELCostBudget`).
pub const RUNTIME_BUDGET: u64 = 10_000_000;
/// What all match conditions about one object may cost (`RuntimeCELCostBudgetMatchConditions`).
pub const RUNTIME_BUDGET_MATCH_CONDITIONS: u64 = 2_500_000;

/// The variables and objects that expressions may name.
pub struct Environment<'a> {
    variables: Vec<(Arc<str>, Type)>,
    fields: &'a dyn Fields,
}

impl<'a> Environment<'a> {
    /// Without variables.
    pub fn new(fields: &'a dyn Fields) -> Self {
        Self { variables: Vec::new(), fields }
    }

    /// With one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.push((name.into(), ty));
        self
    }

    /// Parses and checks.
    pub fn compile(&self, source: &str) -> Result<Program, Issues> {
        let may_be_deep =
            source.bytes().filter(|b| !b.is_ascii_alphanumeric() && !b.is_ascii_whitespace()).count() > DEEP;
        with_stack(may_be_deep, || {
            let checked = check(parse(source)?, &self.variables, self.fields)?;
            let deep = nodes(&checked.ast.root).any(|(_, depth)| depth > DEEP);
            let patterns = Arc::new(constants(&checked.ast.root));
            Ok(Program { checked, patterns, deep })
        })
    }
}

/// An expression that was checked.
#[derive(Clone, Debug)]
pub struct Program {
    checked: Checked,
    /// The regular expressions that are constants in it.
    patterns: Arc<HashMap<Arc<str>, Pattern>>,
    /// Whether it nests deeper than an ordinary stack is sure to bear.
    deep: bool,
}

/// Trees up to this depth are walked on the caller's stack.
const DEEP: usize = 48;
/// Enough for the deepest tree that the parser lets through.
const STACK: usize = 64 << 20;

/// Runs on a stack of its own if that may be needed; it is memory only where it is touched.
fn with_stack<T: Send>(needed: bool, run: impl FnOnce() -> T + Send) -> T {
    if !needed {
        return run();
    }
    let slot = std::sync::Mutex::new(Some(run));
    let work = || slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take().map(|run| run());
    let made = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).ok()?;
        match thread.join() {
            Ok(made) => made,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    // Without a thread to be had, this stack has to do.
    made.or_else(work).unwrap_or_else(|| unreachable!("the work was done by nobody"))
}

/// Every node of a tree, and how deep it stands.
pub(crate) fn nodes(root: &Expr) -> impl Iterator<Item = (&Expr, usize)> {
    let mut open = vec![(root, 1)];
    std::iter::from_fn(move || {
        let (expr, level) = open.pop()?;
        let mut push = |child| open.push((child, level + 1));
        match &expr.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => push(operand),
            Kind::Call { target, args, .. } => {
                target.iter().for_each(|t| push(t));
                args.iter().for_each(push);
            }
            Kind::List { elements, .. } => elements.iter().for_each(push),
            Kind::Map(entries) | Kind::Struct { fields: entries, .. } => {
                entries.iter().for_each(|e| {
                    push(&e.key);
                    push(&e.value);
                });
            }
            Kind::Comprehension(c) => {
                [&c.range, &c.init, &c.condition, &c.step, &c.result].into_iter().for_each(push);
            }
        }
        Some((expr, level))
    })
}

impl Program {
    /// What it gives.
    pub fn output(&self) -> &Type {
        self.checked.output()
    }

    /// Whether it names a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.checked.idents.iter().any(|i| &**i == variable)
    }

    /// The most it can cost, given what bounds the sizes of its variables.
    pub fn max_cost(&self, roots: &[(&str, &DeclType)]) -> u64 {
        self.cost(roots).max
    }

    /// The least and the most it can cost.
    pub fn cost(&self, roots: &[(&str, &DeclType)]) -> Span {
        with_stack(self.deep, || estimate(&self.checked, roots))
    }

    /// Evaluates it, and tells what that cost.
    pub fn evaluate<'a>(&self, variables: &dyn Variables<'a>, limit: u64) -> (Evaluated<Value<'a>>, u64) {
        with_stack(self.deep, || evaluate(&self.checked.ast.root, &self.patterns, variables, limit))
    }
}
