//! Programs, subshells, pipelines and substitutions: everything that needs another process.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};

use super::ast::{Argument, Body, List, Text};
use super::sys::{self, Forked};
use super::{Shell, Stop, redirect};
use crate::script::{ScriptError, lookup};

/// Output of one substitution at most, so that a script cannot exhaust memory.
const MAX_OUTPUT: usize = 64 * 1024 * 1024;

/// Builtins that only print, so that a substitution of one of them needs no process.
const PRINTERS: [&[u8]; 3] = [b"echo", b"printf", b"pwd"];

/// A child that overran the time of a command ends with this, and its parent too.
const TIMED_OUT: u8 = 254;

impl Shell<'_> {
    /// Runs a program and waits for it.
    pub(super) fn run_program(&mut self, words: &[Text]) -> Result<(), Stop> {
        let Some((name, arguments)) = words.split_first() else {
            return Ok(());
        };
        if !self.policy.commands {
            let reason = format!(
                "could not execute {:?}: execution is disabled",
                joined(words)
            );
            return Err(Stop::Fatal(ScriptError::Script { reason }));
        }
        let path = match self.find(name) {
            Ok(path) => path,
            Err(error) => {
                self.complain(&error.to_string());
                self.status = 127;
                return Ok(());
            }
        };
        let mut command = Command::new(Path::new(OsStr::from_bytes(&path)));
        command.args(arguments.iter().map(|argument| OsStr::from_bytes(argument)));
        command.env_clear();
        for (name, value) in self.variables.exported() {
            command.env(OsStr::from_bytes(&name), OsStr::from_bytes(&value));
        }
        if let Some(directory) = self.variables.scalar(b"PWD") {
            command.env("PWD", OsStr::from_bytes(directory));
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let reason = crate::error::reason(&error);
                self.complain(&format!(
                    "fork/exec {}: {reason}",
                    String::from_utf8_lossy(&path)
                ));
                self.status = 126;
                return Ok(());
            }
        };
        self.status = self.wait_for(&mut child, words)?;
        Ok(())
    }

    /// The path of a command in the shell's `PATH`.
    pub(super) fn find(&self, name: &[u8]) -> Result<Text, ScriptError> {
        let path = self
            .variables
            .scalar(b"PATH")
            .map(Vec::as_slice)
            .unwrap_or_default();
        lookup::find(Path::new("/"), name, path)
    }

    fn wait_for(&self, child: &mut Child, words: &[Text]) -> Result<u8, Stop> {
        let limit = self.policy.timeout;
        if !ends_within(child, limit) {
            // Already gone is as good.
            drop(child.kill());
            drop(child.wait());
            return Err(Stop::Fatal(ScriptError::Timeout {
                command: joined(words),
                limit,
            }));
        }
        match child.wait() {
            Ok(status) => Ok(status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .or_else(|| {
                    status
                        .signal()
                        .and_then(|signal| u8::try_from(signal.saturating_add(128)).ok())
                })
                .unwrap_or(1)),
            Err(error) => {
                self.complain(&crate::error::reason(&error));
                Ok(1)
            }
        }
    }

    /// `$(…)`: the output without the line ends at its end.
    pub(super) fn substitute(&mut self, list: &List) -> Result<Text, Stop> {
        let mut output = if !self.policy.commands || self.only_prints(list) {
            self.substitute_here(list)?
        } else {
            self.substitute_forked(list)?
        };
        output.retain(|byte| *byte != 0);
        while output.last() == Some(&b'\n') {
            output.pop();
        }
        Ok(output)
    }

    fn only_prints(&self, list: &List) -> bool {
        let [statement] = list.0.as_slice() else {
            return false;
        };
        let [command] = statement.first.commands.as_slice() else {
            return false;
        };
        let Body::Simple(simple) = &command.body else {
            return false;
        };
        let Some(Argument::Word(first)) = simple.words.first() else {
            return false;
        };
        statement.rest.is_empty()
            && !statement.background
            && command.redirects.is_empty()
            && simple.assignments.is_empty()
            && first
                .literal()
                .is_some_and(|name| PRINTERS.contains(&name) && !self.functions.contains_key(name))
    }

    /// Runs the list in this process and forgets what it changed.
    fn substitute_here(&mut self, list: &List) -> Result<Text, Stop> {
        let variables = self.variables.clone();
        let functions = self.functions.clone();
        let positional = self.positional.clone();
        let options = self.options;
        let outer = self.capture.replace(Text::new());
        let result = self.deeper(|shell| shell.run_list(list));
        let output = std::mem::replace(&mut self.capture, outer).unwrap_or_default();
        self.variables = variables;
        self.functions = functions;
        self.positional = positional;
        self.options = options;
        match result {
            Ok(()) => self.substituted = Some(self.status),
            Err(Stop::Exit(status) | Stop::Return(status)) => self.substituted = Some(status),
            Err(Stop::Break(_) | Stop::Continue(_) | Stop::Exec(_)) => self.substituted = Some(0),
            Err(Stop::Fatal(error)) if !self.policy.commands => {
                // What cannot be run gives nothing; only the script itself may fail the launch.
                self.complain(&error.to_string());
                self.substituted = Some(1);
            }
            Err(Stop::Fatal(error)) => return Err(Stop::Fatal(error)),
        }
        Ok(output)
    }

    fn substitute_forked(&mut self, list: &List) -> Result<Text, Stop> {
        let (reader, writer) = self.pipe()?;
        let child = self.spawn(|shell| {
            shell.onto(&writer, 1);
            shell.run_list(list)
        })?;
        drop(writer);
        let output = read_all(&reader);
        drop(reader);
        let status = self.reap(child)?;
        self.substituted = Some(status);
        Ok(output)
    }

    /// `( … )`
    pub(super) fn run_subshell(&mut self, list: &List) -> Result<(), Stop> {
        let child = self.spawn(|shell| shell.run_list(list))?;
        self.status = self.reap(child)?;
        Ok(())
    }

    /// Starts a statement and does not wait.
    pub(super) fn run_background(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let child = self.spawn(run)?;
        self.background = u32::try_from(child.as_raw_nonzero().get()).ok();
        self.status = 0;
        Ok(())
    }

    /// Runs all commands of a pipeline but the last in children, the last one here.
    pub(super) fn run_piped(&mut self, commands: &[super::ast::Command]) -> Result<(), Stop> {
        let Some((last, firsts)) = commands.split_last() else {
            return Ok(());
        };
        let mut children = Vec::new();
        let mut input: Option<OwnedFd> = None;
        for command in firsts {
            let (reader, writer) = self.pipe()?;
            let child = self.spawn(|shell| {
                if let Some(input) = &input {
                    shell.onto(input, 0);
                }
                shell.onto(&writer, 1);
                shell.run_command(command)
            })?;
            children.push(child);
            input = Some(reader);
        }
        let saved = match &input {
            Some(input) => redirect::swap(input, 0).unwrap_or_default(),
            None => Vec::new(),
        };
        drop(input);
        let result = self.run_command(last);
        redirect::restore(saved);
        let mut failed = 0;
        for child in children {
            let status = self.reap(child)?;
            if status != 0 {
                failed = status;
            }
        }
        result?;
        if self.options.pipe_fail && self.status == 0 {
            self.status = failed;
        }
        Ok(())
    }

    fn pipe(&self) -> Result<(OwnedFd, OwnedFd), Stop> {
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| self.broken("pipe", &error.into()))
    }

    fn broken(&self, what: &str, error: &io::Error) -> Stop {
        Stop::Fatal(ScriptError::Script {
            reason: format!("{what}: {}", crate::error::reason(error)),
        })
    }

    /// Puts a descriptor in place in a child, for good.
    fn onto(&mut self, file: &OwnedFd, number: i32) {
        if number == 1 {
            self.capture = None;
        }
        if sys::duplicate_to(file.as_fd(), number).is_err() {
            sys::exit_now(1);
        }
    }

    /// Forks and runs `run` in the child, which never returns here.
    fn spawn(&mut self, run: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<Pid, Stop> {
        if !self.policy.commands {
            return Err(Stop::Fatal(ScriptError::Script {
                reason: "could not start a subshell: execution is disabled".to_owned(),
            }));
        }
        match sys::fork().map_err(|error| self.broken("fork", &error))? {
            Forked::Parent(child) => Ok(child),
            Forked::Child => {
                self.loops = 0;
                let result = run(self);
                sys::exit_now(self.child_status(result))
            }
        }
    }

    fn child_status(&mut self, result: Result<(), Stop>) -> u8 {
        match result {
            Ok(()) | Err(Stop::Break(_) | Stop::Continue(_)) => self.status,
            Err(Stop::Exit(status) | Stop::Return(status)) => status,
            Err(Stop::Exec(words)) => match self.run_program(&words) {
                Ok(()) => self.status,
                other => self.child_status(other),
            },
            Err(Stop::Fatal(error)) => {
                self.complain(&error.to_string());
                if matches!(error, ScriptError::Timeout { .. }) {
                    TIMED_OUT
                } else {
                    1
                }
            }
        }
    }

    /// Waits for a forked child.
    fn reap(&self, child: Pid) -> Result<u8, Stop> {
        let started = self.started;
        loop {
            match waitpid(Some(child), WaitOptions::empty()) {
                Ok(Some((_, status))) => {
                    let code = status
                        .exit_status()
                        .or_else(|| {
                            status
                                .terminating_signal()
                                .map(|signal| signal.saturating_add(128))
                        })
                        .unwrap_or(1);
                    let code = u8::try_from(code).unwrap_or(1);
                    if code == TIMED_OUT && started.elapsed() >= self.policy.timeout {
                        return Err(Stop::Fatal(ScriptError::Script {
                            reason: "context deadline exceeded".to_owned(),
                        }));
                    }
                    return Ok(code);
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(self.broken("wait", &error.into())),
            }
        }
    }
}

/// Whether the child ends in time; where the kernel has no descriptors of processes, it is waited
/// for without limit.
fn ends_within(child: &Child, limit: std::time::Duration) -> bool {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return true;
    };
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let deadline = std::time::Instant::now().checked_add(limit);
    loop {
        let left = deadline.map_or(limit, |deadline| {
            deadline.saturating_duration_since(std::time::Instant::now())
        });
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut descriptors = [PollFd::new(&descriptor, PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

fn read_all(reader: &OwnedFd) -> Text {
    let mut output = Text::new();
    let mut buffer = vec![0_u8; 16 * 1024];
    while output.len() < MAX_OUTPUT {
        match rustix::io::read(reader, buffer.as_mut_slice()) {
            Ok(0) => break,
            Ok(length) => output.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    output
}

fn joined(words: &[Text]) -> String {
    String::from_utf8_lossy(&words.join(b" ".as_slice())).into_owned()
}
