//! Arguments of `cache …` and `stats`.

use std::ffi::OsString;

use clap::Args;

use super::value::{Strings, int_parser};

/// `cache list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Types to list: oras, net, blob, file, oci (converted images), all; library and shub are
    /// known and empty (default [all])
    #[arg(long = "type", short = 'T', value_name = "strings")]
    pub types: Vec<Strings>,
    /// Show each entry: what is cached of it, whether it is pinned and verified
    #[arg(long, short)]
    pub verbose: bool,
    /// Print JSON instead of text
    #[arg(long, short)]
    pub json: bool,
    /// Ignored.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `cache clean`.
#[derive(Args, Clone, Debug)]
pub struct CleanArgs {
    /// Only entries older than this number of days
    #[arg(long, short = 'D', value_name = "int", value_parser = int_parser())]
    pub days: Option<i64>,
    /// Show what would be removed
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub force: bool,
    /// Types to clean: oras, net, blob, file, oci (converted images), all; library and shub are
    /// known and empty (default [all])
    #[arg(long = "type", short = 'T', value_name = "strings")]
    pub types: Vec<Strings>,
    /// Ignored.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `cache du`.
#[derive(Args, Clone, Debug)]
pub struct DuArgs {
    /// Print JSON instead of text
    #[arg(long, short)]
    pub json: bool,
    /// None.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `cache gc`.
#[derive(Args, Clone, Debug)]
pub struct GcArgs {
    /// Remove what was not used for the longest time until the cache takes this much: 10G, 500M
    #[arg(long, value_name = "size")]
    pub down_to: Option<String>,
    /// None.
    #[arg(trailing_var_arg = true, hide = true)]
    pub words: Vec<OsString>,
}

/// `cache verify`, `pin` and `unpin`; flags may stand behind words here.
#[derive(Args, Clone, Debug)]
pub struct ImagesArgs {
    /// The images.
    #[arg(hide = true)]
    pub words: Vec<OsString>,
}

/// `stats`; flags may stand behind words here.
#[derive(Args, Clone, Debug)]
pub struct StatsArgs {
    /// All images that the cache has anything of
    #[arg(long, short)]
    pub all: bool,
    /// Print JSON instead of text
    #[arg(long, short)]
    pub json: bool,
    /// Print Prometheus' text format instead
    #[arg(long)]
    pub prometheus: bool,
    /// The image.
    #[arg(hide = true)]
    pub words: Vec<OsString>,
}
