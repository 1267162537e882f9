//! Names of users and groups in the host's databases.

mod sys;

use std::ffi::CString;

/// The number of the user called `name`, and its group.
pub fn user(name: &str) -> Option<(u32, u32)> {
    sys::user(&CString::new(name).ok()?)
}

/// The number of the group called `name`.
pub fn group(name: &str) -> Option<u32> {
    sys::group(&CString::new(name).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known() {
        assert_eq!(user("root"), Some((0, 0)));
        assert_eq!(group("root"), Some(0));
        assert_eq!(user("no such user"), None);
        assert_eq!(group("no\0such"), None);
    }
}
