//! Tokens to a tree. The grammar is CEL's; expressions that are too long or nest too deeply are refused before they can cost
//! anything.

use std::sync::Arc;

use crate::ast::{Ast, Entry, Expr, Id, Kind, Literal};
use crate::issue::{Issue, Issues};
use crate::lexer::{Spanned, Token, tokens};
use crate::macros;

/// cel-go's limit of an expression's length in characters.
const MAX_LENGTH: usize = 100_000;
/// cel-go's limit of nesting.
const MAX_DEPTH: usize = 250;

const PRIMARY: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
/// Words that are no identifiers, beside the literals.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "in",
];

/// Whether a word is the language's own: no variable or field is written so.
pub fn is_keyword(word: &str) -> bool {
    matches!(word, "true" | "false" | "null") || RESERVED.contains(&word)
}

/// Binary operators from the loosest to the tightest.
const LEVELS: &[&[(&str, &str)]] = &[
    &[("||", "_||_")],
    &[("&&", "_&&_")],
    &[("<", "_<_"), ("<=", "_<=_"), (">=", "_>=_"), (">", "_>_"), ("==", "_==_"), ("!=", "_!=_"), ("in", "@in")],
    &[("+", "_+_"), ("-", "_-_")],
    &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
];

/// Parses an expression and expands its macros.
pub fn parse(source: &str) -> Result<Ast, Issues> {
    let failed = |issue| Issues::new(source, vec![issue]);
    let length = source.chars().count();
    if length > MAX_LENGTH {
        let message = format!("expression code point size exceeds limit: size: {length}, limit {MAX_LENGTH}");
        return Err(Issues::new("", vec![Issue { offset: 0, message }]));
    }
    let tokens = tokens(source).map_err(failed)?;
    let mut parser = Parser { tokens, at: 0, depth: 0, positions: Vec::new() };
    let root = parser.expression().map_err(failed)?;
    match parser.peek() {
        Token::End => Ok(Ast { source: source.into(), root, positions: parser.positions }),
        other => {
            let message = format!("Syntax error: mismatched input '{}' expecting <EOF>", other.text());
            Err(failed(parser.issue(message)))
        }
    }
}

pub(crate) struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
    positions: Vec<u32>,
}

type Parsed<T = Expr> = Result<T, Issue>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    fn offset(&self) -> u32 {
        self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    fn issue(&self, message: String) -> Issue {
        Issue { offset: self.offset(), message }
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(s) if *s == symbol)
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.accept(symbol) {
            return Ok(());
        }
        let found = self.peek().text();
        Err(self.issue(match self.peek() {
            Token::End => format!("Syntax error: missing '{symbol}' at '<EOF>'"),
            _ => format!("Syntax error: mismatched input '{found}' expecting '{symbol}'"),
        }))
    }

    /// A node at a place.
    pub(crate) fn node(&mut self, offset: u32, kind: Kind) -> Expr {
        self.positions.push(offset);
        Expr { id: (self.positions.len() - 1) as Id, kind }
    }

    /// Where an error about a node points to.
    pub(crate) fn position(&self, expr: &Expr) -> u32 {
        self.positions.get(expr.id as usize).copied().unwrap_or_default()
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("expression recursion limit exceeded: {MAX_DEPTH}");
            return Err(Issue { offset: Issue::NOWHERE, message });
        }
        Ok(())
    }

    /// One more link of a chain, which is as deep as it is long.
    fn longer(&mut self) -> Parsed<()> {
        self.deeper().map_err(|issue| Issue { message: "max recursion depth exceeded".into(), ..issue })
    }

    fn expression(&mut self) -> Parsed {
        let depth = self.depth;
        self.deeper()?;
        let condition = self.binary(0)?;
        let expr = if self.is("?") {
            let offset = self.offset();
            self.at += 1;
            let yes = self.binary(0)?;
            self.expect(":")?;
            let no = self.expression()?;
            self.call(offset, None, "_?_:_", vec![condition, yes, no])
        } else {
            condition
        };
        self.depth = depth;
        Ok(expr)
    }

    fn operator(&self) -> Option<(usize, &'static str)> {
        let text = match self.peek() {
            Token::Symbol(s) => *s,
            Token::Ident(s) if s == "in" => "in",
            _ => return None,
        };
        LEVELS.iter().enumerate().find_map(|(level, operators)| {
            operators.iter().find(|(symbol, _)| *symbol == text).map(|(_, function)| (level, *function))
        })
    }

    /// Operands and operators of a level or tighter ones. Every bracket comes through here: the fewer frames the better.
    fn binary(&mut self, level: usize) -> Parsed {
        let depth = self.depth;
        let mut left = self.unary()?;
        while let Some((found, function)) = self.operator().filter(|(found, _)| *found >= level) {
            left = if found < 2 {
                self.logical(found, function, left)?
            } else {
                self.longer()?;
                let offset = self.offset();
                self.at += 1;
                let right = self.binary(found + 1)?;
                self.call(offset, None, function, vec![left, right])
            };
        }
        self.depth = depth;
        Ok(left)
    }

    fn logical(&mut self, level: usize, function: &str, first: Expr) -> Parsed {
        let (mut terms, mut offsets) = (vec![first], Vec::new());
        while self.operator().is_some_and(|(found, _)| found == level) {
            offsets.push(self.offset());
            self.at += 1;
            terms.push(self.binary(level + 1)?);
        }
        Ok(self.balanced(function, terms, &offsets))
    }

    /// `a && b && c && d` as a balanced tree, as cel-go does.
    fn balanced(&mut self, function: &str, mut terms: Vec<Expr>, offsets: &[u32]) -> Expr {
        if terms.len() == 1
            && let Some(only) = terms.pop()
        {
            return only;
        }
        let middle = terms.len() / 2;
        let right = terms.split_off(middle);
        let offset = offsets.get(middle - 1).copied().unwrap_or_default();
        let left = self.balanced(function, terms, &offsets[..middle - 1]);
        let right = self.balanced(function, right, &offsets[middle..]);
        self.call(offset, None, function, vec![left, right])
    }

    fn unary(&mut self) -> Parsed {
        let offset = self.offset();
        for (symbol, function) in [("!", "!_"), ("-", "-_")] {
            if !self.is(symbol) {
                continue;
            }
            let mut count = 0;
            while self.accept(symbol) {
                count += 1;
            }
            if symbol == "-"
                && count % 2 == 1
                && let Token::Int(_) | Token::Double(_) = self.peek()
            {
                let number = self.number(true, offset)?;
                return self.members(number);
            }
            let operand = self.primary()?;
            let operand = self.members(operand)?;
            return Ok(if count % 2 == 0 { operand } else { self.call(offset, None, function, vec![operand]) });
        }
        let operand = self.primary()?;
        self.members(operand)
    }

    fn members(&mut self, mut expr: Expr) -> Parsed {
        let depth = self.depth;
        loop {
            let offset = self.offset();
            if self.accept(".") {
                self.longer()?;
                let optional = self.accept("?");
                let (name, quoted) = match self.advance() {
                    Token::Ident(name) => (name, false),
                    Token::Quoted(name) => (name, true),
                    other => {
                        self.at -= 1;
                        let text = other.text();
                        return Err(self.issue(format!("Syntax error: no viable alternative at input '.{text}'")));
                    }
                };
                if optional {
                    let field = self.node(offset, Kind::Literal(Literal::String(name.into())));
                    expr = self.call(offset, None, "_?._", vec![expr, field]);
                } else if self.is("(") && !quoted {
                    let open = self.offset();
                    let args = self.arguments()?;
                    expr = macros::member(self, open, expr, &name, args)?;
                } else {
                    expr = self.node(offset, Kind::Select { operand: Box::new(expr), field: name.into(), test: false });
                }
            } else if self.accept("[") {
                self.longer()?;
                let function = if self.accept("?") { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                expr = self.call(offset, None, function, vec![expr, index]);
            } else {
                self.depth = depth;
                return Ok(expr);
            }
        }
    }

    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.expect("(")?;
        let mut args = Vec::new();
        if self.accept(")") {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if !self.accept(",") {
                self.expect(")")?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let offset = self.offset();
        match self.advance() {
            Token::Int(_) | Token::Double(_) => {
                self.at -= 1;
                self.number(false, offset)
            }
            Token::Uint(text) => {
                let parsed = match text.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => text.parse(),
                };
                let value = parsed.map_err(|_| Issue { offset, message: "invalid uint literal".into() })?;
                Ok(self.node(offset, Kind::Literal(Literal::Uint(value))))
            }
            Token::String(text) => Ok(self.node(offset, Kind::Literal(Literal::String(text.into())))),
            Token::Bytes(data) => Ok(self.node(offset, Kind::Literal(Literal::Bytes(data.into())))),
            Token::Symbol("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("[") => self.list(offset),
            Token::Symbol("{") => {
                let entries = self.entries(false)?;
                Ok(self.node(offset, Kind::Map(entries)))
            }
            Token::Symbol(".") => match self.advance() {
                Token::Ident(name) => self.named(offset, name),
                other => Err(self.unexpected(offset, &other)),
            },
            Token::Ident(name) => match name.as_str() {
                "true" => Ok(self.node(offset, Kind::Literal(Literal::Bool(true)))),
                "false" => Ok(self.node(offset, Kind::Literal(Literal::Bool(false)))),
                "null" => Ok(self.node(offset, Kind::Literal(Literal::Null))),
                reserved if RESERVED.contains(&reserved) => {
                    Err(Issue { offset, message: format!("reserved identifier: {reserved}") })
                }
                _ => self.named(offset, name),
            },
            other => Err(self.unexpected(offset, &other)),
        }
    }

    fn unexpected(&self, offset: u32, token: &Token) -> Issue {
        Issue { offset, message: format!("Syntax error: mismatched input '{}' expecting {PRIMARY}", token.text()) }
    }

    /// A name, a call of a function, or a struct.
    fn named(&mut self, offset: u32, name: String) -> Parsed {
        if self.is("(") {
            let open = self.offset();
            let args = self.arguments()?;
            return macros::global(self, open, &name, args);
        }
        // `a.b.C{`: a struct's name may be qualified.
        let mut end = self.at;
        let mut full = name.clone();
        while matches!(self.tokens.get(end), Some((Token::Symbol("."), _)))
            && let Some((Token::Ident(part), _)) = self.tokens.get(end + 1)
        {
            full = format!("{full}.{part}");
            end += 2;
        }
        if let Some((Token::Symbol("{"), open)) = self.tokens.get(end).cloned() {
            self.at = end + 1;
            let fields = self.entries(true)?;
            return Ok(self.node(open, Kind::Struct { name: full.into(), fields }));
        }
        Ok(self.node(offset, Kind::Ident(name.into())))
    }

    fn number(&mut self, negative: bool, offset: u32) -> Parsed {
        let sign = if negative { "-" } else { "" };
        let literal = match self.advance() {
            Token::Int(text) => {
                let parsed = match text.strip_prefix("0x") {
                    Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16),
                    None => format!("{sign}{text}").parse(),
                };
                Literal::Int(parsed.map_err(|_| Issue { offset, message: "invalid int literal".into() })?)
            }
            Token::Double(text) => match format!("{sign}{text}").parse::<f64>() {
                Ok(value) if value.is_finite() => Literal::Double(value),
                _ => return Err(Issue { offset, message: "invalid double literal".into() }),
            },
            other => return Err(self.unexpected(offset, &other)),
        };
        Ok(self.node(offset, Kind::Literal(literal)))
    }

    fn list(&mut self, offset: u32) -> Parsed {
        let (mut elements, mut optional) = (Vec::new(), Vec::new());
        while !self.is("]") && *self.peek() != Token::End {
            if self.accept("?") {
                optional.push(elements.len());
            }
            elements.push(self.expression()?);
            if !self.accept(",") {
                break;
            }
        }
        self.expect("]")?;
        Ok(self.node(offset, Kind::List { elements, optional }))
    }

    fn entries(&mut self, of_struct: bool) -> Parsed<Vec<Entry>> {
        let mut entries = Vec::new();
        while !self.is("}") && *self.peek() != Token::End {
            let optional = self.accept("?");
            let key = if of_struct {
                let offset = self.offset();
                match self.advance() {
                    Token::Ident(name) | Token::Quoted(name) => {
                        self.node(offset, Kind::Literal(Literal::String(name.into())))
                    }
                    other => return Err(self.unexpected(offset, &other)),
                }
            } else {
                self.expression()?
            };
            self.expect(":")?;
            let value = self.expression()?;
            entries.push(Entry { key, value, optional });
            if !self.accept(",") {
                break;
            }
        }
        self.expect("}")?;
        Ok(entries)
    }

    /// A call at a place.
    pub(crate) fn call(&mut self, offset: u32, target: Option<Expr>, function: &str, args: Vec<Expr>) -> Expr {
        let function: Arc<str> = function.into();
        self.node(offset, Kind::Call { target: target.map(Box::new), function, args })
    }
}
