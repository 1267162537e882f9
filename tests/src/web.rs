//! Servers to fetch images from: well-behaved ones, faulty ones, and a registry's front.
//!
//! ```text
//! Server   sockets, TLS, keep-alive, latency; gone and back
//!   Faults   what goes wrong with which request
//!   Log      every request: what was asked, what was sent
//!   Handler  what is there: Site (files under paths), Registry (manifests, blobs, tokens)
//! ```
//!
//! The real programs that serve images in the tests are started by [`daemon`].

pub mod content;
pub mod daemon;
pub mod fault;
pub mod log;
pub mod place;
pub mod registry;
pub mod request;
pub mod server;
pub mod site;
pub mod tls;
pub mod token;
mod wire;

pub use content::Content;
pub use fault::{Fault, Faults, When};
pub use log::Log;
pub use place::Place;
pub use registry::Registry;
pub use server::{Handler, Server, Setup};
pub use site::Site;
pub use tls::Authority;

#[cfg(test)]
mod tests;
