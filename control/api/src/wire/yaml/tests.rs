use std::time::Instant;

use serde_json::{Value, json};

use super::super::parse_yaml;
use super::to_string;

fn line(text: &str) -> String {
    let written = to_string(&json!({"k": text}));
    written.strip_prefix("k:").unwrap().trim_start_matches(' ').to_owned()
}

#[test]
fn texts_are_quoted_where_they_must_be() {
    for (text, written) in [
        ("", "\"\"\n"),
        ("plain words", "plain words\n"),
        ("yes", "\"yes\"\n"),
        ("no", "\"no\"\n"),
        ("on", "\"on\"\n"),
        ("null", "\"null\"\n"),
        ("~", "\"~\"\n"),
        ("1", "\"1\"\n"),
        ("0777", "\"0777\"\n"),
        ("1e3", "\"1e3\"\n"),
        ("2026-11-22T08:00:00Z", "\"2026-11-22T08:00:00Z\"\n"),
        ("1:30", "\"1:30\"\n"),
        (" a", "' a'\n"),
        ("a ", "'a '\n"),
        ("a: b", "'a: b'\n"),
        ("a:", "'a:'\n"),
        ("a:b", "a:b\n"),
        ("a #b", "'a #b'\n"),
        ("a#b", "a#b\n"),
        ("#a", "'#a'\n"),
        ("- a", "'- a'\n"),
        ("-a", "-a\n"),
        ("---", "'---'\n"),
        ("...a", "'...a'\n"),
        ("? a", "'? a'\n"),
        ("?a", "?a\n"),
        ("[a]", "'[a]'\n"),
        ("a[0]", "a[0]\n"),
        ("{}", "'{}'\n"),
        ("*", "'*'\n"),
        ("it's", "it's\n"),
        ("'it' is", "'''it'' is'\n"),
        ("\"a\"", "'\"a\"'\n"),
        ("a\tb", "\"a\\tb\"\n"),
        ("a\\b", "a\\b\n"),
        ("é ü 漢", "é ü 漢\n"),
        ("😀", "\"\\U0001F600\"\n"),
        ("\u{0}\u{1}\u{7}\u{8}\u{b}\u{c}\r\u{1b}\u{7f}\u{85}", "\"\\0\\x01\\a\\b\\v\\f\\r\\e\\x7F\\N\"\n"),
        ("\u{2028}a\u{2029}\u{feff}", "\"\\La\\P\\uFEFF\"\n"),
        ("a\nb", "|-\n  a\n  b\n"),
        ("a\nb\n", "|\n  a\n  b\n"),
        ("a\n\n", "|+\n  a\n\n"),
        ("\n", "|2+\n\n"),
        ("\na", "|2-\n\n  a\n"),
        ("  a\nb", "|2-\n    a\n  b\n"),
        ("a\n  b", "|-\n  a\n    b\n"),
        ("a \nb", "\"a \\nb\"\n"),
        ("a\nb ", "\"a\\nb \"\n"),
        ("a\n\tb", "\"a\\n\\tb\"\n"),
    ] {
        assert_eq!(line(text), written, "{text:?}");
    }
}

#[test]
fn blocks_are_laid_out_as_goes_writer_does() {
    let value = json!({
        "b": {"list": [1, [2, [3]], {"x": 1, "a": [true]}, [], {}, null, "t\nu"], "empty": {}, "none": []},
        "a": 1.5,
        "k10": 1, "k9": 2,
    });
    let written = "\
a: 1.5
b:
  empty: {}
  list:
  - 1
  - - 2
    - - 3
  - a:
    - true
    x: 1
  - []
  - {}
  - null
  - |-
    t
    u
  none: []
k9: 2
k10: 1
";
    assert_eq!(to_string(&value), written);
    assert_eq!(to_string(&json!([])), "[]\n");
    assert_eq!(to_string(&json!([[1], {"a": 1}])), "- - 1\n- a: 1\n");
    assert_eq!(to_string(&json!("a")), "a\n");
}

#[test]
fn keys_are_quoted_as_texts_are_and_long_ones_are_marked() {
    let long = "k".repeat(129);
    let written = to_string(&json!({"n": 1, "": 2, "a: b": 3, "two\nlines": [4], &long: {"x": [5]}, "<<": 6}));
    let expected =
        format!("\"\": 2\n\"<<\": 6\n'a: b': 3\n? {long}\n: x:\n  - 5\n\"n\": 1\n? |-\n  two\n  lines\n: - 4\n");
    assert_eq!(written, expected);
}

#[test]
fn long_texts_fold_behind_their_width() {
    let words = |word: &str, count: usize| vec![word; count].join(" ");
    assert_eq!(line(&words("word", 20)), format!("{}\n  {}\n", words("word", 16), words("word", 4)));
    assert_eq!(
        line(&format!("a: {}", words("word", 20))),
        format!("'a: {}\n  {}'\n", words("word", 15), words("word", 5))
    );
    assert_eq!(
        line(&format!("\t{}", words("word", 20))),
        format!("\"\\t{}\n  {}\"\n", words("word", 16), words("word", 4))
    );
    // Not where two spaces stand, but between double quotes.
    let wide = "w".repeat(90);
    assert_eq!(line(&format!("{wide}  x y")), format!("{wide}  x\n  y\n"));
    assert_eq!(line(&format!("\t{wide}  x y")), format!("\"\\t{wide}\n  \\ x y\"\n"));
    // Literal lines and keys never.
    assert_eq!(line(&format!("{wide} x\ny")), format!("|-\n  {wide} x\n  y\n"));
    let key = words("word", 20);
    assert_eq!(to_string(&json!({&key: 1})), format!("{key}: 1\n"));
}

#[test]
fn numbers_are_written_as_go_does() {
    let value: Value = serde_json::from_str(
        "[0, -0.0, 1.0, -5, 18446744073709551615, 1e20, 1e21, 123456789.5, 0.0001, 0.00001, 1.5e-7, 100000.5, 1000000.5, 9223372036854775808.0]",
    )
    .unwrap();
    let written = "- 0\n- 0\n- 1\n- -5\n- 18446744073709551615\n- 1e+20\n- 1e+21\n- 1.234567895e+08\n- 0.0001\n- 1e-05\n- 1.5e-07\n- 100000.5\n- 1.0000005e+06\n- 9223372036854776000\n";
    assert_eq!(to_string(&value), written);
}

/// Draws values from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn text(&mut self) -> String {
        // Not U+00A0, which our reader takes for a space (`yes` with one is true), and not `_`, which it passes over (`_1` is 1).
        const PIECES: [&str; 42] = [
            "a",
            "b c",
            " ",
            "  ",
            "\n",
            "\n\n",
            "\t",
            ":",
            ": ",
            "#",
            " #",
            "-",
            "- ",
            "?",
            ",",
            "[",
            "]",
            "{",
            "}",
            "'",
            "\"",
            "\\",
            "é",
            "漢",
            "😀",
            "\u{0}",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\r",
            "1",
            "0x1",
            "1.5",
            "e3",
            "yes",
            "null",
            "~",
            "2026-11-22",
            "<<",
            ".",
            "a word that is rather long beside the others, so that lines are folded somewhere",
        ];
        (0..self.below(7)).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 8 } else { 12 }) {
            0 => Value::Null,
            1 => self.below(2).eq(&0).into(),
            2 => (self.below(2000) as i64 - 1000).into(),
            3 => ((self.below(2000) as f64 - 1000.0) / 64.0 + 0.5 / 64.0).into(),
            4..=7 => self.text().into(),
            8 | 9 => (0..self.below(5)).map(|_| self.value(depth - 1)).collect(),
            _ => Value::Object((0..self.below(5)).map(|_| (self.text(), self.value(depth - 1))).collect()),
        }
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        let value = draw.value(4);
        let written = to_string(&value);
        let (read, twice) =
            parse_yaml(written.as_bytes()).unwrap_or_else(|error| panic!("{error}: {value}\n{written}"));
        assert_eq!(read, value, "{written}");
        assert_eq!(twice, None);
    }
}

#[test]
fn the_work_grows_with_the_text_alone() {
    for text in
        ["a ".repeat(200_000), "\n".repeat(400_000), "1_".repeat(200_000), "1:".repeat(200_000), " \t'".repeat(100_000)]
    {
        let start = Instant::now();
        to_string(&json!({"k": text}));
        assert!(start.elapsed().as_secs() < 5);
    }
    let digits = "0".repeat(2000);
    let many: Value =
        (0..2000).map(|n| (format!("{digits}{n}"), Value::from(n))).collect::<serde_json::Map<_, _>>().into();
    let start = Instant::now();
    to_string(&many);
    assert!(start.elapsed().as_secs() < 5);
}
