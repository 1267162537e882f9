//! What the benchmarks share: generated data, the contenders, and one format for results.
//!
//! ```text
//! generate ──► images ──► contender (skiff, squashfuse_ll, kernel) mounts ──► workload in a child ──► report
//!                    └──► launcher  (skiff, Apptainer, bwrap)      starts ──► wall time ──────────┘
//! remote: a server behind a link of known speed ──► first and second start ──► wall time ──► report
//! ```

pub mod actor;
pub mod contender;
pub mod convert;
pub mod generate;
pub mod gpu;
pub mod images;
pub mod interrupt;
pub mod launcher;
pub mod locate;
pub mod machine;
pub mod peers;
pub mod procs;
pub mod remote;
pub mod report;
pub mod stats;
mod sys;
pub mod workload;
