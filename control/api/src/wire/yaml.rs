//! Values as YAML, in the layout that kube-apiserver's answers have: keys in a natural order, block style, lists as deep as their key,
//! long texts folded behind their eightieth column. What other readers of YAML 1.1 take for something else than a string is quoted.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

mod order;
mod plain;
mod text;

use text::{Style, Text};

/// A line is folded at the first single space behind this column.
const WIDTH: usize = 80;
/// How much deeper a block is than what it stands in.
const STEP: usize = 2;
/// A longer key is written behind a question mark.
const LONGEST_KEY: usize = 128;

/// A value as a document.
pub fn to_string(value: &Value) -> String {
    let mut writer = Writer { out: String::new(), column: 0, indent: None, after_space: true, only_indented: true };
    writer.node(value, Place::Document);
    writer.start_line();
    writer.out
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Document,
    Item,
    Key,
    Value,
}

struct Writer {
    out: String,
    /// Characters in the line so far.
    column: usize,
    /// Of the block that is written; none outside of all.
    indent: Option<usize>,
    /// Whether what was written last sets off what follows.
    after_space: bool,
    /// Whether nothing but indentation and the marks of blocks stands in this line, so that another block may begin here.
    only_indented: bool,
}

impl Writer {
    fn node(&mut self, value: &Value, place: Place) {
        match value {
            Value::Null => self.text("null", Style::Plain),
            Value::Bool(true) => self.text("true", Style::Plain),
            Value::Bool(false) => self.text("false", Style::Plain),
            Value::Number(number) => self.text(&decimal(number), Style::Plain),
            Value::String(text) => self.scalar(&Text::of(text), place),
            Value::Array(items) => self.list(items, place),
            Value::Object(fields) => self.mapping(fields),
        }
    }

    fn mapping(&mut self, fields: &Map<String, Value>) {
        if fields.is_empty() {
            return self.mark("{}", false);
        }
        let fields = order::sort(fields.iter().map(|(key, value)| (key.as_str(), value)).collect());
        let inside = self.indent.map_or(0, |indent| indent + STEP);
        let around = self.indent.replace(inside);
        for (key, value) in fields {
            self.start_line();
            let key = Text::of(key);
            if key.is_one_line() && key.text.len() <= LONGEST_KEY {
                self.scalar(&key, Place::Key);
                self.push(':');
            } else {
                self.mark("?", true);
                self.scalar(&key, Place::Value);
                self.start_line();
                self.mark(":", true);
            }
            self.node(value, Place::Value);
        }
        self.indent = around;
    }

    fn list(&mut self, items: &[Value], place: Place) {
        if items.is_empty() {
            return self.mark("[]", false);
        }
        let inside = match self.indent {
            None => 0,
            // Behind a key the items are as deep as the key.
            Some(indent) if place == Place::Value && !self.only_indented => indent,
            Some(indent) => indent + STEP,
        };
        let around = self.indent.replace(inside);
        for item in items {
            self.start_line();
            self.mark("-", true);
            self.node(item, Place::Item);
        }
        self.indent = around;
    }

    fn scalar(&mut self, text: &Text<'_>, place: Place) {
        self.write(text.text, text.style(place == Place::Key), place != Place::Key);
    }

    fn text(&mut self, text: &str, style: Style) {
        self.write(text, style, true);
    }

    fn write(&mut self, text: &str, style: Style, folds: bool) {
        let inside = self.indent.map_or(STEP, |indent| indent + STEP);
        let around = self.indent.replace(inside);
        match style {
            Style::Plain => self.plain(text, folds),
            Style::Single => self.single_quoted(text, folds),
            Style::Double => self.double_quoted(text, folds),
            Style::Literal => self.literal(text),
        }
        self.indent = around;
    }

    fn plain(&mut self, text: &str, folds: bool) {
        self.set_off();
        let mut before = '\0';
        for (at, c) in text.char_indices() {
            if c == ' ' && folds && self.folds_at(text, at, before) {
                self.start_line();
            } else {
                self.push(c);
                self.only_indented = false;
            }
            before = c;
        }
        self.within_line();
    }

    fn single_quoted(&mut self, text: &str, folds: bool) {
        self.mark("'", false);
        let mut before = '\0';
        for (at, c) in text.char_indices() {
            if c == ' ' && folds && at > 0 && self.folds_at(text, at, before) {
                self.start_line();
            } else {
                if c == '\'' {
                    self.push('\'');
                }
                self.push(c);
                self.only_indented = false;
            }
            before = c;
        }
        self.push('\'');
        self.within_line();
    }

    fn double_quoted(&mut self, text: &str, folds: bool) {
        self.mark("\"", false);
        // A byte order mark in front makes the original escape the whole text.
        let everything = text.starts_with('\u{feff}');
        let mut before = '\0';
        for (at, c) in text.char_indices() {
            let rest = &text[at + c.len_utf8()..];
            if everything || text::is_escaped(c) {
                self.escaped(c);
                before = '\0';
                continue;
            }
            if c == ' ' && folds && before != ' ' && self.column > WIDTH && at > 0 && !rest.is_empty() {
                self.start_line();
                if rest.starts_with(' ') {
                    self.push('\\');
                }
            } else {
                self.push(c);
                self.only_indented = false;
            }
            before = c;
        }
        self.push('"');
        self.within_line();
    }

    fn escaped(&mut self, c: char) {
        let short = match c {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            _ => {
                let code = u32::from(c);
                let start = self.out.len();
                let _ = match code {
                    0..=0xff => write!(self.out, "\\x{code:02X}"),
                    0x100..=0xffff => write!(self.out, "\\u{code:04X}"),
                    _ => write!(self.out, "\\U{code:08X}"),
                };
                self.column += self.out.len() - start;
                return;
            }
        };
        self.push('\\');
        self.push(short);
    }

    fn literal(&mut self, text: &str) {
        self.mark("|", false);
        if text.starts_with([' ', '\n']) {
            // The reader cannot see how deep the first line is.
            self.push('2');
        }
        if !text.ends_with('\n') {
            self.push('-');
        } else if text == "\n" || text.ends_with("\n\n") {
            self.push('+');
        }
        self.end_line();
        (self.after_space, self.only_indented) = (true, true);
        let mut at_start = true;
        for c in text.chars() {
            if c == '\n' {
                self.end_line();
                self.only_indented = true;
                at_start = true;
                continue;
            }
            if at_start {
                self.start_line();
            }
            self.push(c);
            self.only_indented = false;
            at_start = false;
        }
    }

    /// Whether the line may end at the space at `at`: a space alone, beyond the width, within the text.
    fn folds_at(&self, text: &str, at: usize, before: char) -> bool {
        before != ' ' && self.column > WIDTH && text.as_bytes().get(at + 1).is_some_and(|next| *next != b' ')
    }

    fn push(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    /// A mark of YAML's own, set off from what is before it.
    fn mark(&mut self, mark: &str, begins_block: bool) {
        self.set_off();
        mark.chars().for_each(|c| self.push(c));
        self.after_space = false;
        self.only_indented = self.only_indented && begins_block;
    }

    fn set_off(&mut self) {
        if !self.after_space {
            self.push(' ');
        }
    }

    fn within_line(&mut self) {
        (self.after_space, self.only_indented) = (false, false);
    }

    fn end_line(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    /// Goes to where the block's lines begin, in a new line if something stands in this one.
    fn start_line(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.only_indented || self.column > indent || self.column == indent && !self.after_space {
            self.end_line();
        }
        while self.column < indent {
            self.push(' ');
        }
        (self.after_space, self.only_indented) = (true, true);
    }
}

/// A number as Go writes it: what looks like an integer in full, others as short as they can be read back.
fn decimal(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    // The original reads its own JSON, which has no fraction where there is none, and tells integers by their looks.
    let plain = float.to_string();
    if plain == "-0" {
        return "0".into();
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) || plain.parse::<i64>().is_ok() || plain.parse::<u64>().is_ok() {
        return plain;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests;
