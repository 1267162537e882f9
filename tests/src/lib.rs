//! What the integration tests share: preconditions, the ordinary user, running programs with a
//! time limit, images to run, and pictures of trees to compare.
//!
//! The tests drive the real binary from outside and link nothing of the product, so that they can
//! run on real Apptainer first: a test that fails there is wrong.

pub mod archive;
pub mod command;
pub mod debian;
pub mod image;
pub mod numpy;
pub mod oci;
pub mod processes;
pub mod program;
pub mod pty;
pub mod reading;
pub mod require;
pub mod snapshot;
pub mod sys;
pub mod tree_source;
pub mod user;
pub mod userland;
pub mod web;
