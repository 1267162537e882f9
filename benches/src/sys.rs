#![allow(
    unsafe_code,
    reason = "signal(2) has no safe wrapper that allows a handler"
)]
//! Installs the handler that notes an interrupt.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Makes SIGINT and SIGTERM set a flag instead of ending the process.
pub(crate) fn catch() {
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
    }
}

/// Whether one of them has arrived.
pub(crate) fn caught() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
