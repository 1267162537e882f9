//! What the integration tests share: tiny images, running skiff, preconditions.
