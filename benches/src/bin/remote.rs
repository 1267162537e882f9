//! `remote`: images on a server behind a link of 1 Gbit/s, and what a hit in the cache costs.

use anyhow::Result;
use clap::{Parser, Subcommand};
use skiff_benches::remote::{self, RemoteArgs, server};

/// Starts programs from an image that is elsewhere, with skiff and by Apptainer's pull and exec
#[derive(Parser, Debug)]
#[command(name = "remote", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(subcommand)]
    inner: Option<Inner>,
}

#[derive(Subcommand, Debug)]
enum Inner {
    /// The server; called by the benchmark itself
    #[command(hide = true)]
    Serve(server::ServeArgs),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.inner {
        None => remote::run(&arguments.remote),
        Some(Inner::Serve(serve)) => server::serve(&serve),
    }
}
