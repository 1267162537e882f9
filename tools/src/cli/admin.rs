//! Arguments of the commands about the program itself and its configuration.

use std::ffi::OsString;

use clap::Args;

/// The word at `index`; an empty one where there are not so many.
pub fn word(words: &[OsString], index: usize) -> String {
    words
        .get(index)
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// A verb without flags of its own, whose words nobody looks at.
#[derive(Args, Clone, Debug)]
pub struct WordArgs {
    /// The words.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// A verb that is only there to be refused: whatever follows it.
#[derive(Args, Clone, Debug)]
pub struct AnyArgs {
    /// The words.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `config global`
#[derive(Args, Clone, Debug)]
pub struct GlobalConfigArgs {
    /// Print the resulting configuration instead of writing it to the file
    #[arg(long, short)]
    pub dry_run: bool,
    /// Print the value of the directive
    #[arg(long, short)]
    pub get: bool,
    /// Make the directive what it is by default
    #[arg(long, short)]
    pub reset: bool,
    /// Give the directive a value; a list gets another item
    #[arg(long, short)]
    pub set: bool,
    /// Take a value of the directive away; of a list, the items named
    #[arg(long, short)]
    pub unset: bool,
    /// Directive and value.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `config fakeroot`
#[derive(Args, Clone, Debug)]
pub struct FakerootConfigArgs {
    /// Give the user ids for --fakeroot
    #[arg(long, short)]
    pub add: bool,
    /// Take the user's ids out of use
    #[arg(long, short)]
    pub disable: bool,
    /// Put the user's ids into use again
    #[arg(long, short)]
    pub enable: bool,
    /// Take the user's ids away
    #[arg(long, short)]
    pub remove: bool,
    /// The user.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `config show`
#[derive(Args, Clone, Debug)]
pub struct ShowConfigArgs {
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
    /// None.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `capability add` and `capability drop`
#[derive(Args, Clone, Debug)]
pub struct CapabilityArgs {
    /// Of this group
    #[arg(long, short, value_name = "string")]
    pub group: Option<String>,
    /// Of this user
    #[arg(long, short, value_name = "string")]
    pub user: Option<String>,
    /// The capabilities.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `capability list` and `capability avail`
#[derive(Args, Clone, Debug)]
pub struct NameArgs {
    /// A name, or a list.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}
