//! Programs of the host that help with a launch, and where they are found: newuidmap, fuse2fs,
//! the fakeroot command.

use std::path::PathBuf;

/// Where a system has its programs, whoever asks.
pub const PLACES: [&str; 5] = ["/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin", "/sbin"];

/// The program called `name`: the system's, else one of the caller's PATH. Relative folders of PATH
/// do not count, nor does PATH as a whole for root: whoever set it need not be trusted by him.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").filter(|_| !rustix::process::geteuid().is_root());
    let own: Vec<PathBuf> = path
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|place| place.is_absolute())
        .collect();
    PLACES
        .iter()
        .map(PathBuf::from)
        .chain(own)
        .map(|place| place.join(name))
        .find(|program| {
            rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok() && program.is_file()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_own_come_first() {
        let sh = find("sh").unwrap();
        assert!(PLACES.iter().any(|place| sh.starts_with(place)), "{sh:?}");
        assert_eq!(find("no-such-program-of-anybody"), None);
        // A directory is no program.
        assert_eq!(find("."), None);
    }
}
