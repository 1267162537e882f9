//! Arguments of the commands about the program itself.

use std::ffi::OsString;

use clap::Args;

/// A verb without flags of its own, whose words nobody looks at.
#[derive(Args, Clone, Debug)]
pub struct WordArgs {
    /// The words.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}
