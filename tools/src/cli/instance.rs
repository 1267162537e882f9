//! Arguments of `instance …`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::action::ActionArgs;
use super::value::int_parser;

/// `instance start`.
#[derive(Args, Clone, Debug)]
pub struct StartArgs {
    /// Options of the container.
    #[command(flatten)]
    pub options: ActionArgs,
    /// Boot the container: its /sbin/init is process 1 (root only)
    #[arg(long)]
    pub boot: bool,
    /// Not supported: checkpoints with DMTCP
    #[arg(long, value_name = "string")]
    pub dmtcp_launch: Option<String>,
    /// Not supported: checkpoints with DMTCP
    #[arg(long, value_name = "string")]
    pub dmtcp_restart: Option<String>,
    /// Write the number of the instance's process 1 to this file
    #[arg(long, value_name = "string")]
    pub pid_file: Option<PathBuf>,
    /// The image, the instance's name, and arguments, verbatim.
    #[arg(trailing_var_arg = true, value_name = "container", hide = true)]
    pub words: Vec<OsString>,
}

/// `instance run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// As `instance start`.
    #[command(flatten)]
    pub start: StartArgs,
    /// Time for commands that are run while the runscript is evaluated
    #[arg(long, value_name = "string")]
    pub runscript_timeout: Option<String>,
}

/// `instance list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Show all instances, those of --sharens too
    #[arg(long, short)]
    pub all: bool,
    /// Print JSON instead of a table
    #[arg(long, short)]
    pub json: bool,
    /// Show where the logs of instances are
    #[arg(long, short)]
    pub logs: bool,
    /// As root: show the instances of this user
    #[arg(long, short, value_name = "string")]
    pub user: Option<String>,
    /// Pattern for names.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `instance stop`.
#[derive(Args, Clone, Debug)]
pub struct StopArgs {
    /// Stop all instances
    #[arg(long, short)]
    pub all: bool,
    /// Kill at once
    #[arg(long, short = 'F')]
    pub force: bool,
    /// Signal to send, by name or number (default SIGINT)
    #[arg(long, short, value_name = "string")]
    pub signal: Option<String>,
    /// Kill instances that have not stopped after so many seconds (default 10)
    #[arg(long, short, value_name = "int", value_parser = int_parser())]
    pub timeout: Option<i64>,
    /// As root: stop instances of this user
    #[arg(long, short, value_name = "string")]
    pub user: Option<String>,
    /// Pattern for names.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `instance stats`.
#[derive(Args, Clone, Debug)]
pub struct StatsArgs {
    /// Print JSON instead of a table
    #[arg(long, short)]
    pub json: bool,
    /// Print the figures once
    #[arg(long)]
    pub no_stream: bool,
    /// As root: an instance of this user
    #[arg(long, short, value_name = "string")]
    pub user: Option<String>,
    /// The name.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}
