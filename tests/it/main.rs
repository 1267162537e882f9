//! The real binary, driven from outside.

mod attacks;
mod binds_random;
mod care;
mod concurrency;
mod config;
mod conformance;
mod crash;
mod faults;
mod gpu;
mod guide;
mod hostile;
mod identity;
mod instance;
mod limits;
mod mpi;
mod outlast;
mod overlay;
mod pty;
mod readme;
mod remote;
mod shared_cache;
mod signals;
mod slurm;
mod tidy;
mod trees;
mod warm;
