//! Names of users and groups in the host's databases.

use crate::kernel;

/// The number of the user called `name`, and its group.
pub fn user(name: &str) -> Option<(u32, u32)> {
    let (uid, record) = kernel::passwd_entry(name)?;
    Some((uid, record.gid))
}

/// The number of the group called `name`.
pub fn group(name: &str) -> Option<u32> {
    kernel::group_id(name)
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
