//! The script phase, step by step.
//!
//! | step | |
//! |---|---|
//! | import | planned variables become exported ones of a shell; names no shell can hold wait aside |
//! | clear | all but a few are unset, so that scripts see an environment of the image's making |
//! | source | `/.singularity.d/env/*.sh` by name, with Apptainer's extra steps around some of them |
//! | inject | the user's overrides, right after `99-base.sh` |
//! | restore | host variables the scripts did not define come back |
//! | choose | the action's program |

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::dispatch::{self, Choice};
use super::lookup::{self, inside};
use super::oci::{self, Ending};
use super::shell::ast::Text;
use super::shell::parser::parse_double_quoted;
use super::shell::variables::{Value, is_identifier};
use super::shell::{Policy, Shell, Stop, read_script};
use super::{ScriptError, ScriptPlan};
use crate::environment::{DEFAULT_PATH, DYNAMIC_ENVIRONMENT, Override};
use crate::process::{Program, Start};
use crate::report::{Level, Report};

const SCRIPTS: &str = "/.singularity.d/env";
/// Environment of images older than Singularity 2.3.
const OLD_SCRIPT: &str = "/environment";
const LIBRARIES: &[u8] = b"/.singularity.d/libs";

/// Prompts that the scripts of images set where there is none.
const APPTAINER_PROMPT: &[u8] = b"Apptainer> ";
const SINGULARITY_PROMPT: &[u8] = b"Singularity> ";

/// What survives the clearing, because a shell or the scripts themselves need it.
const KEPT: [&[u8]; 7] = [
    b"PWD",
    b"HOME",
    b"OPTIND",
    b"UID",
    b"GID",
    b"SINGULARITY_APPNAME",
    b"SINGULARITY_SHELL",
];

/// What the scripts may see but not change.
const PROTECTED: [&[u8]; 3] = [
    b"APPTAINER_NAME",
    b"APPTAINER_CONTAINER",
    b"APPTAINER_INSTANCE",
];

pub(super) fn run(
    plan: &ScriptPlan,
    root: &Path,
    report: &mut Report<'_>,
) -> Result<Start, ScriptError> {
    // Scripts may `cd`; the program starts where the launch has put it.
    let here = rustix::fs::open(
        ".",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok();
    let result = evaluate(plan, root, report);
    return_to(here);
    result
}

fn return_to(directory: Option<OwnedFd>) {
    if let Some(directory) = directory {
        // The directory is held open, so it cannot have gone; a lost permission cannot be mended.
        let _unchanged = rustix::process::fchdir(directory);
    }
}

fn evaluate(plan: &ScriptPlan, root: &Path, report: &mut Report<'_>) -> Result<Start, ScriptError> {
    let policy = Policy {
        commands: true,
        files: true,
        timeout: plan.command_timeout,
    };
    let arguments: Vec<Text> = plan
        .arguments
        .iter()
        .map(|word| word.as_bytes().to_vec())
        .collect();
    let name = format!("/.singularity.d/actions/{}", plan.action);
    let mut phase = Phase {
        shell: Shell::new(name.as_bytes(), policy.clone(), report),
        plan,
        root,
        snapshot: BTreeMap::new(),
        aside: BTreeMap::new(),
    };
    phase.shell.positional.clone_from(&arguments);
    phase.import();
    phase.clear();
    let words = match phase.prepare() {
        Ok(()) => match dispatch::choose(plan.action, &arguments, root, &mut phase.shell) {
            Choice::Start(words) => phase.resolve(words)?,
            Choice::End(severity, text, status) => {
                phase.shell.tell(severity, &text);
                return Ok(Start::Exit(status));
            }
        },
        Err(Stop::Exec(words)) => words,
        Err(Stop::Exit(status)) => return Ok(Start::Exit(status)),
        Err(Stop::Fatal(error)) => return Err(error),
        Err(Stop::Break(_) | Stop::Continue(_) | Stop::Return(_)) => return Ok(Start::Exit(0)),
    };
    let env = phase.exported();
    if words
        .first()
        .is_some_and(|program| program == oci::RUNSCRIPT.as_bytes())
        && let Some(script) = oci::generated(root)?
    {
        let arguments = words.get(1..).unwrap_or_default();
        match oci::run(&script, arguments, &env, policy, report)? {
            Ending::Exec(words, env) => return Ok(program(words, env)),
            Ending::Exit(status) => return Ok(Start::Exit(status)),
            Ending::Undecided => {}
        }
    }
    Ok(program(words, env))
}

fn program(words: Vec<Text>, env: Vec<(Text, Text)>) -> Start {
    let argv: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
    let Some(path) = argv.first().map(PathBuf::from) else {
        return Start::Exit(0);
    };
    Start::Execute(Program {
        path,
        arguments: argv,
        environment: env
            .into_iter()
            .map(|(name, value)| (OsString::from_vec(name), OsString::from_vec(value)))
            .collect(),
    })
}

struct Phase<'p, 'r> {
    shell: Shell<'r>,
    plan: &'p ScriptPlan,
    root: &'p Path,
    /// The planned variables, from which the host's come back.
    snapshot: BTreeMap<Text, Text>,
    /// Variables whose names are no identifiers: they pass by the scripts.
    aside: BTreeMap<Text, Text>,
}

impl Phase<'_, '_> {
    fn import(&mut self) {
        for variable in &self.plan.environment.variables {
            let (name, value) = (variable.name.as_bytes(), variable.value.as_bytes().to_vec());
            if is_identifier(name) {
                self.export(name, value);
            } else {
                self.aside.insert(name.to_vec(), value);
            }
        }
        self.shell.set_own_variables();
        if let Some(directory) = self.working_directory() {
            self.export(b"PWD", directory);
        }
        self.snapshot = self.shell.variables.exported();
    }

    /// Without symbolic links, however the caller came there.
    fn working_directory(&self) -> Option<Text> {
        let real = std::env::current_dir().ok()?;
        Some(real.into_os_string().into_vec())
    }

    fn clear(&mut self) {
        for name in self.snapshot.keys() {
            if PROTECTED.contains(&name.as_slice()) {
                self.shell.variables.global(name).readonly = true;
            } else if !KEPT.contains(&name.as_slice()) {
                // Nothing is read-only yet.
                drop(self.shell.variables.unset(name));
            }
        }
        if self
            .text(b"SINGULARITY_APPNAME")
            .is_some_and(|name| !name.is_empty())
        {
            self.shell.variables.global(b"SINGULARITY_APPNAME").readonly = true;
        }
    }

    /// Everything up to the choice of the program.
    fn prepare(&mut self) -> Result<(), Stop> {
        let directory = inside(self.root, Path::new(SCRIPTS));
        let mut specials_applied = false;
        if directory.is_dir() {
            for name in scripts(&directory) {
                match name.as_bytes() {
                    b"90-environment.sh" => {
                        if !self.shell.variables.is_set(b"PATH") {
                            self.complete_path();
                        }
                        self.source(&name)?;
                    }
                    b"10-docker2singularity.sh" | b"10-docker.sh" => {
                        self.source(&name)?;
                        self.complete_path();
                    }
                    b"99-base.sh" => {
                        self.source(&name)?;
                        self.inject()?;
                    }
                    // Apptainer reads a copy of its own in place of the image's.
                    b"99-runtimevars.sh" => {
                        self.apply_path_specials();
                        specials_applied = true;
                    }
                    _ => self.source(&name)?,
                }
            }
        } else {
            let path = Path::new(OLD_SCRIPT);
            if inside(self.root, path).is_file() {
                self.source_path(path)?;
                self.complete_path();
            }
            self.inject()?;
        }
        if !specials_applied {
            self.apply_path_specials();
        }
        self.restore();
        self.set_prompt();
        let dynamic = self
            .text(b"APPTAINER_ENVIRONMENT")
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| DYNAMIC_ENVIRONMENT.as_bytes().to_vec());
        self.export(b"APPTAINER_ENVIRONMENT", dynamic.clone());
        self.export(b"SINGULARITY_ENVIRONMENT", dynamic);
        Ok(())
    }

    fn source(&mut self, name: &OsStr) -> Result<(), Stop> {
        self.source_path(&Path::new(SCRIPTS).join(name))
    }

    fn source_path(&mut self, path: &Path) -> Result<(), Stop> {
        self.shell
            .tell(Level::Debug, &format!("Sourcing {}", path.display()));
        match read_script(&inside(self.root, path)) {
            Ok(script) => self
                .shell
                .source_text(&format!("source: {}", path.display()), &script),
            Err(reason) => {
                self.shell
                    .grumble(&format!("source: open {}: {reason}", path.display()));
                Ok(())
            }
        }
    }

    /// Appends the default directories that `PATH` lacks.
    fn complete_path(&mut self) {
        let path = self.text(b"PATH").unwrap_or_default();
        let mut directories: Vec<&[u8]> = match path.as_slice() {
            b"" => Vec::new(),
            path => path.split(|byte| *byte == b':').collect(),
        };
        let present = directories.clone();
        for directory in DEFAULT_PATH.as_bytes().split(|byte| *byte == b':') {
            if !present.contains(&directory) {
                directories.push(directory);
            }
        }
        let path = directories.join(b":".as_slice());
        self.export(b"PATH", path);
    }

    /// The overrides of `--env` and its like.
    fn inject(&mut self) -> Result<(), Stop> {
        if !self.shell.variables.is_set(b"PATH") {
            self.export(b"PATH", DEFAULT_PATH.into());
        }
        for item in &self.plan.environment.overrides {
            let name = item.name.as_bytes();
            let mut value = self.evaluate_override(item)?;
            if name == b"LD_LIBRARY_PATH" && !value.is_empty() {
                value.push(b':');
                value.extend_from_slice(LIBRARIES);
            }
            if !is_identifier(name) {
                self.aside.insert(name.to_vec(), value);
            } else if self
                .shell
                .variables
                .get(name)
                .is_some_and(|variable| variable.readonly)
            {
                self.shell.grumble(&format!(
                    "{}: readonly variable",
                    item.name.to_string_lossy()
                ));
            } else {
                self.export(name, value);
            }
        }
        Ok(())
    }

    /// The value as a shell reads it between double quotes, or as it is with `--no-eval`.
    fn evaluate_override(&mut self, item: &Override) -> Result<Text, Stop> {
        let raw = item.value.as_bytes();
        let plain = !raw.iter().any(|byte| matches!(byte, b'$' | b'`' | b'\\'));
        if self.plan.environment.no_eval || plain {
            return Ok(raw.to_vec());
        }
        match parse_double_quoted(raw) {
            Ok(word) => self.shell.expand(&word),
            Err(error) => {
                // Apptainer drops every override here; one bad value need not spoil the others.
                let name = item.name.to_string_lossy();
                self.shell.tell(
                    Level::Warning,
                    &format!("Value of environment variable {name} cannot be evaluated and is taken literally: {}", error.reason),
                );
                Ok(raw.to_vec())
            }
        }
    }

    /// `PREPEND_PATH`, `APPEND_PATH` and `PATH` of the user, after everything else.
    fn apply_path_specials(&mut self) {
        let mut path = self.text(b"PATH").unwrap_or_default();
        if let Some(first) = self.take(b"SING_USER_DEFINED_PREPEND_PATH") {
            path = [first.as_slice(), b":", &path].concat();
        }
        if let Some(last) = self.take(b"SING_USER_DEFINED_APPEND_PATH") {
            path = [path.as_slice(), b":", &last].concat();
        }
        if let Some(whole) = self.take(b"SING_USER_DEFINED_PATH") {
            path = whole;
        }
        if self.shell.variables.is_set(b"PATH") || !path.is_empty() {
            self.export(b"PATH", path);
        }
    }

    /// A text that is not empty, whose variable goes.
    fn take(&mut self, name: &[u8]) -> Option<Text> {
        let value = self.text(name)?;
        // Where a script has made it read-only it stays, as it would for the image's own copy.
        drop(self.shell.variables.unset(name));
        (!value.is_empty()).then_some(value)
    }

    /// Brings back what the scripts did not define; what they left empty goes.
    fn restore(&mut self) {
        for (name, value) in std::mem::take(&mut self.snapshot) {
            if !self.shell.variables.is_set(&name) {
                self.export(&name, value);
            } else if self.text(&name).unwrap_or_default().is_empty()
                && self.shell.variables.unset(&name).is_err()
            {
                self.shell.grumble(&format!(
                    "{}: readonly variable",
                    String::from_utf8_lossy(&name)
                ));
            }
        }
    }

    /// The prompt, which bash would otherwise take from its own start-up files.
    fn set_prompt(&mut self) {
        let mut prompt = self.text(b"PS1").unwrap_or_default();
        let own = self.plan.prompt.as_bytes();
        // An image's scripts set the prompt of the program that built it, unless somebody else did:
        // that is Apptainer's to keep, but not ours under our own name.
        let built_in = own != APPTAINER_PROMPT
            && [APPTAINER_PROMPT, SINGULARITY_PROMPT].contains(&prompt.as_slice());
        if prompt.is_empty() || built_in {
            prompt = own.to_vec();
            self.export(b"PS1", prompt.clone());
        }
        let command = match self
            .text(b"PROMPT_COMMAND")
            .filter(|command| !command.is_empty())
        {
            None => [b"PS1=\"".as_slice(), &prompt, b"\"; unset PROMPT_COMMAND"].concat(),
            Some(command) => [
                command.as_slice(),
                b"; PROMPT_COMMAND=\"${PROMPT_COMMAND%%; PROMPT_COMMAND=*}\"; PS1=\"",
                &prompt,
                b"\"",
            ]
            .concat(),
        };
        self.export(b"PROMPT_COMMAND", command);
    }

    /// The program's path found, as `exec` does.
    fn resolve(&self, mut words: Vec<Text>) -> Result<Vec<Text>, ScriptError> {
        if let Some(program) = words.first_mut() {
            let path = self.text(b"PATH").unwrap_or_default();
            *program = lookup::find(self.root, program, &path)?;
        }
        Ok(words)
    }

    /// What the program gets, in the order in which Apptainer lists it.
    fn exported(&self) -> Vec<(Text, Text)> {
        let mut all = self.shell.variables.exported();
        for (name, value) in &self.aside {
            all.insert(name.clone(), value.clone());
        }
        all.into_iter().collect()
    }

    fn text(&self, name: &[u8]) -> Option<Text> {
        self.shell.variables.scalar(name).cloned()
    }

    fn export(&mut self, name: &[u8], value: Text) {
        let variable = self.shell.variables.global(name);
        variable.value = Some(Value::Text(value));
        variable.exported = true;
    }
}

/// The scripts of a directory, by name; links count as what they lead to.
fn scripts(directory: &Path) -> Vec<OsString> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut names: Vec<OsString> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.as_bytes();
            name.ends_with(b".sh") && !name.starts_with(b".")
        })
        // The directory tells most kinds; only links need a look at what they lead to.
        .filter(|entry| match entry.file_type() {
            Ok(kind) => kind.is_file() || (kind.is_symlink() && entry.path().is_file()),
            Err(_) => false,
        })
        .map(|entry| entry.file_name())
        .collect();
    names.sort_unstable();
    names
}
