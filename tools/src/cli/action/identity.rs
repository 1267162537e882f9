//! Flags: who the program is and what it may do: `--fakeroot`, `--userns`, capabilities, `--security`.

use clap::Args;

/// Wishes about ids and privileges (compat-runtime sections 17 and 21).
#[derive(Args, Clone, Debug, Default)]
pub struct IdentityArgs {}
