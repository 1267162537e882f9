//! Local disk cache and memory caches of bytes; knows nothing about images, FUSE or networks.

pub mod disk;
pub mod memory;
pub mod waiting;
