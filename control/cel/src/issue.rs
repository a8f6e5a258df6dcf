//! What is wrong with an expression, shown as cel-go shows it: the place, the text, the line and a caret.

use std::fmt;

/// A line longer than this is not repeated.
const MAX_SNIPPET: usize = 16384;
/// So many are told.
const MAX_ISSUES: usize = 100;

/// One thing that is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Where, in characters from the start.
    pub offset: u32,
    /// What.
    pub message: String,
}

/// What is wrong with an expression. `Display` is cel-go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Issues {
    text: String,
    issues: Vec<Issue>,
}

impl Issue {
    /// Where no place is told: what is wrong is the whole.
    pub const NOWHERE: u32 = u32::MAX;
}

impl Issues {
    /// Sorted by place.
    pub fn new(source: &str, mut issues: Vec<Issue>) -> Self {
        issues.sort_by_key(|i| i.offset);
        Self { text: source.to_owned(), issues }
    }

    /// Them.
    pub fn iter(&self) -> impl Iterator<Item = &Issue> {
        self.issues.iter()
    }
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, issue) in self.issues.iter().take(MAX_ISSUES).enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            show(f, &self.text, issue)?;
        }
        if self.issues.len() > MAX_ISSUES {
            write!(f, "\n{} more errors were truncated", self.issues.len() - MAX_ISSUES)?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, source: &str, issue: &Issue) -> fmt::Result {
    if issue.offset == Issue::NOWHERE {
        return write!(f, "ERROR: <input>:-1:0: {}", issue.message);
    }
    let (mut line, mut column) = (1, 0);
    for c in source.chars().take(issue.offset as usize) {
        if c == '\n' {
            (line, column) = (line + 1, 0);
        } else {
            column += 1;
        }
    }
    write!(f, "ERROR: <input>:{line}:{}: {}", column + 1, issue.message)?;
    let Some(snippet) = source.split('\n').nth(line - 1).filter(|s| s.len() <= MAX_SNIPPET) else { return Ok(()) };
    write!(f, "\n | {}\n | ", snippet.replace('\t', " "))?;
    let mut chars = snippet.chars();
    for c in chars.by_ref().take(column) {
        f.write_str(if c.len_utf8() > 1 { "\u{ff0e}" } else { "." })?;
    }
    f.write_str(if chars.next().is_some_and(|c| c.len_utf8() > 1) { "\u{ff3e}" } else { "^" })
}
