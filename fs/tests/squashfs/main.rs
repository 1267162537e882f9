//! Images made by mksquashfs, read through the reader and compared with Linux's own driver.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may stop at what it does not expect, and says why it skips"
)]

mod build;
mod compare;
mod directories;
mod large;
mod pack;
mod require;
mod variants;
mod written;
