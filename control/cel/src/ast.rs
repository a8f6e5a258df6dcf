//! The tree of an expression. Macros are expanded while parsing, as in cel-go, so that costs count the same steps.

use std::sync::Arc;

/// A node's number; positions, types and functions are kept beside the tree by it.
pub type Id = u32;

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// `1`
    Int(i64),
    /// `1u`
    Uint(u64),
    /// `1.5`
    Double(f64),
    /// `'a'`
    String(Arc<str>),
    /// `b'a'`
    Bytes(Arc<[u8]>),
}

/// A node.
#[derive(Clone, Debug)]
pub struct Expr {
    /// Its number.
    pub id: Id,
    /// Which it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A constant.
    Literal(Literal),
    /// A name.
    Ident(Arc<str>),
    /// `operand.field`; `has(operand.field)` if `test`.
    Select {
        /// Whose field.
        operand: Box<Expr>,
        /// Which.
        field: Arc<str>,
        /// Only whether it is set.
        test: bool,
    },
    /// A function or an operator, such as `_+_`.
    Call {
        /// What it is called on.
        target: Option<Box<Expr>>,
        /// Its name.
        function: Arc<str>,
        /// Its arguments.
        args: Vec<Expr>,
    },
    /// `[a, ?b]`
    List {
        /// The elements.
        elements: Vec<Expr>,
        /// Which of them are left out if they are none.
        optional: Vec<usize>,
    },
    /// `{a: b, ?c: d}`
    Map(Vec<Entry>),
    /// `Name{field: value}`
    Struct {
        /// The type.
        name: Arc<str>,
        /// Its fields; the keys are string literals.
        fields: Vec<Entry>,
    },
    /// What macros become.
    Comprehension(Box<Comprehension>),
}

/// An entry of a map or a struct.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Expr,
    /// The value.
    pub value: Expr,
    /// Left out if the value is none.
    pub optional: bool,
}

/// A fold over a list or map.
#[derive(Clone, Debug)]
pub struct Comprehension {
    /// The name of each element, key or index.
    pub iter_var: Arc<str>,
    /// The name of each value, with two variables.
    pub iter_var2: Option<Arc<str>>,
    /// What is gone through.
    pub range: Expr,
    /// The accumulator's name.
    pub accu_var: Arc<str>,
    /// Its first value.
    pub init: Expr,
    /// Whether to go on.
    pub condition: Expr,
    /// The accumulator's next value.
    pub step: Expr,
    /// What comes out.
    pub result: Expr,
}

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Ast {
    /// Its text.
    pub source: Arc<str>,
    /// Its root.
    pub root: Expr,
    /// For each node the offset, in characters, of what an error about it points to.
    pub positions: Vec<u32>,
}

impl Expr {
    /// `a.b.c` as one name, if it is that.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select { operand, field, test: false } => Some(format!("{}.{field}", operand.qualified_name()?)),
            _ => None,
        }
    }
}
