//! What tests run inside containers and on mounts.

fn main() {}
