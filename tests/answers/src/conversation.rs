//! A file of cases, held with a server from beginning to end: a later request may name what an earlier answer said.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use regex::Regex;
use serde_json::{Value, json};

use crate::answer::Raw;
use crate::case::Case;
use crate::compare::differences;
use crate::ours::Ours;
use crate::theirs::Theirs;

/// All files of cases, or those whose name contains `filter`.
pub fn files(filter: Option<&str>) -> Result<Vec<PathBuf>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("listing {}", directory.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".jsonl") && filter.is_none_or(|filter| name.contains(filter)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Asks ours; what it answers otherwise, and what no longer differs although it is said to.
pub async fn replay(path: &Path) -> Result<Vec<String>> {
    let cases = read(path)?;
    let server = Ours::start(ranges(path)).await?;
    server.ask(&service_account()).await?;
    let mut memory = Memory::default();
    let mut complaints = Vec::new();
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    for (index, case) in cases.iter().enumerate() {
        let place = format!("{file}:{}: {} ({} {})", index + 1, case.what, case.method, case.path);
        let Some(theirs) = &case.answer else { bail!("{place} was never recorded: see README.md") };
        let raw = server.ask(&memory.filled(case)?).await.with_context(|| place.clone())?;
        let found = differences(&theirs.blotted_again(), &raw.blotted()?)?;
        memory.keep(case, raw);
        match &case.differs {
            Some(why) if found.is_empty() => {
                complaints.push(format!("{place}\n    no longer differs: take away `differs`: {why}"));
            }
            None if !found.is_empty() => complaints.push(format!("{place}\n    {}", found.join("\n    "))),
            _ => {}
        }
    }
    Ok(complaints)
}

/// Asks a real kube-apiserver and writes down what it answers.
pub fn record(path: &Path) -> Result<()> {
    let mut cases = read(path)?;
    let server = Theirs::start(ranges(path))?;
    for attempt in 0.. {
        let made = server.ask(&service_account())?;
        if made.code == 201 {
            break;
        }
        ensure!(attempt < 50, "no ServiceAccount: {}", String::from_utf8_lossy(&made.body));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mut memory = Memory::default();
    let mut text = String::new();
    for case in &mut cases {
        let raw = server.ask(&memory.filled(case)?).with_context(|| case.what.clone())?;
        case.answer = Some(raw.blotted()?);
        memory.keep(case, raw);
        text += &serde_json::to_string(case)?;
        text.push('\n');
    }
    std::fs::write(path, text)?;
    Ok(())
}

/// Where Services get their addresses from: the file `dual-stack` needs two ranges.
fn ranges(path: &Path) -> &'static str {
    let dual = path.file_stem().is_some_and(|name| name == "dual-stack");
    if dual { "10.96.0.0/12,fd00:10:96::/112" } else { "10.96.0.0/12" }
}

/// Pods need one, and no controller is there to make it.
fn service_account() -> Case {
    Case {
        what: "service account".into(),
        method: "POST".into(),
        path: "/api/v1/namespaces/default/serviceaccounts".into(),
        body: json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}),
        base64: String::new(),
        content: None,
        accept: None,
        headers: Default::default(),
        user: None,
        group: None,
        differs: None,
        answer: None,
    }
}

fn read(path: &Path) -> Result<Vec<Case>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let case: Case = serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), index + 1))?;
        ensure!(cases.iter().all(|other| other.what != case.what), "{}: twice {:?}", path.display(), case.what);
        cases.push(case);
    }
    Ok(cases)
}

/// What was answered so far, by what was tried.
#[derive(Default)]
struct Memory(HashMap<String, Value>);

impl Memory {
    fn keep(&mut self, case: &Case, raw: Raw) {
        if let Some(body) = raw.json() {
            self.0.insert(case.what.clone(), body);
        }
    }

    /// The case with each `${WHAT:/POINTER}` filled in.
    fn filled(&self, case: &Case) -> Result<Case> {
        let mut filled = case.clone();
        filled.path = self.fill(&case.path)?;
        for value in filled.headers.values_mut() {
            *value = self.fill(value)?;
        }
        if !case.body.is_null() {
            filled.body = serde_json::from_str(&self.fill(&case.body.to_string())?)?;
        }
        Ok(filled)
    }

    fn fill(&self, text: &str) -> Result<String> {
        let reference = Regex::new(r"\$\{([^:}]+):([^}]+)\}")?;
        let mut filled = String::new();
        let mut end = 0;
        for found in reference.captures_iter(text) {
            let (whole, what, pointer) = (found.get(0).context("a match")?, &found[1], &found[2]);
            let value = self.0.get(what).and_then(|body| body.pointer(pointer));
            let value = value.with_context(|| format!("{} names what was not answered", whole.as_str()))?;
            filled += &text[end..whole.start()];
            filled += value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned).as_str();
            end = whole.end();
        }
        Ok(filled + &text[end..])
    }
}
