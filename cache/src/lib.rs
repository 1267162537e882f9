//! Local disk cache and memory caches of bytes; knows nothing about images, FUSE or networks.

pub mod memory;
