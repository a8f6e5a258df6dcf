//! What Go's regexp/syntax refuses, and how it says so. The expression is only read, not built: what passes here the engine may
//! still refuse.

/// Most repetitions, of one expression and of nested ones together.
const MOST: u64 = 1000;

/// The first thing that is wrong: what, and the part of the expression that is told.
pub(super) fn check(source: &str) -> Result<(), (&'static str, String)> {
    Reader { source, at: 0, groups: Vec::new(), atom: None, last_repeat: None, inner: 0 }.read()
}

type Wrong = (&'static str, String);

const PERL: &str = "invalid or unsupported Perl syntax";
const ESCAPE: &str = "invalid escape sequence";
const RANGE: &str = "invalid character class range";

struct Reader<'s> {
    source: &'s str,
    at: usize,
    /// For each open group the most repetitions that were seen before it.
    groups: Vec<u64>,
    /// How often what stands before may repeat something, if it can be repeated.
    atom: Option<u64>,
    /// Where a repetition began that has just ended.
    last_repeat: Option<usize>,
    /// The most repetitions in this group.
    inner: u64,
}

impl<'s> Reader<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn accept(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn wrong(&self, what: &'static str, from: usize) -> Wrong {
        (what, self.source[from..self.at].to_owned())
    }

    fn read(mut self) -> Result<(), Wrong> {
        while let Some(c) = self.peek() {
            let start = self.at;
            let mut repeated = false;
            match c {
                '(' => self.open()?,
                ')' => {
                    self.at += 1;
                    let Some(before) = self.groups.pop() else { return Err(("unexpected )", self.source.to_owned())) };
                    self.atom = Some(self.inner.max(1));
                    self.inner = self.inner.max(before);
                }
                '|' => {
                    self.at += 1;
                    self.atom = None;
                }
                '[' => {
                    self.class()?;
                    self.literal();
                }
                '*' | '+' | '?' => {
                    self.at += 1;
                    self.repeat(start, 0)?;
                    repeated = true;
                }
                '{' => match self.counts() {
                    Some((low, high)) => {
                        let most = high.unwrap_or(low).max(low);
                        if low > MOST || most > MOST || high.is_some_and(|high| low > high) {
                            return Err(self.wrong("invalid repeat count", start));
                        }
                        self.repeat(start, most)?;
                        repeated = true;
                    }
                    None => {
                        self.at += 1;
                        self.literal();
                    }
                },
                '\\' => {
                    self.escape(false)?;
                    self.literal();
                }
                _ => {
                    self.at += c.len_utf8();
                    self.literal();
                }
            }
            self.last_repeat = repeated.then_some(start);
        }
        match self.groups.is_empty() {
            true => Ok(()),
            false => Err(("missing closing )", self.source.to_owned())),
        }
    }

    fn literal(&mut self) {
        self.atom = Some(1);
    }

    fn repeat(&mut self, start: usize, most: u64) -> Result<(), Wrong> {
        let end = self.at;
        self.accept("?");
        if let Some(before) = self.last_repeat {
            return Err(self.wrong("invalid nested repetition operator", before));
        }
        let Some(atom) = self.atom else {
            return Err(self.wrong("missing argument to repetition operator", start));
        };
        let times = atom.saturating_mul(most.max(1));
        if most >= 2 && times > MOST {
            return Err(("invalid repeat count", self.source[start..end].to_owned()));
        }
        self.atom = Some(times);
        self.inner = self.inner.max(times);
        Ok(())
    }

    /// `{3}`, `{3,}`, `{3,5}`; anything else stands for itself.
    fn counts(&mut self) -> Option<(u64, Option<u64>)> {
        let (inside, _) = self.rest()[1..].split_once('}')?;
        let (low, high) = match inside.split_once(',') {
            None => (inside, Some(inside)),
            Some((low, "")) => (low, None),
            Some((low, high)) => (low, Some(high)),
        };
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            (digits && (text == "0" || !text.starts_with('0'))).then(|| text.parse().unwrap_or(u64::MAX))
        };
        let counts = (number(low)?, high.map(number).map_or(Some(None), |high| high.map(Some))?);
        self.at += inside.len() + 2;
        Some(counts)
    }

    /// `(`, `(?:`, `(?i)`, `(?P<name>`.
    fn open(&mut self) -> Result<(), Wrong> {
        let start = self.at;
        self.at += 1;
        if self.accept("?P<")
            || (self.rest().starts_with("?<")
                && !self.rest().starts_with("?<=")
                && !self.rest().starts_with("?<!")
                && self.accept("?<"))
        {
            let Some(length) = self.rest().find('>') else {
                return Err(("invalid named capture", self.source[start..].to_owned()));
            };
            let name = &self.rest()[..length];
            self.at += length + 1;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(self.wrong("invalid named capture", start));
            }
        } else if self.accept("?") {
            let mut flags = false;
            let mut minus = false;
            loop {
                match self.next() {
                    Some('i' | 'm' | 's' | 'U') => flags = true,
                    Some('-') if !minus => (minus, flags) = (true, false),
                    Some(':') if flags || !minus => break,
                    // Flags for the rest of the group are no group.
                    Some(')') if flags || !minus => return Ok(()),
                    _ => return Err(self.wrong(PERL, start)),
                }
            }
        }
        self.groups.push(self.inner);
        (self.atom, self.inner) = (None, 0);
        Ok(())
    }

    fn class(&mut self) -> Result<(), Wrong> {
        let start = self.at;
        let open = || ("missing closing ]", self.source[start..].to_owned());
        let unclosed = open();
        self.at += 1;
        self.accept("^");
        let mut first = true;
        while first || !self.rest().starts_with(']') {
            first = false;
            if self.rest().is_empty() {
                return Err(unclosed);
            }
            let begin = self.at;
            if let Some(length) = self.rest().strip_prefix("[:").and_then(|inner| inner.find(":]")) {
                self.at += length + 4;
                if !is_posix(&self.source[begin + 2..self.at - 2]) {
                    return Err(self.wrong(RANGE, begin));
                }
                continue;
            }
            let Some(low) = self.class_char(&unclosed)? else { continue };
            let after = self.rest();
            if after.starts_with('-') && after.len() >= 2 && !after[1..].starts_with(']') {
                self.at += 1;
                let high = self.class_char(&unclosed)?;
                if high.is_none_or(|high| high < low) {
                    return Err(self.wrong(RANGE, begin));
                }
            }
        }
        self.at += 1;
        Ok(())
    }

    /// A character of a class; none if it is a class itself.
    fn class_char(&mut self, unclosed: &Wrong) -> Result<Option<char>, Wrong> {
        match self.peek() {
            None => Err(unclosed.clone()),
            Some('\\') => self.escape(true),
            Some(c) => {
                self.at += c.len_utf8();
                Ok(Some(c))
            }
        }
    }

    fn escape(&mut self, in_class: bool) -> Result<Option<char>, Wrong> {
        let start = self.at;
        self.at += 1;
        let Some(c) = self.next() else {
            return Err(("trailing backslash at end of expression", String::new()));
        };
        match c {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => Ok(None),
            'A' | 'z' | 'b' | 'B' if !in_class => Ok(None),
            'Q' if !in_class => {
                let length = self.rest().find("\\E").map_or(self.rest().len(), |at| at + 2);
                self.at += length;
                Ok(None)
            }
            'p' | 'P' => {
                if self.accept("{") {
                    match self.rest().find('}') {
                        Some(length) => self.at += length + 1,
                        None => {
                            self.at = self.source.len();
                            return Err(self.wrong(RANGE, start));
                        }
                    }
                } else if self.next().is_none() {
                    return Err(self.wrong(RANGE, start));
                }
                Ok(None)
            }
            'x' => self.hexadecimal(start).map(Some),
            '1'..='7' if !self.peek().is_some_and(|c| ('0'..='7').contains(&c)) => Err(self.wrong(ESCAPE, start)),
            '0'..='7' => {
                let mut value = c as u32 - '0' as u32;
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
                    self.at += 1;
                    value = value * 8 + digit;
                }
                Ok(char::from_u32(value))
            }
            'a' | 'f' | 'n' | 'r' | 't' | 'v' => Ok(Some(match c {
                'a' => '\u{7}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                _ => '\u{b}',
            })),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(Some(c)),
            _ => Err(self.wrong(ESCAPE, start)),
        }
    }

    fn hexadecimal(&mut self, start: usize) -> Result<char, Wrong> {
        let braces = self.accept("{");
        let mut value = 0_u32;
        let mut digits = 0;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(16)).filter(|_| braces || digits < 2) {
            self.at += 1;
            digits += 1;
            value = value.saturating_mul(16).saturating_add(digit);
        }
        let closed = if braces { digits > 0 && self.accept("}") } else { digits == 2 };
        match char::from_u32(value).filter(|_| closed) {
            Some(c) => Ok(c),
            None => {
                self.next();
                Err(self.wrong(ESCAPE, start))
            }
        }
    }
}

fn is_posix(name: &str) -> bool {
    matches!(
        name.strip_prefix('^').unwrap_or(name),
        "alnum"
            | "alpha"
            | "ascii"
            | "blank"
            | "cntrl"
            | "digit"
            | "graph"
            | "lower"
            | "print"
            | "punct"
            | "space"
            | "upper"
            | "word"
            | "xdigit"
    )
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        for (source, what, part) in [
            ("(", "missing closing )", "("),
            ("a)b", "unexpected )", "a)b"),
            ("(?=a)", "invalid or unsupported Perl syntax", "(?="),
            ("a{1001}", "invalid repeat count", "{1001}"),
            ("a{2,1}", "invalid repeat count", "{2,1}"),
            ("(a{100}){100}", "invalid repeat count", "{100}"),
            (r"\8", "invalid escape sequence", r"\8"),
            (r"\q", "invalid escape sequence", r"\q"),
            ("**", "missing argument to repetition operator", "*"),
            ("a**", "invalid nested repetition operator", "**"),
            ("a|*", "missing argument to repetition operator", "*"),
            ("x[z-a]", "invalid character class range", "z-a"),
            ("[[:foo:]]", "invalid character class range", "[:foo:]"),
            ("a[bc", "missing closing ]", "[bc"),
            ("a\\", "trailing backslash at end of expression", ""),
            ("(?P<n", "invalid named capture", "(?P<n"),
        ] {
            assert_eq!(check(source), Err((what, part.to_owned())), "{source}");
        }
    }

    #[test]
    fn what_go_takes_is_taken() {
        for source in [
            "",
            "^(a|b)*c+?$",
            r"[\w.-]+@[^]a]",
            "a{,2}{x}",
            "(?i)a(?s:b)(?P<n>c)(?<m>d)",
            r"\x41\x{1F600}\012\Qa(b\E\pL\p{Greek}",
            "[a-z&&~-]",
            "(a{10}b{10}){10}",
            "|",
            "()*",
            "日本+",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }
}
