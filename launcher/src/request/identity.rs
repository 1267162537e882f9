//! Who the program is and what it may do: `--fakeroot`, `--userns`, capabilities, `--security`.

/// Wishes about ids and privileges (compat-runtime sections 17 and 21).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IdentityWish {}
