//! Arguments of the commands that look into images: `inspect`, `run-help`, `sif`.

use std::ffi::OsString;

use clap::Args;

use super::remote::RemoteArgs;

/// `inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// Show all there is, as JSON
    #[arg(long)]
    pub all: bool,
    /// Look at this application (SCIF) of the image
    #[arg(long, value_name = "string")]
    pub app: Option<String>,
    /// Show the definition file that the image was built from
    #[arg(long, short)]
    pub deffile: bool,
    /// Show the environment that the image sets
    #[arg(long, short)]
    pub environment: bool,
    /// Show the image's help
    #[arg(long, short = 'H')]
    pub helpfile: bool,
    /// Print JSON instead of text
    #[arg(long, short)]
    pub json: bool,
    /// Show the labels (default)
    #[arg(long, short)]
    pub labels: bool,
    /// List the applications in the image
    #[arg(long)]
    pub list_apps: bool,
    /// Show the script of run
    #[arg(long, short)]
    pub runscript: bool,
    /// Show the script of instances
    #[arg(long, short)]
    pub startscript: bool,
    /// Show the script of test
    #[arg(long, short)]
    pub test: bool,
    /// Registries.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// The image.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `run-help`.
#[derive(Args, Clone, Debug)]
pub struct RunHelpArgs {
    /// Show the help of this application (SCIF)
    #[arg(long, value_name = "string")]
    pub app: Option<String>,
    /// Registries.
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// The image.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// The verbs under `sif`; flags may stand behind words here.
#[derive(Args, Clone, Debug)]
pub struct SifArgs {
    /// What the verb asks for.
    #[arg(hide = true)]
    pub words: Vec<OsString>,
}
