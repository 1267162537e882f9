//! Commands that the shell carries out itself.

mod declare;
mod input;
mod output;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::{env, fs};

pub(super) use self::declare::is_declaration;
use super::ast::Text;
use super::{Shell, Stop, expand};
use crate::report::Level;
use crate::script::ScriptError;

/// A sourced file at most: environment scripts are kilobytes.
const MAX_SCRIPT: u64 = 16 * 1024 * 1024;

/// Names that [`Shell::builtin`] answers to.
const NAMES: [&[u8]; 43] = [
    b":",
    b"true",
    b"false",
    b"exit",
    b"return",
    b"break",
    b"continue",
    b"shift",
    b"eval",
    b"source",
    b".",
    b"exec",
    b"set",
    b"shopt",
    b"unset",
    b"export",
    b"readonly",
    b"declare",
    b"typeset",
    b"local",
    b"test",
    b"[",
    b"echo",
    b"printf",
    b"read",
    b"cd",
    b"pwd",
    b"umask",
    b"let",
    b"command",
    b"builtin",
    b"type",
    b"hash",
    b"getopts",
    b"alias",
    b"unalias",
    b"wait",
    b"trap",
    b"fg",
    b"bg",
    b"times",
    b"sylog",
    b"enable",
];

impl Shell<'_> {
    /// Runs the builtin `name`; `None` where there is none of this name.
    pub(super) fn builtin(&mut self, name: &[u8], arguments: &[Text]) -> Option<Result<u8, Stop>> {
        Some(match name {
            b":" | b"true" | b"alias" | b"unalias" | b"hash" | b"wait" | b"times" | b"enable" => {
                Ok(0)
            }
            b"false" => Ok(1),
            b"exit" => Err(Stop::Exit(self.status_argument(arguments))),
            b"return" => Err(Stop::Return(self.status_argument(arguments))),
            b"break" | b"continue" => self.leave_loop(name, arguments),
            b"shift" => Ok(self.shift(arguments)),
            b"eval" => self.eval(arguments),
            b"source" | b"." => self.source(arguments),
            b"exec" => self.exec(arguments),
            b"set" => Ok(self.set(arguments)),
            b"shopt" => Ok(self.shopt(arguments)),
            b"unset" => self.unset(arguments),
            _ if is_declaration(name) => self.declare_texts(name, arguments),
            b"test" => Ok(self.run_test(arguments)),
            b"[" => Ok(match arguments.split_last() {
                Some((last, inner)) if last == b"]" => self.run_test(inner),
                _ => {
                    self.complain("[: missing matching ]");
                    2
                }
            }),
            b"echo" => Ok(self.echo(arguments)),
            b"printf" => Ok(self.printf(arguments)),
            b"read" => self.read(arguments),
            b"getopts" => self.getopts(arguments),
            b"cd" => self.change_directory(arguments),
            b"pwd" => {
                let mut directory = self.working_directory();
                directory.push(b'\n');
                self.print(&directory);
                Ok(0)
            }
            b"umask" => Ok(self.umask(arguments)),
            b"let" => self.run_let(arguments),
            b"command" | b"builtin" => self.command(arguments),
            b"type" => Ok(self.describe(arguments, true)),
            b"trap" | b"fg" | b"bg" => {
                let name = String::from_utf8_lossy(name);
                (self.report)(
                    Level::Warning,
                    &format!("{name} is not supported by this shell interpreter"),
                );
                Ok(0)
            }
            b"sylog" => {
                self.log(arguments);
                Ok(0)
            }
            _ => return None,
        })
    }

    fn status_argument(&mut self, arguments: &[Text]) -> u8 {
        let Some(argument) = arguments.first() else {
            return self.status;
        };
        match std::str::from_utf8(argument)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
        {
            Some(number) => {
                let [.., low] = number.to_be_bytes();
                low
            }
            None => {
                self.complain(&format!(
                    "invalid exit status code: {:?}",
                    String::from_utf8_lossy(argument)
                ));
                2
            }
        }
    }

    fn leave_loop(&mut self, name: &[u8], arguments: &[Text]) -> Result<u8, Stop> {
        if self.loops == 0 {
            return Ok(0);
        }
        let levels = arguments
            .first()
            .and_then(|text| std::str::from_utf8(text).ok())
            .and_then(|text| text.parse::<u32>().ok())
            .unwrap_or(1)
            .clamp(1, u32::try_from(self.loops).unwrap_or(u32::MAX));
        Err(if name == b"break" {
            Stop::Break(levels)
        } else {
            Stop::Continue(levels)
        })
    }

    fn shift(&mut self, arguments: &[Text]) -> u8 {
        let count = arguments
            .first()
            .and_then(|text| std::str::from_utf8(text).ok())
            .map_or(Some(1), |text| text.parse::<usize>().ok());
        match count {
            Some(count) if count <= self.positional.len() => {
                self.positional.drain(..count);
                0
            }
            _ => 1,
        }
    }

    fn eval(&mut self, arguments: &[Text]) -> Result<u8, Stop> {
        let text = arguments.join(b" ".as_slice());
        self.status = 0;
        self.deeper(|shell| shell.run_text("eval: ", &text))?;
        Ok(self.status)
    }

    fn source(&mut self, arguments: &[Text]) -> Result<u8, Stop> {
        let Some((name, rest)) = arguments.split_first() else {
            self.complain("source: need filename");
            return Ok(2);
        };
        if !self.policy.files {
            return Err(Stop::Fatal(ScriptError::Script {
                reason: format!(
                    "could not open/create/modify {:?}: file feature is disabled",
                    String::from_utf8_lossy(name)
                ),
            }));
        }
        let path = self.sourced_path(name);
        let path = Path::new(OsStr::from_bytes(&path));
        let script = match read_script(path) {
            Ok(script) => script,
            Err(reason) => {
                self.complain(&format!("source: open {}: {reason}", path.display()));
                return Ok(1);
            }
        };
        let positional =
            (!rest.is_empty()).then(|| std::mem::replace(&mut self.positional, rest.to_vec()));
        self.status = 0;
        let result = self.source_text(&format!("source: {}", path.display()), &script);
        if let Some(positional) = positional {
            self.positional = positional;
        }
        result?;
        Ok(self.status)
    }

    /// A name without a slash is looked for in `PATH`, then in the working directory.
    fn sourced_path(&self, name: &[u8]) -> Text {
        if name.contains(&b'/') {
            return name.to_vec();
        }
        let path = self.variables.scalar(b"PATH").cloned().unwrap_or_default();
        path.split(|byte| *byte == b':')
            .map(|directory| [directory, b"/", name].concat())
            .find(|candidate| Path::new(OsStr::from_bytes(candidate)).is_file())
            .unwrap_or_else(|| name.to_vec())
    }

    fn exec(&mut self, arguments: &[Text]) -> Result<u8, Stop> {
        let Some((name, rest)) = arguments.split_first() else {
            return Ok(0);
        };
        let path = self.find(name).map_err(Stop::Fatal)?;
        let mut words = vec![path];
        words.extend_from_slice(rest);
        Err(Stop::Exec(words))
    }

    fn set(&mut self, arguments: &[Text]) -> u8 {
        let mut rest = arguments.iter();
        let mut positional: Option<Vec<Text>> = None;
        while let Some(argument) = rest.next() {
            match argument.as_slice() {
                b"--" => {
                    positional = Some(rest.by_ref().cloned().collect());
                }
                b"-" => {
                    let remaining: Vec<Text> = rest.by_ref().cloned().collect();
                    if !remaining.is_empty() {
                        positional = Some(remaining);
                    }
                }
                b"-o" | b"+o" => {
                    let on = argument == b"-o";
                    if let Some(name) = rest.next()
                        && let Some(option) = self.options.named(name)
                    {
                        *option = on;
                    }
                }
                [sign @ (b'-' | b'+'), letters @ ..] if !letters.is_empty() => {
                    for letter in letters {
                        if let Some(option) = self.options.lettered(*letter) {
                            *option = *sign == b'-';
                        }
                    }
                }
                _ => {
                    let mut values = vec![argument.clone()];
                    values.extend(rest.by_ref().cloned());
                    positional = Some(values);
                }
            }
        }
        // Alone it prints nothing, as in Apptainer: a generated runscript without entry point and
        // command comes to that.
        if let Some(positional) = positional {
            self.positional = positional;
        }
        0
    }

    /// Options that change nothing here are accepted, because scripts set many.
    fn shopt(&mut self, arguments: &[Text]) -> u8 {
        let on = arguments.iter().any(|argument| argument == b"-s");
        let off = arguments.iter().any(|argument| argument == b"-u");
        let query = arguments
            .iter()
            .any(|argument| argument.starts_with(b"-") && argument.contains(&b'q'));
        let mut status = 0;
        for name in arguments
            .iter()
            .filter(|argument| !argument.starts_with(b"-"))
        {
            match self.options.named(name) {
                Some(option) if on || off => *option = on,
                Some(option) => status = u8::from(!*option),
                None if query => status = 1,
                None => {}
            }
        }
        status
    }

    fn unset(&mut self, arguments: &[Text]) -> Result<u8, Stop> {
        let mut functions = false;
        let mut variables = true;
        let mut status = 0;
        for argument in arguments {
            match argument.as_slice() {
                b"-f" => (functions, variables) = (true, false),
                b"-v" => (functions, variables) = (false, true),
                b"--" => {}
                name => {
                    if variables && self.unset_variable(name)? {
                        continue;
                    }
                    if variables && self.variables.get(name).is_some() {
                        match self.variables.unset(name) {
                            Ok(()) => {}
                            Err(_) => {
                                self.complain_about(name, b"readonly variable");
                                status = 1;
                            }
                        }
                    } else if functions || variables {
                        self.functions.remove(name);
                    }
                }
            }
        }
        Ok(status)
    }

    /// `unset name[index]`; `false` where `name` is no element.
    fn unset_variable(&mut self, name: &[u8]) -> Result<bool, Stop> {
        use super::variables::Value;
        let Some(open) = name.iter().position(|byte| *byte == b'[') else {
            return Ok(false);
        };
        let (array, rest) = name.split_at_checked(open).unwrap_or_default();
        let index = rest
            .get(1..)
            .and_then(|inside| inside.strip_suffix(b"]"))
            .unwrap_or_default()
            .to_vec();
        let number = match self
            .variables
            .get(array)
            .and_then(|variable| variable.value.as_ref())
        {
            Some(Value::Indexed(_)) => Some(self.evaluate(&index)?),
            _ => None,
        };
        match &mut self.variables.entry(array).value {
            Some(Value::Indexed(elements)) => {
                if let Some(number) = number {
                    elements.remove(&expand::absolute(elements, number));
                }
            }
            Some(Value::Associative(elements)) => {
                elements.remove(&index);
            }
            _ => {}
        }
        Ok(true)
    }

    fn run_test(&mut self, arguments: &[Text]) -> u8 {
        match self.test(arguments) {
            Ok(result) => u8::from(!result),
            Err(reason) => {
                self.complain(&reason);
                2
            }
        }
    }

    fn run_let(&mut self, arguments: &[Text]) -> Result<u8, Stop> {
        let mut value = 0;
        for expression in arguments {
            value = self.evaluate(expression)?;
        }
        Ok(u8::from(value == 0))
    }

    fn command(&mut self, arguments: &[Text]) -> Result<u8, Stop> {
        match arguments.first().map(Vec::as_slice) {
            Some(b"-v") => Ok(self.describe(arguments.get(1..).unwrap_or_default(), false)),
            Some(b"-V") => Ok(self.describe(arguments.get(1..).unwrap_or_default(), true)),
            Some(b"-p" | b"--") => self.command(arguments.get(1..).unwrap_or_default()),
            None => Ok(0),
            Some(_) => {
                self.invoke_plain(arguments)?;
                Ok(self.status)
            }
        }
    }

    /// `command -v` and `type`.
    fn describe(&mut self, arguments: &[Text], long: bool) -> u8 {
        let mut status = 0;
        for name in arguments
            .iter()
            .filter(|argument| !argument.starts_with(b"-"))
        {
            let shown = String::from_utf8_lossy(name).into_owned();
            let line = if self.functions.contains_key(name) {
                if long {
                    format!("{shown} is a function\n")
                } else {
                    format!("{shown}\n")
                }
            } else if NAMES.contains(&name.as_slice()) {
                if long {
                    format!("{shown} is a shell builtin\n")
                } else {
                    format!("{shown}\n")
                }
            } else if let (true, Ok(path)) = (self.policy.commands, self.find(name)) {
                let path = String::from_utf8_lossy(&path).into_owned();
                if long {
                    format!("{shown} is {path}\n")
                } else {
                    format!("{path}\n")
                }
            } else {
                if long {
                    self.complain(&format!("type: {shown}: not found"));
                }
                status = 1;
                continue;
            };
            self.print(line.as_bytes());
        }
        status
    }

    fn working_directory(&self) -> Text {
        self.variables.scalar(b"PWD").cloned().unwrap_or_else(|| {
            env::current_dir()
                .map(|path| path.as_os_str().as_bytes().to_vec())
                .unwrap_or_default()
        })
    }

    /// Scripts move for themselves only: the phase returns to where it began.
    fn change_directory(&mut self, arguments: &[Text]) -> Result<u8, Stop> {
        let target = match arguments
            .iter()
            .find(|argument| !matches!(argument.as_slice(), b"-L" | b"-P" | b"--"))
        {
            Some(target) if target == b"-" => self.variables.scalar(b"OLDPWD").cloned(),
            Some(target) => Some(target.clone()),
            None => self.variables.scalar(b"HOME").cloned(),
        };
        let Some(target) = target else {
            self.complain("cd: no directory to go to");
            return Ok(1);
        };
        let before = self.working_directory();
        let path = normalise(&before, &target);
        if !self.policy.files || env::set_current_dir(Path::new(OsStr::from_bytes(&path))).is_err()
        {
            self.complain(&format!(
                "cd: {}: no such directory",
                String::from_utf8_lossy(&target)
            ));
            return Ok(1);
        }
        self.assign_text(b"OLDPWD", &before)?;
        self.assign_text(b"PWD", &path)?;
        // As in Apptainer: where the script stands is not where the program will.
        self.variables.entry(b"PWD").exported = false;
        Ok(0)
    }

    fn umask(&mut self, arguments: &[Text]) -> u8 {
        use rustix::fs::Mode;
        let Some(argument) = arguments.first() else {
            let mask = rustix::process::umask(Mode::empty());
            rustix::process::umask(mask);
            self.print(format!("{:04o}\n", mask.bits()).as_bytes());
            return 0;
        };
        let text = String::from_utf8_lossy(argument).into_owned();
        match u32::from_str_radix(&text, 8) {
            Ok(mask) if mask <= 0o7777 => {
                rustix::process::umask(Mode::from_bits_truncate(mask));
                0
            }
            _ => {
                self.complain(&format!("umask: {text}: invalid octal number"));
                1
            }
        }
    }

    /// The runtime's logger, which Apptainer offers to scripts.
    fn log(&mut self, arguments: &[Text]) {
        if let [level, text, ..] = arguments {
            let severity = match level.as_slice() {
                b"info" => Level::Info,
                b"warning" => Level::Warning,
                b"error" => Level::Error,
                b"verbose" => Level::Verbose,
                _ => Level::Debug,
            };
            (self.report)(severity, &String::from_utf8_lossy(text));
        }
    }
}

/// Reads a script whole, or says why not in C's words.
pub(crate) fn read_script(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let open = || {
        let file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    };
    let (file, metadata) = open().map_err(|error| crate::error::reason(&error))?;
    if metadata.is_dir() {
        return Err("is a directory".to_owned());
    }
    if metadata.len() > MAX_SCRIPT {
        return Err("file too large".to_owned());
    }
    let mut script = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    // A pipe or a device has no length, so what is read is bounded too.
    file.take(MAX_SCRIPT)
        .read_to_end(&mut script)
        .map_err(|error| crate::error::reason(&error))?;
    Ok(script)
}

/// `target` seen from `directory`, without `.`, `..` and doubled slashes.
fn normalise(directory: &[u8], target: &[u8]) -> Text {
    let whole = if target.starts_with(b"/") {
        target.to_vec()
    } else {
        [directory, b"/", target].concat()
    };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in whole.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    [b"/".as_slice(), &parts.join(b"/".as_slice())].concat()
}
