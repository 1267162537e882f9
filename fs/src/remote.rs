//! Images that are elsewhere: on web servers and in registries.
//!
//! ```text
//! Reference  what the user wrote          reference.rs
//!    │ Client::resolve                    client.rs, resolve.rs
//! Resolved   which bytes, and where       resolved.rs
//!    │ Client::blob
//! RemoteBlob ranges of bytes              blob.rs
//!    │ patience, doubled requests         retry.rs, hedge.rs
//!    │ mirrors, schemes                   roads.rs, registry.rs
//!    │ redirects, authorization           exchange.rs, registry/
//!    │ connections, proxies, certificates transport.rs, tls.rs
//! server
//! ```
//!
//! All calls block. Everything that a server says is checked before it is believed: lengths, places,
//! versions, digests. What goes wrong for a while is tried again for a bounded time; what goes wrong
//! for good becomes one clear line.

mod blob;
mod client;
mod daemon;
pub(crate) mod digest;
pub mod digests;
mod download;
mod error;
mod exchange;
mod failure;
mod figures;
mod hedge;
pub mod login;
mod observer;
mod options;
mod payload;
pub mod pins;
mod range;
mod reference;
mod registry;
mod resolve;
mod resolved;
mod retry;
mod roads;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod validator;

pub use blob::RemoteBlob;
pub use client::Client;
pub use daemon::Daemon;
pub use digest::{Digest, DigestError, DigestHasher};
pub use download::{Download, DownloadReader};
pub use error::RemoteError;
pub use figures::{Figures, LATENCY_BUCKETS};
pub use observer::{Event, Observer, Silent};
pub use options::{Places, Proxies, RemoteOptions, UrlLogin, duration};
pub use reference::{
    DockerReference, HttpReference, OrasReference, Reference, ReferenceError, Version, hide_secrets,
};
pub use registry::image::RawManifest;
pub use registry::push::{Pushed, Upload};
pub use resolved::{Location, Resolved};
pub use skiff_cache::disk::Fetch;
pub use validator::Validator;
