//! What the container may use of the machine, and which network it sees.

/// Wishes about limits and networks (compat-runtime sections 14, 21 and 22).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LimitsWish {}
