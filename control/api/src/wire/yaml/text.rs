//! How a text may be written.

use super::plain;

/// The ways to write a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// In single quotes.
    Single,
    /// In double quotes, with escapes.
    Double,
    /// Line by line.
    Literal,
}

/// A text and what was seen in it.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The text itself.
    pub text: &'a str,
    /// It may stand as it is in a block.
    plain: bool,
    /// It may stand in single quotes.
    single: bool,
    /// It may stand line by line.
    literal: bool,
    lines: bool,
}

/// Whether only an escape in double quotes shows a character.
pub fn is_escaped(c: char) -> bool {
    matches!(c, '"' | '\\') || !is_printable(c) || is_break(c)
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

/// What YAML 1.1 takes for the end of a line.
fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

impl<'a> Text<'a> {
    /// Looks at each character once.
    pub fn of(text: &'a str) -> Self {
        if text.is_empty() {
            return Self { text, plain: true, single: true, literal: false, lines: false };
        }
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        // Lines and spaces that touch.
        let (mut space_then_break, mut break_then_space) = (false, false);
        let (mut special, mut lines) = (false, false);
        let mut before = None;
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            let blank_follows = matches!(characters.peek(), None | Some(' ' | '\t'));
            indicators |= match c {
                '#' => before.is_none_or(|before| matches!(before, ' ' | '\t' | '\0') || is_break(before)),
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                    before.is_none()
                }
                '?' | '-' => before.is_none() && blank_follows,
                ':' => blank_follows,
                _ => false,
            };
            lines |= is_break(c);
            // Readers of YAML 1.2 would not take these for the end of a line.
            special |= !is_printable(c) || matches!(c, '\u{2028}' | '\u{2029}');
            space_then_break |= before == Some(' ') && is_break(c);
            break_then_space |= before.is_some_and(is_break) && c == ' ';
            before = Some(c);
        }
        let begins = text.starts_with(|c| c == ' ' || is_break(c));
        let ends = text.ends_with(|c| c == ' ' || is_break(c));
        let quoted = space_then_break || special;
        Self {
            text,
            plain: !(begins || ends || break_then_space || quoted || lines || indicators),
            single: !(break_then_space || quoted),
            literal: !(text.ends_with(' ') || quoted),
            lines,
        }
    }

    /// Whether it has no line that ends.
    pub fn is_one_line(&self) -> bool {
        !self.lines
    }

    /// How it is written, as a key in front of a colon or elsewhere.
    pub fn style(&self, as_key: bool) -> Style {
        if self.text.contains('\n') {
            return if self.literal && !as_key { Style::Literal } else { Style::Double };
        }
        if !plain::is_text(self.text) {
            return Style::Double;
        }
        match (self.plain, self.single) {
            (true, _) => Style::Plain,
            (false, true) => Style::Single,
            (false, false) => Style::Double,
        }
    }
}
