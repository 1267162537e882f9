//! The `skiff` program: command lines to library calls.
//!
//! ```text
//! argv ─ program ─► cli ─► commands/<verb> ─► launch ─► skiff-launcher
//!                               │                └────► skiff-fs (image)
//!                               └─► output (the only terminal), exit (the only exit codes)
//! ```

pub mod cli;
pub mod commands;
pub mod exit;
pub mod launch;
pub mod output;
pub mod program;
pub mod text;

/// Runs the command line of this process.
pub fn main() -> std::process::ExitCode {
    let invocation = program::Invocation::new(std::env::args_os());
    cli::run(&invocation, std::env::vars_os().collect()).into()
}
