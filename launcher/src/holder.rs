//! The holder: one small process per (user, image, job step) that owns the mounted image and lends
//! it to every launch.
//!
//! ```text
//! skiff exec ──connect──► socket in a private directory      holder: user + mount namespace,
//!     │                                                      the mount, the device's descriptors
//!     │   JOIN points ─────────────────────────────────────►   │ starts, restarts
//!     │ ◄──────────── user namespace, detached mount ───────   ▼
//!     ▼ setns, attach, exec                                  server: answers the kernel
//! ```
//!
//! Whoever finds no holder becomes its starter: it binds the socket itself, under a lock, and gives
//! it away, so that later comers simply queue on it. The holder counts the processes it launched by
//! their pidfds; when all are gone it lingers a while and then leaves nothing behind. Containers
//! that outlive it keep their mount, and the server lives until the last of those is gone.

pub mod client;
pub mod control;
pub mod keeper;
pub mod key;
pub mod runtime_dir;
pub mod summons;
pub mod supervise;

pub(crate) mod protocol;

use std::time::Duration;

/// Environment variable: seconds for which an unused holder stays.
pub const LINGER_VARIABLE: &str = "SKIFF_LINGER";

/// How long an unused holder stays by default: long enough for the next step of a script, short
/// enough to be gone before anyone wonders.
pub const DEFAULT_LINGER: Duration = Duration::from_secs(10);

/// Name of the holder process (`comm`).
pub const HOLDER_NAME: &str = "skiff-holder";

/// Name of the server process (`comm`).
pub const SERVER_NAME: &str = "skiff-server";
