//! Characters to tokens.

use crate::issue::Issue;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name or keyword.
    Ident(String),
    /// A field name in backticks.
    Quoted(String),
    /// An integer, as written.
    Int(String),
    /// An unsigned integer, without its `u`.
    Uint(String),
    /// A float.
    Double(String),
    /// A string.
    String(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// The end.
    End,
}

impl Token {
    /// As ANTLR names it in errors.
    pub fn text(&self) -> String {
        match self {
            Self::Ident(s) | Self::Int(s) | Self::Double(s) => s.clone(),
            Self::Quoted(s) => format!("`{s}`"),
            Self::Uint(s) => format!("{s}u"),
            Self::String(s) => format!("'{s}'"),
            Self::Bytes(b) => format!("b'{}'", String::from_utf8_lossy(b)),
            Self::Symbol(s) => (*s).to_owned(),
            Self::End => "<EOF>".to_owned(),
        }
    }
}

const SYMBOLS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*", "/", "%",
    "<", ">",
];

/// A token and the offset of its first character.
pub type Spanned = (Token, u32);

/// All tokens of a text; the last is [`Token::End`].
pub fn tokens(source: &str) -> Result<Vec<Spanned>, Issue> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0 };
    let mut all = Vec::new();
    loop {
        lexer.skip_blank();
        let start = lexer.at as u32;
        let token = lexer.next()?;
        let end = token == Token::End;
        all.push((token, start));
        if end {
            return Ok(all);
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.peek(0) {
            if matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}') {
                self.at += 1;
            } else if c == '/' && self.peek(1) == Some('/') {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Token, Issue> {
        let Some(c) = self.peek(0) else { return Ok(Token::End) };
        if let Some((raw, bytes, skip)) = self.string_prefix() {
            self.at += skip;
            return self.string(raw, bytes);
        }
        if c.is_ascii_alphabetic() || c == '_' {
            return Ok(Token::Ident(self.take(|c| c.is_ascii_alphanumeric() || c == '_')));
        }
        if c.is_ascii_digit() || (c == '.' && self.peek(1).is_some_and(|c| c.is_ascii_digit())) {
            return Ok(self.number());
        }
        if c == '`' {
            return self.quoted();
        }
        for symbol in SYMBOLS {
            if symbol.chars().enumerate().all(|(n, s)| self.peek(n) == Some(s)) {
                self.at += symbol.len();
                return Ok(Token::Symbol(symbol));
            }
        }
        let next = self.peek(1).filter(|_| c == '=').map(String::from).unwrap_or_default();
        Err(self.issue(format!("Syntax error: token recognition error at: '{c}{next}'")))
    }

    fn issue(&self, message: String) -> Issue {
        Issue { offset: self.at as u32, message }
    }

    fn take(&mut self, accepts: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(&accepts) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    /// Raw, bytes, and how many characters come before the quote.
    fn string_prefix(&self) -> Option<(bool, bool, usize)> {
        let is_quote = |c: Option<char>| matches!(c, Some('"' | '\''));
        let of = |c: Option<char>| match c {
            Some('r' | 'R') => Some((true, false)),
            Some('b' | 'B') => Some((false, true)),
            _ => None,
        };
        if is_quote(self.peek(0)) {
            return Some((false, false, 0));
        }
        let (raw, bytes) = of(self.peek(0))?;
        if is_quote(self.peek(1)) {
            return Some((raw, bytes, 1));
        }
        let (raw2, bytes2) = of(self.peek(1))?;
        ((raw || raw2) && (bytes || bytes2) && is_quote(self.peek(2))).then_some((true, true, 2))
    }

    fn number(&mut self) -> Token {
        if self.peek(0) == Some('0')
            && matches!(self.peek(1), Some('x' | 'X'))
            && self.peek(2).is_some_and(|c| c.is_ascii_hexdigit())
        {
            self.at += 2;
            let digits = format!("0x{}", self.take(|c| c.is_ascii_hexdigit()));
            return self.maybe_unsigned(digits);
        }
        let mut text = self.take(|c| c.is_ascii_digit());
        let mut double = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            double = true;
            self.at += 1;
            text = format!("{text}.{}", self.take(|c| c.is_ascii_digit()));
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let signed = matches!(self.peek(1), Some('+' | '-'));
            if self.peek(1 + usize::from(signed)).is_some_and(|c| c.is_ascii_digit()) {
                double = true;
                text.push('e');
                self.at += 1;
                if signed {
                    text.extend(self.peek(0));
                    self.at += 1;
                }
                text.push_str(&self.take(|c| c.is_ascii_digit()));
            }
        }
        if double { Token::Double(text) } else { self.maybe_unsigned(text) }
    }

    fn maybe_unsigned(&mut self, text: String) -> Token {
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
            return Token::Uint(text);
        }
        Token::Int(text)
    }

    fn quoted(&mut self) -> Result<Token, Issue> {
        let start = self.at;
        self.at += 1;
        let text = self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' '));
        if self.peek(0) != Some('`') || text.is_empty() {
            self.at = start;
            return Err(self.issue("Syntax error: token recognition error at: '`'".into()));
        }
        self.at += 1;
        Ok(Token::Quoted(text))
    }

    fn string(&mut self, raw: bool, bytes: bool) -> Result<Token, Issue> {
        let start = self.at;
        let quote = self.peek(0).unwrap_or('"');
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let mut text = String::new();
        let mut data: Vec<u8> = Vec::new();
        let unterminated = |s: &Self| {
            let rest: String = s.chars[start..].iter().collect();
            Issue { offset: start as u32, message: format!("Syntax error: token recognition error at: '{rest}'") }
        };
        loop {
            let Some(c) = self.peek(0) else { return Err(unterminated(self)) };
            if c == quote && (!triple || (self.peek(1) == Some(quote) && self.peek(2) == Some(quote))) {
                self.at += width;
                return Ok(if bytes { Token::Bytes(data) } else { Token::String(text) });
            }
            if !triple && matches!(c, '\n' | '\r') {
                return Err(unterminated(self));
            }
            if c == '\\' && !raw {
                self.at += 1;
                let (code, is_byte) = self.escape().ok_or_else(|| Issue {
                    offset: start as u32,
                    message: "Syntax error: token recognition error at an invalid escape sequence".into(),
                })?;
                if bytes && is_byte {
                    data.push(code as u8);
                    continue;
                }
                let c = char::from_u32(code)
                    .ok_or_else(|| Issue { offset: start as u32, message: "invalid unicode code point".into() })?;
                text.push(c);
                data.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            self.at += 1;
            text.push(c);
            data.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// The code after a backslash, and whether it stands for one byte in bytes.
    fn escape(&mut self) -> Option<(u32, bool)> {
        let c = self.peek(0)?;
        self.at += 1;
        let plain = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '\\' | '?' | '"' | '\'' | '`' => c as u32,
            'x' | 'X' => return Some((self.digits(2, 16)?, true)),
            'u' => return Some((self.digits(4, 16)?, false)),
            'U' => return Some((self.digits(8, 16)?, false)),
            '0'..='3' => {
                self.at -= 1;
                return Some((self.digits(3, 8)?, true));
            }
            _ => return None,
        };
        Some((plain, false))
    }

    fn digits(&mut self, count: usize, radix: u32) -> Option<u32> {
        let mut value = 0u32;
        for _ in 0..count {
            value = value.checked_mul(radix)?.checked_add(self.peek(0)?.to_digit(radix)?)?;
            self.at += 1;
        }
        Some(value)
    }
}
