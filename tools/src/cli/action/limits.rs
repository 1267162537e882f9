//! Flags: what the container may use of the machine, and which network it sees.

use clap::Args;

/// Wishes about limits and networks (compat-runtime sections 14, 21 and 22).
#[derive(Args, Clone, Debug, Default)]
pub struct LimitsArgs {}
