//! Kubernetes' dialect of the Common Expression Language, over JSON.
//!
//! An expression is parsed ([`parse`]), checked against declared variables ([`check`]) and evaluated ([`Program::evaluate`]);
//! what it costs is bounded before ([`cost::estimate`]) and while it runs. [`crd`] evaluates `x-kubernetes-validations`.
//! Nothing here does IO, reads a clock or panics on an expression: a hostile one gets an error in bounded time.

pub mod admission;
mod ast;
pub mod authorizer;
mod check;
pub mod cost;
pub mod crd;
pub mod decl;
mod declarations;
mod evaluate;
mod issue;
mod lexer;
pub mod library;
mod macros;
mod parser;
mod program;
#[cfg(test)]
mod tests;
mod types;
mod value;
mod work;

pub use check::Checked;
pub use decl::DeclType;
pub use evaluate::Variables;
pub use issue::{Issue, Issues};
pub use parser::is_keyword;
pub use program::{Environment, PER_CALL_LIMIT, Program, RUNTIME_BUDGET, RUNTIME_BUDGET_MATCH_CONDITIONS};
pub use types::{Fields, Type};
pub use value::{EvalError, Evaluated, Value};
