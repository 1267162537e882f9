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
pub mod bind;
pub mod env;
pub mod help;
pub mod image;
pub mod usage;
pub mod value;
pub mod verb;

use std::ffi::OsString;

use clap::{ArgAction, ArgMatches, Args as _, Command};

use crate::commands;
use crate::exit::{CommandError, ExitStatus};
use crate::output::{self, Loudness};
use crate::program::{Invocation, Personality};
use env::{Environment, Remark, Scope};
use verb::Verb;

/// What every verb gets besides its own arguments.
#[derive(Clone, Debug)]
pub struct Context {
    /// Whose manners.
    pub personality: Personality,
    /// The caller's environment.
    pub environment: Vec<(OsString, OsString)>,
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
    };
    match interpret(&context, &invocation.arguments) {
        Ok(status) | Err(Stop::Done(status)) => status,
        Err(Stop::Fatal(message)) => {
            output::fatal(message);
            ExitStatus::Fatal
        }
    }
}

fn interpret(context: &Context, arguments: &[OsString]) -> Result<ExitStatus, Stop> {
    let program = context.personality.name();
    let message_level = message_level(&context.environment);
    let mut command = obey(GlobalArgs::augment_args(Command::new(program)));
    let matches = parse(&mut command, arguments)
        .map_err(|error| flag_error(context, program, &error, arguments, &command))?;
    let globals = read::<GlobalArgs>(&matches)?;
    globals.loudness().apply(message_level.as_deref());
    if matches.get_flag("help") {
        return print(&help::program(context.personality, &command));
    }
    if globals.version {
        return print(&format!(
            "{program} version {}\n",
            context.personality.version()
        ));
    }
    let Some((first, rest)) = globals.words.split_first() else {
        print(&help::verbs(context.personality))?;
        return Ok(ExitStatus::Usage);
    };
    if first == "help" {
        return print(&help::topic(context.personality, &command, rest));
    }
    let Some(verb) = first.to_str().and_then(commands::find) else {
        output::stderr(&usage::unknown_verb(program, first));
        print(&help::verbs(context.personality))?;
        return Ok(ExitStatus::Usage);
    };
    let (loudness, config) =
        match with_environment(context, Scope::Global, &command, &matches, arguments)? {
            Some(matches) => {
                let globals = read::<GlobalArgs>(&matches)?;
                (globals.loudness(), globals.config)
            }
            None => (globals.loudness(), globals.config.clone()),
        };
    if let Some(file) = &config
        && let Err(error) = std::fs::File::open(file)
    {
        return Err(Stop::Fatal(format!(
            "While initializing: couldn't parse configuration file {}: open {0}: {}",
            file.display(),
            crate::text::os_error(&error),
        )));
    }
    let mut path = vec![verb.name];
    let (leaf, rest) = match descend(context, verb, rest, &mut path)? {
        Descent::Leaf(leaf, rest) => (leaf, rest),
        Descent::Group(group) => {
            return print(&help::verb(
                context.personality,
                &path,
                group,
                &group.command(),
            ));
        }
    };
    let ready = || loudness.apply(message_level.as_deref());
    run_leaf(context, leaf, &path, rest, ready)
}

enum Descent<'a> {
    Leaf(&'static Verb, &'a [OsString]),
    Group(&'static Verb),
}

/// Follows the words down a group of verbs, such as `sif list`.
fn descend<'a>(
    context: &Context,
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
                return descend(context, child, rest, path);
            }
            let mut command = verb.command();
            if let Err(error) = parse(&mut command, words) {
                return Err(flag_error(context, verb.name, &error, words, &command));
            }
            Ok(Descent::Group(verb))
        }
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
    let matches = parse(&mut command, arguments)
        .map_err(|error| flag_error(context, verb.name, &error, arguments, &command))?;
    if matches.get_flag("help") {
        return print(&help::verb(context.personality, path, verb, &command));
    }
    if let Err(reason) = verb.arity.check(words_of(&matches).len()) {
        return Err(usage_error(context, path, verb, &reason));
    }
    let matches =
        with_environment(context, Scope::Local, &command, &matches, arguments)?.unwrap_or(matches);
    ready();
    match (verb.run)(&matches, context) {
        Ok(status) => Ok(status),
        Err(error) => match error.downcast_ref::<CommandError>() {
            Some(CommandError(reason)) => Err(usage_error(context, path, verb, reason)),
            None => Err(Stop::Fatal(format!("{error:#}"))),
        },
    }
}

/// Gives a command Apptainer's manners; see the module's header.
pub fn obey(command: Command) -> Command {
    command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .color(clap::ColorChoice::Never)
        .arg(
            clap::Arg::new("help")
                .long("help")
                .short('h')
                .action(ArgAction::SetTrue)
                .help("Print help"),
        )
        .mut_args(|argument| match argument.get_action() {
            ArgAction::SetTrue => argument
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .default_value("false")
                .value_parser(value::bool_parser()),
            _ if argument.is_positional() => argument,
            // A value is a value, whatever it looks like.
            _ => argument.num_args(1).allow_hyphen_values(true),
        })
}

fn parse(command: &mut Command, arguments: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let program = OsString::from(command.get_name().to_owned());
    command.try_get_matches_from_mut(std::iter::once(program).chain(arguments.iter().cloned()))
}

fn read<A: clap::FromArgMatches>(matches: &ArgMatches) -> Result<A, Stop> {
    A::from_arg_matches(matches).map_err(|error| Stop::Fatal(error.to_string()))
}

/// The positional words, which every verb that has some calls `words`.
fn words_of(matches: &ArgMatches) -> Vec<&OsString> {
    matches
        .try_get_many::<OsString>("words")
        .ok()
        .flatten()
        .map_or_else(Vec::new, Iterator::collect)
}

/// Parses once more with what the environment adds; `None` when it adds nothing.
fn with_environment(
    context: &Context,
    scope: Scope,
    command: &Command,
    matches: &ArgMatches,
    arguments: &[OsString],
) -> Result<Option<ArgMatches>, Stop> {
    let known = |flag: &str| matches.try_contains_id(flag).is_ok();
    let given =
        |flag: &str| matches.value_source(flag) == Some(clap::parser::ValueSource::CommandLine);
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
    let words = words_of(matches);
    let mut line = flags_of(command, arguments, words.len()).to_vec();
    line.extend(found.words);
    line.push("--".into());
    line.extend(words.into_iter().cloned());
    parse(&mut command.clone(), &line)
        .map(Some)
        .map_err(|error| Stop::Fatal(usage::reason(&error, &line)))
}

/// The part of `arguments` before its last `words` ones, without the `--` that may end it.
fn flags_of<'a>(command: &Command, arguments: &'a [OsString], words: usize) -> &'a [OsString] {
    let flags = &arguments[..arguments.len().saturating_sub(words)];
    match flags.split_last() {
        // Unless it is the value of the flag before it.
        Some((last, before)) if last == "--" && parse(&mut command.clone(), before).is_ok() => {
            before
        }
        _ => flags,
    }
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
    context: &Context,
    name: &str,
    error: &clap::Error,
    arguments: &[OsString],
    command: &Command,
) -> Stop {
    output::stderr(&usage::error_line(name, &usage::reason(error, arguments)));
    match print(&help::options_after_error(
        context.personality,
        name,
        command,
    )) {
        Ok(_) => Stop::Done(ExitStatus::Usage),
        Err(stop) => stop,
    }
}

/// Reports wrong words of a verb.
fn usage_error(context: &Context, path: &[&'static str], verb: &Verb, reason: &str) -> Stop {
    output::stderr(&usage::error_line(verb.name, reason));
    match print(&help::usage_after_error(context.personality, path, verb)) {
        Ok(_) => Stop::Done(ExitStatus::Usage),
        Err(stop) => stop,
    }
}
