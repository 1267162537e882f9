//! `exec`, `run`, `shell` and `test`: four ways to start a program in an image.

use std::ffi::{OsStr, OsString};

use skiff_launcher::request::Action;

use crate::cli::Context;
use crate::cli::action::{ProgramArgs, RunArgs, ShellArgs};
use crate::exit::ExitStatus;
use crate::launch::{self, Launch};
use crate::output;

/// `exec IMAGE PROGRAM ARGS…`
///
/// # Errors
/// What keeps the program from starting.
pub fn exec(args: &ProgramArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    start(args, Action::Exec, context)
}

/// `run IMAGE ARGS…`
///
/// # Errors
/// What keeps the runscript from starting.
pub fn run(args: &RunArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let mut program = args.program.clone();
    program.options.limits.runscript_timeout = args
        .runscript_timeout
        .clone()
        .filter(|text| !text.is_empty());
    start(&program, Action::Run, context)
}

/// `test IMAGE ARGS…`
///
/// # Errors
/// What keeps the test script from starting.
pub fn test(args: &ProgramArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    start(args, Action::Test, context)
}

/// `shell IMAGE`
///
/// # Errors
/// What keeps the shell from starting.
pub fn shell(args: &ShellArgs, context: &Context) -> anyhow::Result<ExitStatus> {
    let (image, rest) = split(&args.words);
    if !rest.is_empty() {
        output::warning("Parameters to shell command are ignored");
    }
    let shell = args.shell.clone();
    launch::launch(&Launch {
        image,
        action: Action::Shell,
        options: &args.options,
        shell,
        context,
    })
}

fn start(
    args: &ProgramArgs,
    action: fn(Vec<OsString>) -> Action,
    context: &Context,
) -> anyhow::Result<ExitStatus> {
    let (image, rest) = split(&args.words);
    launch::launch(&Launch {
        image,
        action: action(rest.to_vec()),
        options: &args.options,
        shell: None,
        context,
    })
}

/// The image and the words behind it; the verb's arity says there is one.
fn split(words: &[OsString]) -> (&OsStr, &[OsString]) {
    match words.split_first() {
        Some((image, rest)) => (image, rest),
        None => (OsStr::new(""), &[]),
    }
}
