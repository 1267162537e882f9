//! From a request to a running program: plan (pure), then apply (system calls), then `execve`.
//!
//! ```text
//! LaunchRequest + Config + HostFacts ──plan──► LaunchPlan ──apply──► the program itself
//!                                                   ▲
//!                            RootfsProvider hands over the mounted tree
//! ```

pub mod holder;
pub mod request;
pub mod rootfs;
