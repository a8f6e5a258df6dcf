//! The tokens of a label selector string.

/// A token; its text is kept beside it for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

fn keyword(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::Greater,
        "in" => Token::In,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "notin" => Token::NotIn,
        "(" => Token::Open,
        _ => return None,
    })
}

fn special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// All tokens, the last of which is [`Token::End`].
pub(super) fn scan(selector: &str) -> Vec<(Token, String)> {
    let mut tokens = Vec::new();
    let mut rest = selector;
    loop {
        rest = rest.trim_start_matches(blank);
        let Some(first) = rest.chars().next() else {
            tokens.push((Token::End, String::new()));
            return tokens;
        };
        let token = if special(first) { symbol(rest) } else { word(rest) };
        rest = &rest[token.2..];
        tokens.push((token.0, token.1));
    }
}

fn word(rest: &str) -> (Token, String, usize) {
    let end = rest.find(|c| special(c) || blank(c)).unwrap_or(rest.len());
    let text = &rest[..end];
    (keyword(text).unwrap_or(Token::Identifier), text.to_owned(), end)
}

/// The longest run of special characters that is a symbol, starting with the first.
fn symbol(rest: &str) -> (Token, String, usize) {
    let run = rest.find(|c| !special(c)).unwrap_or(rest.len());
    for end in [2, 1] {
        if end <= run
            && let Some(token) = keyword(&rest[..end])
        {
            return (token, rest[..end].to_owned(), end);
        }
    }
    (Token::Error, format!("error expected: keyword found '{}'", &rest[..run]), run)
}
