// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running host commands: silent when they succeed, with their last lines in the error when they do not.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// How many lines of a failed command's output go into the error.
const TAIL: usize = 30;

/// Runs `command` to its end and gives its standard output; a status other than 0 is an error that shows the
/// command and the end of what it printed.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let shown = format!("{command:?}");
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        let mut all = stdout;
        all.extend(stderr);
        bail!("{shown}\nended with {status}; its last lines:\n{}", tail(&String::from_utf8_lossy(&all)));
    }
    Ok(stdout)
}

/// As [`output`], for text.
pub fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?).into_owned())
}

/// The last lines of `text`.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
