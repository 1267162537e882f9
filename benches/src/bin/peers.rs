//! `peers`: skiff, squashfuse_ll, the kernel's squashfs, Apptainer and bwrap side by side.

use anyhow::Result;
use clap::{Parser, Subcommand};
use skiff_benches::gpu::{self, GpuArgs};
use skiff_benches::peers::{self, PeersArgs};
use skiff_benches::workload;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// Compares skiff with its peers in one run and prints the ratios
#[derive(Parser, Debug)]
#[command(name = "peers", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    peers: PeersArgs,
    #[command(subcommand)]
    inner: Option<Inner>,
}

#[derive(Subcommand, Debug)]
enum Inner {
    /// One workload on a mounted tree; called by the benchmark itself
    #[command(hide = true)]
    Worker {
        /// `walk` or `read`
        what: OsString,
        /// Where
        path: PathBuf,
    },
    /// The part of the GPU group that runs on the made-up host; called by the benchmark itself
    #[command(hide = true)]
    GpuWorker(GpuArgs),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.inner {
        None => peers::run(&arguments.peers),
        Some(Inner::GpuWorker(args)) => Ok(writeln!(
            std::io::stdout(),
            "{}",
            serde_json::to_string(&gpu::measure(&args)?)?
        )?),
        Some(Inner::Worker { what, path }) => {
            let passes = workload::work(&what, &path)?;
            Ok(writeln!(
                std::io::stdout(),
                "{}",
                serde_json::to_string(&passes)?
            )?)
        }
    }
}
