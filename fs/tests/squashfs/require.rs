//! What a test needs of the machine; a missing thing skips it, or fails it in strict mode.

use std::process::Command;

/// Whether all tools can be run. Says so when not.
pub(crate) fn tools(names: &[&str]) -> bool {
    names.iter().all(|name| {
        let found = Command::new(name).arg("-version").output().is_ok();
        if !found {
            skip(&format!("{name} is not installed"));
        }
        found
    })
}

/// Notes a precondition that is not met.
pub(crate) fn skip(reason: &str) {
    eprintln!("SKIP: {reason}");
    assert!(
        std::env::var_os("SKIFF_TEST_STRICT").is_none_or(|strict| strict != "1"),
        "a precondition is missing in strict mode: {reason}"
    );
}

/// Whether this process may mount.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
