//! Names in archives, made safe.

/// Most bytes of a path, as Linux has it without the final NUL.
pub(super) const PATH_MOST: usize = 4095;
/// Most bytes of one name.
const NAME_MOST: usize = 255;

/// Why a name cannot be a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// A NUL byte.
    #[error("the name has a NUL byte")]
    Nul,
    /// More than 4095 bytes.
    #[error("the name has more than {PATH_MOST} bytes")]
    Path,
    /// A component of more than 255 bytes.
    #[error("a part of the name has more than {NAME_MOST} bytes")]
    Name,
}

/// `name` as a path inside the root: components that are not empty, `.` or `..`. As with the tools
/// that people know, the root's parent is the root itself; symbolic links are left for whoever knows
/// the tree.
///
/// # Errors
/// [`PathError`]
pub fn clean(name: &[u8]) -> Result<Vec<u8>, PathError> {
    if name.contains(&0) {
        return Err(PathError::Nul);
    }
    if name.len() > PATH_MOST {
        return Err(PathError::Path);
    }
    let mut path = Vec::with_capacity(name.len());
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let parent = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                path.truncate(parent);
            }
            _ if part.len() > NAME_MOST => return Err(PathError::Name),
            _ => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for (name, path) in [
            ("./a/b", "a/b"),
            ("/a//b/", "a/b"),
            ("", ""),
            (".", ""),
            ("/", ""),
            ("../../etc/passwd", "etc/passwd"),
            ("a/../../b", "b"),
            ("a/b/../c/.", "a/c"),
            ("..a/...", "..a/..."),
        ] {
            assert_eq!(clean(name.as_bytes()).unwrap(), path.as_bytes(), "{name}");
        }
    }

    #[test]
    fn names_that_no_file_can_have() {
        assert_eq!(clean(b"a\0b"), Err(PathError::Nul));
        assert_eq!(clean(&[b'a'; 256]), Err(PathError::Name));
        assert_eq!(clean(&b"a/".repeat(2048)), Err(PathError::Path));
        assert_eq!(clean(&[b'a'; 255]).unwrap().len(), 255);
    }
}
