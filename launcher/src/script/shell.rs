//! A small interpreter of the bash dialect, for the scripts that make an image's environment.
//!
//! Why our own: these scripts must be run by the launcher itself, with its rules — commands that
//! are cut off after a minute, none at all in `--env-file`, `exec` that names the payload instead
//! of running it, values that are any bytes — and at the cost of a few microseconds. General
//! embeddable shells know none of these hooks and weigh more than the rest of the program.
//!
//! A script is parsed as a whole ([`parser`]), then walked ([`interpret`]). Builtins run in this
//! process; subshells, pipelines and command substitutions fork, which is safe because the launcher
//! has one thread. A substitution that only calls builtins which print needs no fork.
//!
//! Where Apptainer's interpreter and bash disagree, Apptainer is followed: `export A=1 B=$A` sees
//! the new `A`, the last command of a pipeline runs in the shell itself, an error of a parameter
//! ends the script with status 1.

mod arithmetic;
pub(crate) mod ast;
mod builtins;
mod condition;
mod escapes;
mod expand;
mod interpret;
pub(crate) mod parser;
mod pattern;
mod process;
mod redirect;
mod sys;
#[cfg(test)]
mod tests;
pub(crate) mod variables;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::ast::{Command, List, Text, Word};
pub(crate) use self::builtins::read_script;
use self::variables::{ReadOnly, Value, Variables};
use super::ScriptError;
use crate::report::{Level, Report};

/// Nesting of functions, sourced files, `eval` and compound commands while running.
const MAX_DEPTH: usize = 150;

/// What the scripts may do.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Start programs, fork.
    pub(crate) commands: bool,
    /// Open files: redirections and `source`.
    pub(crate) files: bool,
    /// Longest run of one command.
    pub(crate) timeout: Duration,
}

/// Why the walk over a script leaves the normal path.
#[derive(Debug)]
pub(crate) enum Stop {
    /// `exit`, or an error that ends the script.
    Exit(u8),
    /// `exec program …`: the absolute path and all arguments.
    Exec(Vec<Text>),
    /// The launch cannot go on.
    Fatal(ScriptError),
    Break(u32),
    Continue(u32),
    Return(u8),
}

/// Settings of `set` and `shopt`.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one option of set or shopt"
)]
pub(crate) struct Options {
    /// `-e`
    pub(crate) exit_on_error: bool,
    /// `-u`
    pub(crate) no_unset: bool,
    /// `-f`
    pub(crate) no_glob: bool,
    /// `-a`
    pub(crate) all_export: bool,
    /// `-o pipefail`
    pub(crate) pipe_fail: bool,
    /// `shopt -s nullglob`
    pub(crate) null_glob: bool,
}

impl Options {
    /// The field behind a name of `set -o`.
    fn named(&mut self, name: &[u8]) -> Option<&mut bool> {
        Some(match name {
            b"errexit" => &mut self.exit_on_error,
            b"nounset" => &mut self.no_unset,
            b"noglob" => &mut self.no_glob,
            b"allexport" => &mut self.all_export,
            b"pipefail" => &mut self.pipe_fail,
            b"nullglob" => &mut self.null_glob,
            _ => return None,
        })
    }

    /// The field behind a letter of `set`.
    fn lettered(&mut self, letter: u8) -> Option<&mut bool> {
        Some(match letter {
            b'e' => &mut self.exit_on_error,
            b'u' => &mut self.no_unset,
            b'f' => &mut self.no_glob,
            b'a' => &mut self.all_export,
            _ => return None,
        })
    }

    fn is_on(mut self, name: &[u8]) -> bool {
        self.named(name).is_some_and(|option| *option)
    }

    /// `$-`
    fn letters(self) -> Text {
        let all = [
            (self.all_export, b'a'),
            (self.exit_on_error, b'e'),
            (self.no_glob, b'f'),
            (self.no_unset, b'u'),
        ];
        all.iter()
            .filter(|(on, _)| *on)
            .map(|(_, letter)| *letter)
            .collect()
    }
}

/// The interpreter.
pub(crate) struct Shell<'a> {
    pub(crate) variables: Variables,
    /// `$1`, `$2`, …
    pub(crate) positional: Vec<Text>,
    /// `$0`
    pub(crate) name: Text,
    pub(crate) options: Options,
    functions: BTreeMap<Text, Rc<Command>>,
    policy: Policy,
    report: &'a mut Report<'a>,
    /// `$?`
    status: u8,
    /// Status of the last substitution of the running command.
    substituted: Option<u8>,
    /// Where the output of builtins goes while a substitution runs in this process.
    capture: Option<Text>,
    /// `$!`
    background: Option<u32>,
    /// `$$`
    process: u32,
    line: usize,
    depth: usize,
    /// Loops that `break` can leave.
    loops: usize,
    /// Above 0 where a failure is tested, so that `set -e` does not apply.
    tested: usize,
    started: Instant,
    seed: u32,
}

impl<'a> Shell<'a> {
    /// A shell without variables.
    pub(crate) fn new(name: &[u8], policy: Policy, report: &'a mut Report<'a>) -> Self {
        Self {
            variables: Variables::default(),
            positional: Vec::new(),
            name: name.to_vec(),
            options: Options::default(),
            functions: BTreeMap::new(),
            policy,
            report,
            status: 0,
            substituted: None,
            capture: None,
            background: None,
            process: std::process::id(),
            line: 0,
            depth: 0,
            loops: 0,
            tested: 0,
            started: Instant::now(),
            seed: std::process::id(),
        }
    }

    /// Sets the variables that every shell has: separators, identity, parent, `OPTIND`.
    pub(crate) fn set_own_variables(&mut self) {
        let user = rustix::process::getuid().as_raw();
        let effective = rustix::process::geteuid().as_raw();
        let group = rustix::process::getgid().as_raw();
        for (name, id) in [("UID", user), ("EUID", effective), ("GID", group)] {
            let variable = self.variables.global(name.as_bytes());
            variable.value = Some(Value::Text(id.to_string().into_bytes()));
            variable.readonly = true;
            variable.exported = false;
        }
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        for (name, value) in [
            ("IFS", " \t\n".to_owned()),
            ("OPTIND", "1".to_owned()),
            ("PPID", parent.to_string()),
        ] {
            let variable = self.variables.global(name.as_bytes());
            variable.value = Some(Value::Text(value.into_bytes()));
        }
    }

    /// Runs a parsed script.
    pub(crate) fn run(&mut self, list: &List) -> Result<(), Stop> {
        self.run_list(list)
    }

    /// Expands a word to one text.
    pub(crate) fn expand(&mut self, word: &Word) -> Result<Text, Stop> {
        self.expand_text(word)
    }

    /// A message of the launcher's.
    pub(crate) fn tell(&mut self, severity: Level, text: &str) {
        (self.report)(severity, text);
    }

    /// A message among those of the scripts.
    pub(crate) fn grumble(&self, text: &str) {
        self.complain(text);
    }

    /// Runs a parsed or unparsed script in this shell; a script that cannot be parsed is a
    /// complaint under `origin` and status 1.
    pub(crate) fn run_text(&mut self, origin: &str, script: &[u8]) -> Result<(), Stop> {
        match parser::parse(script) {
            Ok(list) => self.run_list(&list),
            Err(error) => {
                self.complain(&format!("{origin}:{error}"));
                self.status = 1;
                Ok(())
            }
        }
    }

    /// Runs a script as `source` does: `return` ends it.
    pub(crate) fn source_text(&mut self, origin: &str, script: &[u8]) -> Result<(), Stop> {
        match self.deeper(|shell| shell.run_text(origin, script)) {
            Err(Stop::Return(status)) => {
                self.status = status;
                Ok(())
            }
            other => other,
        }
    }

    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        if self.depth >= MAX_DEPTH {
            return Err(Stop::Fatal(ScriptError::Script {
                reason: "script nested too deeply".to_owned(),
            }));
        }
        self.depth = self.depth.saturating_add(1);
        let result = run(self);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    /// A line on the standard error of the scripts.
    fn complain(&self, text: &str) {
        let line = format!("{text}\n");
        redirect::write_all(rustix::stdio::stderr(), line.as_bytes());
    }

    fn complain_about(&self, name: &[u8], reason: &[u8]) {
        self.complain(&format!(
            "{}: {}",
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(reason)
        ));
    }

    /// Output of a builtin.
    fn print(&mut self, bytes: &[u8]) {
        match &mut self.capture {
            Some(capture) => capture.extend_from_slice(bytes),
            None => redirect::write_all(rustix::stdio::stdout(), bytes),
        }
    }

    /// Assigns; a read-only variable is a complaint and status 1, not the end.
    fn assign(&mut self, name: &[u8], value: Value) -> Result<(), Stop> {
        let result = self.variables.assign(name, value);
        self.assigned(name, result)
    }

    /// Assigns a text.
    pub(crate) fn assign_text(&mut self, name: &[u8], text: &[u8]) -> Result<(), Stop> {
        let integer = self
            .variables
            .get(name)
            .is_some_and(|variable| variable.integer);
        let text = if integer {
            self.evaluate(text)?.to_string().into_bytes()
        } else {
            text.to_vec()
        };
        let result = self.variables.assign_text(name, text);
        self.assigned(name, result)
    }

    fn assigned(&mut self, name: &[u8], result: Result<(), ReadOnly>) -> Result<(), Stop> {
        match result {
            Ok(()) => {
                if self.options.all_export {
                    self.variables.entry(name).exported = true;
                }
            }
            Err(ReadOnly(name)) => {
                self.complain_about(&name, b"readonly variable");
                self.substituted = Some(1);
            }
        }
        Ok(())
    }

    /// `name[index]=text` of an indexed array.
    fn assign_element(
        &mut self,
        name: &[u8],
        index: i64,
        text: Text,
        append: bool,
    ) -> Result<(), ReadOnly> {
        let variable = self.variables.entry(name);
        if variable.readonly {
            return Err(ReadOnly(name.to_vec()));
        }
        let mut elements = match variable.value.take() {
            Some(Value::Indexed(elements)) => elements,
            Some(Value::Text(text)) => BTreeMap::from([(0, text)]),
            Some(Value::Associative(mut elements)) => {
                elements.insert(index.to_string().into_bytes(), text);
                variable.value = Some(Value::Associative(elements));
                return Ok(());
            }
            None => BTreeMap::new(),
        };
        let key = expand::absolute(&elements, index);
        let slot = elements.entry(key).or_default();
        if append {
            slot.extend_from_slice(&text);
        } else {
            *slot = text;
        }
        variable.value = Some(Value::Indexed(elements));
        Ok(())
    }

    /// `$RANDOM`: nothing depends on its quality.
    fn random(&mut self) -> u16 {
        self.seed = self.seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let [_, high, low, _] = self.seed.to_be_bytes();
        u16::from_be_bytes([high & 0x7f, low])
    }
}
