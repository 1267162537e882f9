//! What a cache fills itself from.

pub use skiff_cache::disk::Fetch;
