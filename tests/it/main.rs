//! The real binary, driven from outside.

mod concurrency;
mod conformance;
mod crash;
mod hostile;
mod pty;
mod readme;
mod tidy;
mod trees;
