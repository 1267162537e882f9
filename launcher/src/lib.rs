//! From a request to a running program: plan (pure), then apply (system calls), then `execve`.
//!
//! ```text
//! LaunchRequest + Config + HostFacts ──plan──► LaunchPlan ──launch──► the program itself
//!                                                   ▲
//!                            RootfsProvider hands over the mounted tree
//! ```

pub mod accounts;
pub mod admission;
pub mod config;
pub mod environment;
pub mod error;
pub mod fakeroot;
pub mod gpu;
pub mod holder;
pub mod host;
pub mod identity;
pub mod idmap;
pub mod instance;
pub mod kernel;
pub mod limits;
pub mod mount;
pub mod plan;
pub mod process;
pub mod programs;
pub mod report;
pub mod request;
pub mod room;
pub mod rootfs;
pub mod script;
pub mod security;

pub use error::LaunchError;
pub use report::{Level, Report};
