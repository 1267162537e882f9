//! Damaged and hostile images: errors are fine, panics and hangs are not.
