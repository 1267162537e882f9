//! The description of one verb, the row of the table in `commands.rs`.

use clap::{ArgMatches, Command};

use super::Context;
use crate::exit::ExitStatus;

/// How many positional words a verb takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arity {
    /// No rule, or the verb has its own.
    Any,
    /// So many or more.
    AtLeast(usize),
    /// So many.
    Exactly(usize),
    /// Up to so many.
    AtMost(usize),
    /// From so many to so many.
    Between(usize, usize),
}

impl Arity {
    /// Checks a count.
    ///
    /// # Errors
    /// The reason, as Apptainer words it.
    pub fn check(self, count: usize) -> Result<(), String> {
        match self {
            Self::AtLeast(least) if count < least => Err(format!(
                "requires at least {least} arg(s), only received {count}"
            )),
            Self::Exactly(exact) if count != exact => {
                Err(format!("accepts {exact} arg(s), received {count}"))
            }
            Self::AtMost(most) if count > most => {
                Err(format!("accepts at most {most} arg(s), received {count}"))
            }
            Self::Between(least, most) if !(least..=most).contains(&count) => Err(format!(
                "accepts between {least} and {most} arg(s), received {count}"
            )),
            _ => Ok(()),
        }
    }
}

/// Runs a verb.
pub type Run = fn(&ArgMatches, &Context) -> anyhow::Result<ExitStatus>;

/// One verb, or a group of them.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// The word that calls it.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// What follows the name in the usage line.
    pub usage: &'static str,
    /// More about it, for its help.
    pub description: &'static str,
    /// Command lines, without the program's name, for its help.
    pub examples: &'static [&'static str],
    /// Rule for its words.
    pub arity: Arity,
    /// Not listed.
    pub hidden: bool,
    /// Adds its flags.
    pub augment: fn(Command) -> Command,
    /// Does it.
    pub run: Run,
    /// The verbs below a group.
    pub children: &'static [Self],
    /// Needs skiff's own settings from the start.
    pub settings: bool,
    /// The group by itself is an error and not a call for help.
    pub needs_child: bool,
}

impl Verb {
    /// The clap command of this verb alone.
    pub fn command(&self) -> Command {
        super::manners::obey((self.augment)(Command::new(self.name)))
    }
}

/// Reads the arguments of a verb and runs it.
///
/// # Errors
/// What the verb reports.
pub fn call<A: clap::FromArgMatches>(
    matches: &ArgMatches,
    context: &Context,
    run: fn(&A, &Context) -> anyhow::Result<ExitStatus>,
) -> anyhow::Result<ExitStatus> {
    run(&A::from_arg_matches(matches)?, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(
            Arity::AtLeast(2).check(1).unwrap_err(),
            "requires at least 2 arg(s), only received 1"
        );
        assert_eq!(
            Arity::Exactly(1).check(0).unwrap_err(),
            "accepts 1 arg(s), received 0"
        );
        assert_eq!(
            Arity::AtMost(1).check(2).unwrap_err(),
            "accepts at most 1 arg(s), received 2"
        );
        assert_eq!(
            Arity::Between(0, 1).check(2).unwrap_err(),
            "accepts between 0 and 1 arg(s), received 2"
        );
        assert!(Arity::Between(1, 2).check(2).is_ok());
        assert!(Arity::AtLeast(2).check(5).is_ok() && Arity::Any.check(9).is_ok());
    }
}
