//! `pattern`: a regular expression in Go's syntax (RE2), run by an engine that is as linear. What the two write differently is
//! rewritten; the compiled program is bounded, so that no pattern costs more than a moment.

use std::fmt;
use std::sync::{Arc, OnceLock};

use regex::{Regex, RegexBuilder};

mod syntax;

/// Bytes that a compiled pattern may have.
const PROGRAM_LIMIT: usize = 1 << 20;
/// Longest pattern that is looked at.
const LONGEST: usize = 16 << 10;

/// A pattern, compiled when it is first asked for.
#[derive(Clone)]
pub struct Pattern {
    source: Arc<str>,
    compiled: Arc<OnceLock<Result<Regex, PatternError>>>,
}

/// Why a pattern is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct PatternError(String);

impl Pattern {
    /// A pattern as it is written.
    pub fn new(source: &str) -> Self {
        Self { source: source.into(), compiled: Arc::default() }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether a text contains a match.
    pub fn matches(&self, text: &str) -> Result<bool, PatternError> {
        self.regex().map(|regex| regex.is_match(text))
    }

    /// Whether it can be compiled.
    pub fn check(&self) -> Result<(), PatternError> {
        self.regex().map(drop)
    }

    /// What it is compiled to.
    pub fn regex(&self) -> Result<&Regex, PatternError> {
        self.compiled.get_or_init(|| compile(&self.source)).as_ref().map_err(Clone::clone)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)
    }
}

fn compile(source: &str) -> Result<Regex, PatternError> {
    if source.len() > LONGEST {
        return Err(PatternError(format!("expression is longer than {LONGEST} bytes")));
    }
    syntax::check(source).map_err(|(what, part)| PatternError(format!("{what}: `{part}`")))?;
    let mut builder = RegexBuilder::new(&translate(source));
    builder.size_limit(PROGRAM_LIMIT).dfa_size_limit(PROGRAM_LIMIT).nest_limit(100);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => PatternError(format!("expression too large: `{source}`")),
        error => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            PatternError(format!("{reason}: `{source}`"))
        }
    })
}

/// Go's syntax in the engine's: ASCII classes, braces and brackets that stand for themselves, `\Q…\E`.
fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut rest = source;
    let mut class = false;
    // Whether the next `]` stands for itself: the first character of a class.
    let mut first = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        if c == '\\' {
            let Some(escaped) = after.chars().next() else {
                out.push('\\');
                break;
            };
            rest = &after[escaped.len_utf8()..];
            first = false;
            match escaped {
                'd' => out.push_str("[0-9]"),
                'D' => out.push_str("[^0-9]"),
                'w' => out.push_str("[0-9A-Za-z_]"),
                'W' => out.push_str("[^0-9A-Za-z_]"),
                's' => out.push_str("[\\t\\n\\f\\r ]"),
                'S' => out.push_str("[^\\t\\n\\f\\r ]"),
                'b' if !class => out.push_str("(?-u:\\b)"),
                'Q' if !class => {
                    let (quoted, tail) = rest.split_once("\\E").unwrap_or((rest, ""));
                    out.push_str(&regex::escape(quoted));
                    rest = tail;
                }
                'p' | 'P' | 'x' => {
                    out.push('\\');
                    out.push(escaped);
                    // Their braces are no repetition.
                    if let Some(end) = rest.strip_prefix('{').and_then(|r| r.find('}')) {
                        out.push_str(&rest[..end + 2]);
                        rest = &rest[end + 2..];
                    }
                }
                other => {
                    out.push('\\');
                    out.push(other);
                }
            }
            continue;
        }
        rest = after;
        if class {
            match c {
                ']' if first => out.push_str("\\]"),
                ']' => {
                    out.push(']');
                    class = false;
                }
                '[' => match after.strip_prefix(':').and_then(|r| r.find(":]")) {
                    Some(end) => {
                        out.push('[');
                        out.push_str(&after[..end + 3]);
                        rest = &after[end + 3..];
                    }
                    None => out.push_str("\\["),
                },
                '&' | '~' => {
                    out.push('\\');
                    out.push(c);
                }
                '-' if after.starts_with('-') || out.ends_with("\\-") => out.push_str("\\-"),
                c => out.push(c),
            }
            first = false;
            continue;
        }
        match c {
            '[' => {
                class = true;
                first = true;
                out.push('[');
                if let Some(tail) = after.strip_prefix('^') {
                    out.push('^');
                    rest = tail;
                }
            }
            '{' if !is_repetition(after) => out.push_str("\\{"),
            '}' if !out_is_in_repetition(&out) => out.push_str("\\}"),
            c => out.push(c),
        }
    }
    out
}

/// Whether what follows a brace makes it a repetition: `3}`, `3,}`, `3,5}`.
fn is_repetition(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, "0"));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

/// Whether the text so far ends within the braces of a repetition.
fn out_is_in_repetition(out: &str) -> bool {
    let digits = out.trim_end_matches(|c: char| c.is_ascii_digit() || c == ',');
    digits.len() < out.len() && digits.ends_with('{') && !digits.ends_with("\\{")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).matches(text).unwrap_or_else(|e| panic!("{pattern}: {e}"))
    }

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        assert!(matches(r"^\d{3}$", "123") && !matches(r"^\d{3}$", "١٢٣"));
        assert!(matches(r"^{.*}$", "{a}"), "a brace stands for itself");
        assert!(matches(r"^a{,2}$", "a{,2}"));
        assert!(matches(r"^a{1,2}b{2,}$", "aabbb"));
        assert!(matches(r"^[]a]+$", "]a") && matches(r"^[[a]+$", "[a"));
        assert!(matches(r"^[[:alpha:]]+$", "abc") && !matches(r"^[[:alpha:]]+$", "1"));
        assert!(matches(r"^\Qa.b\E$", "a.b") && !matches(r"^\Qa.b\E$", "axb"));
        assert!(matches(r"^[\w.-]+$", "a_b.c-d"));
        assert!(matches(r"\bfoo\b", "a foo b"));
        assert!(matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", "a.b-c"));
        assert!(matches(r"^\p{Greek}\x{41}$", "αA"));
    }

    #[test]
    fn what_cannot_be_compiled_says_so_at_once() {
        for bomb in ["((a{100}){100}){100}", "(", "*", "[z-a]", &"(a".repeat(20_000), r"a\"] {
            assert!(Pattern::new(bomb).check().is_err(), "{}", &bomb[..bomb.len().min(40)]);
        }
    }

    #[test]
    fn matching_takes_no_more_than_linear_time() {
        assert!(!matches("^(a+)+$", &format!("{}!", "a".repeat(100_000))));
    }
}
