//! A case as its file has it, and writing the file again after recording.

use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

/// One script and what is expected of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// Unique name.
    pub(super) name: String,
    /// What it is about, where the script does not tell.
    #[serde(default)]
    pub(super) why: Option<String>,
    /// The script, run by bash.
    pub(super) run: String,
    /// The expectation is what Apptainer does in the same moment, as it depends on the machine or
    /// is text of Apptainer's own.
    #[serde(default)]
    pub(super) live: bool,
    /// Its standard output.
    #[serde(default)]
    pub(super) stdout: String,
    /// Exit code as a shell sees it.
    #[serde(default)]
    pub(super) code: Option<i32>,
    /// All of standard error.
    #[serde(default)]
    pub(super) stderr: String,
    /// Instead of all of `stderr`: what has to be found in it, where the rest is free.
    #[serde(default)]
    pub(super) stderr_has: Option<Vec<String>>,
    /// Files made or changed in the case's folder, the test user's home included.
    #[serde(default)]
    pub(super) files: String,
    /// Where skiff is meant to differ.
    #[serde(default)]
    pub(super) skiff: Option<Differs>,
}

/// A difference that is meant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Differs {
    /// Why.
    pub(super) why: String,
    /// Standard output, if it is that which differs.
    #[serde(default)]
    pub(super) stdout: Option<String>,
    /// Exit code, likewise.
    #[serde(default)]
    pub(super) code: Option<i32>,
    /// What has to be found in standard error.
    #[serde(default)]
    pub(super) stderr_has: Option<Vec<String>>,
}

/// What a program did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Observed {
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) code: Option<i32>,
    pub(super) files: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

impl Case {
    /// Makes what was observed the expectation.
    pub(super) fn take(&mut self, observed: Observed) {
        self.stdout = observed.stdout;
        self.stderr = observed.stderr;
        self.code = observed.code;
        self.files = observed.files;
    }
}

/// Reads a file of cases.
pub(super) fn read(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file: File = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.case
}

/// Writes the file of `cases` again, keeping the comment at its head.
pub(super) fn record(path: &Path, cases: &[Case]) {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let mut text: String = old
        .lines()
        .take_while(|line| line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    for case in cases {
        text.push_str("\n[[case]]\n");
        field(&mut text, "name", &case.name);
        if let Some(why) = &case.why {
            field(&mut text, "why", why);
        }
        field(&mut text, "run", &case.run);
        if case.live {
            text.push_str("live = true\n");
        }
        if let Some(code) = case.code {
            writeln!(text, "code = {code}").expect("a string");
        }
        for (key, value) in [("stdout", &case.stdout), ("files", &case.files)] {
            if !value.is_empty() {
                field(&mut text, key, value);
            }
        }
        match &case.stderr_has {
            Some(parts) => list(&mut text, "stderr_has", parts),
            None if case.stderr.is_empty() => {}
            None => field(&mut text, "stderr", &case.stderr),
        }
        if let Some(differs) = &case.skiff {
            text.push_str("[case.skiff]\n");
            field(&mut text, "why", &differs.why);
            if let Some(stdout) = &differs.stdout {
                field(&mut text, "stdout", stdout);
            }
            if let Some(code) = differs.code {
                writeln!(text, "code = {code}").expect("a string");
            }
            if let Some(parts) = &differs.stderr_has {
                list(&mut text, "stderr_has", parts);
            }
        }
    }
    std::fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn field(text: &mut String, key: &str, value: &str) {
    let literal = !value.contains("'''")
        && !value.ends_with('\'')
        && !value
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\t');
    let written = if !literal || (!value.contains('\n') && !value.contains(['"', '\\'])) {
        quoted(value)
    } else if value.contains('\n') {
        format!("'''\n{value}'''")
    } else if value.contains('\'') {
        format!("'''{value}'''")
    } else {
        format!("'{value}'")
    };
    writeln!(text, "{key} = {written}").expect("a string");
}

fn list(text: &mut String, key: &str, values: &[String]) {
    let quoted: Vec<_> = values.iter().map(|value| quoted(value)).collect();
    writeln!(text, "{key} = [{}]", quoted.join(", ")).expect("a string");
}

fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)).expect("a string"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
