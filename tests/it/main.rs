//! The real binary, driven from outside.

mod conformance;
mod tidy;
mod trees;
