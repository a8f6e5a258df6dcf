//! Running commands and quoting what they said when they fail.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

/// Runs a command to its end, whatever its exit code.
pub fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("starting {}", words(command)))
}

/// Runs a command that must succeed and returns what it printed.
pub fn stdout(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{} ended with {}\n{text}{}", words(command), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
