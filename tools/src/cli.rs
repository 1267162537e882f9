//! From the words of the command line to the verb that runs.
//!
//! clap knows the flags; the manners are Apptainer's and live here: flags end at the first
//! positional word, switches take `=false`, environment variables stand in for flags, and errors
//! read as its users (and their scripts) expect.
//!
//! ```text
//! global flags │ verb │ its flags │ words
//!      └── cli.rs ──┴── verb.rs: only this verb's flags are built ──► commands/<verb>.rs
//! ```

pub mod accepted;
pub mod action;
pub mod admin;
pub mod build;
pub mod cache;
pub mod env;
pub mod help;
pub mod image;
pub mod instance;
pub mod manners;
pub mod registry;
pub mod remote;
pub mod signing;
pub mod usage;
pub mod value;
pub mod verb;
pub mod warm;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, Args as _, Command};
use skiff_launcher::config::Config;

use crate::commands;
use crate::exit::{CommandError, ExitStatus};
use crate::output::{self, Loudness};
use crate::program::{Invocation, Personality};
use crate::settings;
use env::{Environment, Remark, Scope};
use verb::Verb;

/// What every verb gets besides its own arguments.
#[derive(Clone, Debug)]
pub struct Context {
    /// Whose manners.
    pub personality: Personality,
    /// The caller's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--build-config`.
    pub build_config: bool,
}

impl Context {
    /// A variable: the caller's, or one of ours that a file of settings stands for.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        let mut environment = self.environment.iter();
        match environment.find(|(known, _)| known == name) {
            Some((_, value)) => Some(value.clone()),
            None if name.starts_with("SKIFF_") => std::env::var_os(name),
            None => None,
        }
    }
}

/// Flags before the verb.
#[derive(clap::Args, Clone, Debug)]
struct GlobalArgs {
    /// Print debugging information
    #[arg(long, short)]
    debug: bool,
    /// Print additional information
    #[arg(long, short)]
    verbose: bool,
    /// Print only warnings and errors
    #[arg(long, short)]
    quiet: bool,
    /// Print only errors
    #[arg(long, short)]
    silent: bool,
    /// Print without colours
    #[arg(long)]
    nocolor: bool,
    /// Use this configuration file
    #[arg(long, short, value_name = "string")]
    config: Option<OsString>,
    /// Use the configuration for building containers
    #[arg(long)]
    build_config: bool,
    /// Print the version
    #[arg(long)]
    version: bool,
    /// The verb and everything behind it.
    #[arg(trailing_var_arg = true, hide = true)]
    words: Vec<OsString>,
}

impl GlobalArgs {
    const fn loudness(&self) -> Loudness {
        Loudness {
            debug: self.debug,
            verbose: self.verbose,
            quiet: self.quiet,
            silent: self.silent,
            plain: self.nocolor,
        }
    }
}

/// How the interpretation of a command line ends early.
enum Stop {
    /// Everything is printed.
    Done(ExitStatus),
    /// A value of the environment is wrong.
    Fatal(String),
}

/// Runs a command line to its end.
pub fn run(invocation: &Invocation, environment: Vec<(OsString, OsString)>) -> ExitStatus {
    let context = Context {
        personality: invocation.personality,
        environment,
        config: None,
        build_config: false,
    };
    match interpret(context, &invocation.arguments) {
        Ok(status) | Err(Stop::Done(status)) => status,
        Err(Stop::Fatal(message)) => {
            output::fatal(message);
            ExitStatus::Fatal
        }
    }
}

fn interpret(mut context: Context, arguments: &[OsString]) -> Result<ExitStatus, Stop> {
    let personality = context.personality;
    let program = personality.name();
    let message_level = message_level(&context.environment);
    let mut command = manners::obey(GlobalArgs::augment_args(Command::new(program)));
    let matches = manners::parse(&mut command, arguments)
        .map_err(|error| flag_error(personality, program, &error, arguments, &command))?;
    let mut globals = read::<GlobalArgs>(&matches)?;
    globals.loudness().apply(message_level.as_deref());
    if matches.get_flag("help") {
        return print(&help::program(personality, &command));
    }
    if globals.version {
        return print(&format!("{program} version {}\n", personality.version()));
    }
    checked_config(&globals)?;
    let words = std::mem::take(&mut globals.words);
    let Some((first, rest)) = words.split_first() else {
        print(&help::verbs(personality))?;
        return Ok(ExitStatus::Usage);
    };
    if first == "help" {
        return print(&help::topic(personality, &command, rest));
    }
    let Some(verb) = first.to_str().and_then(commands::find) else {
        output::stderr(&usage::unknown_verb(program, first));
        print(&help::verbs(personality))?;
        return Ok(ExitStatus::Usage);
    };
    let scope = Scope::Global;
    if let Some(matches) = with_environment(&context, scope, &command, &matches, arguments)? {
        globals = read::<GlobalArgs>(&matches)?;
    }
    context.config = checked_config(&globals)?;
    context.build_config = globals.build_config;
    let mut path = vec![verb.name];
    match descend(personality, verb, rest, &mut path)? {
        // What the environment says about loudness counts from here on: its remarks about other
        // variables are still to be seen.
        Descent::Leaf(leaf, rest) => run_leaf(&context, leaf, &path, rest, || {
            globals.loudness().apply(message_level.as_deref());
        }),
        Descent::Group(group) => print(&help::verb(personality, &path, group, &group.command())),
    }
}

/// The configuration file, if one is named; it must be a valid one whatever the verb.
fn checked_config(globals: &GlobalArgs) -> Result<Option<PathBuf>, Stop> {
    let Some(file) = globals.config.as_ref().filter(|file| !file.is_empty()) else {
        return Ok(None);
    };
    let file = PathBuf::from(file);
    match Config::read(&file) {
        Ok(_) => Ok(Some(file)),
        Err(error) => Err(Stop::Fatal(error.to_string())),
    }
}

enum Descent<'a> {
    Leaf(&'static Verb, &'a [OsString]),
    Group(&'static Verb),
}

/// Follows the words down a group of verbs, such as `sif list`.
fn descend<'a>(
    personality: Personality,
    verb: &'static Verb,
    words: &'a [OsString],
    path: &mut Vec<&'static str>,
) -> Result<Descent<'a>, Stop> {
    if verb.children.is_empty() {
        return Ok(Descent::Leaf(verb, words));
    }
    match words.split_first() {
        Some((first, rest)) => {
            if let Some(child) = verb.children.iter().find(|child| *first == *child.name) {
                path.push(child.name);
                return descend(personality, child, rest, path);
            }
            let mut command = verb.command();
            match manners::parse(&mut command, words) {
                Ok(matches) if verb.needs_child && !matches.get_flag("help") => {
                    Err(usage_error(personality, path, verb, "invalid command"))
                }
                Ok(_) => Ok(Descent::Group(verb)),
                Err(error) => Err(flag_error(personality, verb.name, &error, words, &command)),
            }
        }
        None if verb.needs_child => Err(usage_error(personality, path, verb, "invalid command")),
        None => Ok(Descent::Group(verb)),
    }
}

fn run_leaf(
    context: &Context,
    verb: &'static Verb,
    path: &[&'static str],
    arguments: &[OsString],
    ready: impl FnOnce(),
) -> Result<ExitStatus, Stop> {
    let mut command = verb.command();
    let matches = manners::parse(&mut command, arguments)
        .map_err(|error| flag_error(context.personality, verb.name, &error, arguments, &command))?;
    if matches.get_flag("help") {
        return print(&help::verb(context.personality, path, verb, &command));
    }
    if let Err(reason) = verb.arity.check(manners::words_of(&matches).len()) {
        return Err(usage_error(context.personality, path, verb, &reason));
    }
    let matches =
        with_environment(context, Scope::Local, &command, &matches, arguments)?.unwrap_or(matches);
    ready();
    if verb.settings {
        settings::adopt().map_err(|error| Stop::Fatal(format!("{error:#}")))?;
    }
    match (verb.run)(&matches, context) {
        Ok(status) => Ok(status),
        Err(error) => match error.downcast_ref::<CommandError>() {
            Some(CommandError(reason)) => Err(usage_error(context.personality, path, verb, reason)),
            None => Err(Stop::Fatal(format!("{error:#}"))),
        },
    }
}

fn read<A: clap::FromArgMatches>(matches: &ArgMatches) -> Result<A, Stop> {
    A::from_arg_matches(matches).map_err(|error| Stop::Fatal(error.to_string()))
}

/// Parses once more with what the environment adds; `None` when it adds nothing.
fn with_environment(
    context: &Context,
    scope: Scope,
    command: &Command,
    matches: &ArgMatches,
    arguments: &[OsString],
) -> Result<Option<ArgMatches>, Stop> {
    // Flags are known by what the user types; clap's ids need not be the same.
    let id = |flag: &str| {
        let mut arguments = command.get_arguments();
        arguments
            .find(|argument| argument.get_long() == Some(flag))
            .map(clap::Arg::get_id)
    };
    let known = |flag: &str| id(flag).is_some();
    let given = |flag: &str| {
        id(flag).is_some_and(|id| {
            matches.value_source(id.as_str()) == Some(clap::parser::ValueSource::CommandLine)
        })
    };
    let found = env::additions(scope, &context.environment, known, given);
    for remark in &found.remarks {
        match remark {
            Remark::Info(text) => output::info(text),
            Remark::Warning(text) => output::warning(text),
        }
    }
    if !found.failures.is_empty() {
        let part = match scope {
            Scope::Global => "global environment",
            Scope::Local => "environment",
        };
        return Err(Stop::Fatal(format!(
            "While parsing {part} variables: while updating flags from environment: \n{}",
            found.failures.join("\n")
        )));
    }
    if found.words.is_empty() {
        return Ok(None);
    }
    let words = manners::words_of(matches);
    let mut line = manners::flags_of(command, arguments, words.len()).to_vec();
    line.extend(found.words);
    line.push("--".into());
    line.extend(words.into_iter().cloned());
    manners::parse(&mut command.clone(), &line)
        .map(Some)
        .map_err(|error| Stop::Fatal(usage::reason(&error, &line)))
}

/// The value of the variable that sets the level of messages.
fn message_level(environment: &Environment) -> Option<String> {
    ["APPTAINER_MESSAGELEVEL", "SINGULARITY_MESSAGELEVEL"]
        .iter()
        .find_map(|wanted| {
            environment
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.to_string_lossy().into_owned())
        })
}

fn print(text: &str) -> Result<ExitStatus, Stop> {
    match output::stdout(text) {
        Ok(()) => Ok(ExitStatus::Success),
        Err(error) => Err(Stop::Fatal(format!("writing to standard output: {error}"))),
    }
}

/// Reports a wrong flag of the command called `name`.
fn flag_error(
    personality: Personality,
    name: &str,
    error: &clap::Error,
    arguments: &[OsString],
    command: &Command,
) -> Stop {
    output::stderr(&usage::error_line(name, &usage::reason(error, arguments)));
    match print(&help::options_after_error(personality, name, command)) {
        Ok(_) => Stop::Done(ExitStatus::Usage),
        Err(stop) => stop,
    }
}

/// Reports wrong words of a verb.
fn usage_error(personality: Personality, path: &[&'static str], verb: &Verb, reason: &str) -> Stop {
    output::stderr(&usage::error_line(verb.name, reason));
    match print(&help::usage_after_error(personality, path, verb)) {
        Ok(_) => Stop::Done(ExitStatus::Usage),
        Err(stop) => stop,
    }
}
