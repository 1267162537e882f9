//! Answers of the tree to the kernel, over `/dev/fuse`.
//!
//! ```text
//! /dev/fuse ─► session (one thread per cloned device) ─► handler ─► View + Tree
//!      ▲                                                   │
//!      └────────────── writev: header, shared block slices ┘
//! ```
//!
//! The protocol loop is our own rather than a library's, for three things that the libraries do not
//! offer: a server that takes over a connection whose handshake a dead one made, replies that are
//! gathered straight from the block cache, and node ids that need no table.

pub mod accesses;
pub mod connection;
pub mod handler;
pub mod session;
pub mod standin;

mod abi;
mod directory;
mod errno;
mod nodeid;
mod programs;
mod push;
mod readahead;
mod reply;
mod sys;
mod waits;
