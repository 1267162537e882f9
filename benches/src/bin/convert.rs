//! `convert`: OCI images to SIFs, by skiff and by Apptainer.

use anyhow::Result;
use clap::Parser;
use skiff_benches::convert::{ConvertArgs, run};

/// Converts OCI images to SIFs, with skiff and with Apptainer
#[derive(Parser, Debug)]
#[command(name = "convert")]
struct Arguments {
    #[command(flatten)]
    convert: ConvertArgs,
}

fn main() -> Result<()> {
    run(&Arguments::parse().convert)
}
