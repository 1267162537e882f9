//! The one change of this process's environment.
#![expect(
    unsafe_code,
    reason = "changing the environment is unsafe beside other threads"
)]

use std::ffi::OsStr;

/// Sets a variable of this process. Only while it has one thread.
pub(super) fn set_variable(name: &str, value: impl AsRef<OsStr>) {
    // SAFETY: settings are read before a command starts any thread.
    unsafe { std::env::set_var(name, value) };
}
