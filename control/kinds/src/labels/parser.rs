//! The grammar of a label selector string, with the error texts of `labels.Parse`.
use super::lexer::{Token, scan};
use super::{Operator, Requirement};
use crate::field::{Errors, Path};
use crate::names;
use std::collections::BTreeSet;
use thiserror::Error;

/// A label selector that cannot be read, in Kubernetes' words.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ParseError(pub(crate) String);

struct Parser {
    tokens: Vec<(Token, String)>,
    position: usize,
}

pub(super) fn parse(selector: &str) -> Result<Vec<Requirement>, ParseError> {
    let mut parser = Parser { tokens: scan(selector), position: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek_value() {
            Token::Identifier | Token::Not => {
                let requirement = parser
                    .requirement()
                    .map_err(|error| ParseError(format!("unable to parse requirement: {error}")))?;
                requirements.push(requirement);
                match parser.next_value() {
                    (Token::End, _) => return Ok(requirements),
                    (Token::Comma, _) => {
                        let next = parser.peek_value();
                        if next != Token::Identifier && next != Token::Not {
                            return Err(parser.found("expected: identifier after ','"));
                        }
                    }
                    (_, literal) => {
                        return Err(ParseError(format!("found '{literal}', expected: ',' or 'end of string'")));
                    }
                }
            }
            Token::End => return Ok(requirements),
            _ => return Err(parser.found("expected: !, identifier, or 'end of string'")),
        }
    }
}

/// Builds a requirement after checking key and values.
pub(super) fn requirement(key: &str, operator: Operator, values: Vec<String>) -> Result<Requirement, ParseError> {
    let mut errors = Errors::default();
    let bad_key = names::qualified_name(key);
    if !bad_key.is_empty() {
        errors.invalid(&Path::new("key"), key, bad_key.join("; "));
    }
    let path = Path::new("values");
    let list = || serde_json::Value::from(values.clone());
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            errors.invalid(&path, list(), "for 'in', 'notin' operators, values set can't be empty");
        }
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
            errors.invalid(&path, list(), "exact-match compatibility requires one single value");
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            errors.invalid(&path, list(), "values set must be empty for exists and does not exist");
        }
        Operator::GreaterThan | Operator::LessThan => {
            if values.len() != 1 {
                errors.invalid(&path, list(), "for 'Gt', 'Lt' operators, exactly one value is required");
            }
            for (index, value) in values.iter().enumerate() {
                if value.parse::<i64>().is_err() {
                    errors.invalid(
                        &path.index(index),
                        value.as_str(),
                        "for 'Gt', 'Lt' operators, the value must be an integer",
                    );
                }
            }
        }
        _ => {}
    }
    for (index, value) in values.iter().enumerate() {
        let bad = names::label_value(value);
        if !bad.is_empty() {
            errors.invalid(&path.index(index).key(key), value.as_str(), bad.join("; "));
        }
    }
    if errors.is_empty() {
        Ok(Requirement { key: key.to_owned(), operator, values })
    } else {
        Err(ParseError(errors.message()))
    }
}

impl Parser {
    fn peek(&self) -> Token {
        self.tokens.get(self.position).map_or(Token::End, |token| token.0)
    }

    /// The next token where values stand: `in` and `notin` are plain words there.
    fn peek_value(&self) -> Token {
        match self.peek() {
            Token::In | Token::NotIn => Token::Identifier,
            token => token,
        }
    }

    fn next(&mut self) -> (Token, String) {
        let token = self.tokens.get(self.position).cloned().unwrap_or((Token::End, String::new()));
        self.position += 1;
        token
    }

    fn next_value(&mut self) -> (Token, String) {
        let token = self.peek_value();
        (token, self.next().1)
    }

    fn found(&self, expected: &str) -> ParseError {
        let literal = self.tokens.get(self.position).map_or("", |token| token.1.as_str());
        ParseError(format!("found '{literal}', {expected}"))
    }

    fn requirement(&mut self) -> Result<Requirement, ParseError> {
        let (mut token, mut key) = self.next_value();
        let not = token == Token::Not;
        if not {
            (token, key) = self.next_value();
        }
        if token != Token::Identifier {
            return Err(ParseError(format!("found '{key}', expected: identifier")));
        }
        let bad = names::qualified_name(&key);
        if !bad.is_empty() {
            let mut errors = Errors::default();
            errors.invalid(&Path::new("<nil>"), key, bad.join("; "));
            return Err(ParseError(errors.message()));
        }
        if not {
            return requirement(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return requirement(&key, Operator::Exists, Vec::new());
        }
        let (token, literal) = self.next();
        let operator = match token {
            Token::In => Operator::In,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            Token::NotIn => Operator::NotIn,
            Token::NotEquals => Operator::NotEquals,
            _ => return Err(ParseError(format!("found '{literal}', expected: in, notin, =, ==, !=, gt, lt"))),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        requirement(&key, operator, values.into_iter().collect())
    }

    fn values(&mut self) -> Result<BTreeSet<String>, ParseError> {
        let (token, literal) = self.next_value();
        if token != Token::Open {
            return Err(ParseError(format!("found '{literal}' expected: '('")));
        }
        match self.peek_value() {
            Token::Identifier | Token::Comma => {
                let values = self.identifiers()?;
                self.next_value();
                Ok(values)
            }
            Token::Close => {
                self.next_value();
                Ok(BTreeSet::from([String::new()]))
            }
            _ => Err(self.found("expected: ',', ')' or identifier")),
        }
    }

    /// The words between parentheses, up to but not including `)`. Empty places count as "".
    fn identifiers(&mut self) -> Result<BTreeSet<String>, ParseError> {
        let mut values = BTreeSet::new();
        loop {
            match self.next_value() {
                (Token::Identifier, literal) => {
                    values.insert(literal);
                    match self.peek_value() {
                        Token::Comma => {}
                        Token::Close => return Ok(values),
                        _ => return Err(self.found("expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek_value() {
                        Token::Close => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, literal) => return Err(ParseError(format!("found '{literal}', expected: ',', or identifier"))),
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, ParseError> {
        if matches!(self.peek_value(), Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next_value() {
            (Token::Identifier, literal) => Ok(literal),
            (_, literal) => Err(ParseError(format!("found '{literal}', expected: identifier"))),
        }
    }
}
