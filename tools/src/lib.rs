//! The `skiff` program: command lines to library calls.
//!
//! ```text
//! argv ─ program ─► cli ─► commands/<verb> ─► launch ─► skiff-launcher
//!                               │                └────► skiff-fs (image)
//!                               └─► output (the only terminal), exit (the only exit codes)
//! ```

pub mod build;
pub mod cli;
pub mod commands;
pub mod convert;
pub mod definition;
pub mod dot_singularity;
pub mod encryption;
pub mod exit;
pub mod launch;
pub mod metadata;
pub mod output;
pub mod program;
pub mod prompt;
pub mod remote;
pub mod sealed;
pub mod settings;
pub mod text;
pub mod wire;

use skiff_launcher::holder::client::SERVE_COMMAND;

/// Runs the command line of this process.
pub fn main() -> std::process::ExitCode {
    // Daemons that do not care for their children hand that down to us; we wait for ours. The call
    // fails for no signal that there is.
    let _as_it_was = skiff_launcher::kernel::keep_dead_children();
    // Not a verb: processes of ours speak it to each other, and it must not wait for a parser.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == SERVE_COMMAND)
    {
        return commands::serve::run();
    }
    let invocation = program::Invocation::new(std::env::args_os());
    cli::run(&invocation, std::env::vars_os().collect()).into()
}
