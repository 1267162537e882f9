//! Whether the administrator lets an image be run: `limit container …` and `allow container …`.
//!
//! These are rules among people who mean well. Whoever may make user namespaces can run an image
//! with a program of his own (Apptainer's file says the same).

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::accounts;
use crate::config::Config;
use crate::error::{LaunchError, reason};
use crate::host::HostFacts;

/// What an image is, as far as the rules ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContainerKind {
    /// A SIF.
    Sif,
    /// A SIF whose root partition needs a key.
    EncryptedSif,
    /// A squashfs file.
    Squashfs,
    /// An ext3 file.
    Ext3,
    /// A directory.
    Sandbox,
}

/// Checks an image. `file` is its path without links; `None` for one that is no file of this
/// machine, which therefore has no owner and is in no allowed place.
///
/// # Errors
/// The rule that forbids it, in Apptainer's words.
pub fn check(
    config: &Config,
    facts: &HostFacts,
    kind: ContainerKind,
    file: Option<&Path>,
) -> Result<(), LaunchError> {
    if !facts.privileged && !config.allow_user_ns {
        return Err(LaunchError::NoUserNamespaces);
    }
    let refused = |text: String| Err(LaunchError::Refused(text));
    match places(config, file) {
        Ok(true) => {}
        Ok(false) => return refused("apptainer image is not in an allowed configured path".into()),
        Err(text) => return refused(text),
    }
    match owners(config, file) {
        Ok(None) => {}
        Ok(Some(which)) => {
            return refused(format!("apptainer image is not owned by required {which}"));
        }
        Err(text) => return refused(text),
    }
    let (allowed, what) = match kind {
        ContainerKind::Sif => (config.allow_sif, "unencrypted SIF"),
        ContainerKind::EncryptedSif => (config.allow_encrypted, "encrypted SIF"),
        ContainerKind::Squashfs => (config.allow_squashfs, "squashFS"),
        ContainerKind::Ext3 => (config.allow_extfs, "extFS"),
        ContainerKind::Sandbox => (config.allow_dir, "sandbox"),
    };
    if !allowed {
        return refused(format!(
            "configuration disallows users from running {what} containers"
        ));
    }
    Ok(())
}

/// Whether the file is in one of the allowed places: below it, not merely next to it under a longer
/// name. Links in the configured paths count as what they lead to.
fn places(config: &Config, file: Option<&Path>) -> Result<bool, String> {
    let mut inside = config.limit_paths.is_empty();
    for allowed in &config.limit_paths {
        let real = allowed.canonicalize().map_err(|error| {
            format!(
                "failed to resolve path {0}: lstat {0}: {1}",
                allowed.display(),
                reason(&error)
            )
        })?;
        inside |= file.is_some_and(|file| file.starts_with(&real));
    }
    Ok(inside)
}

/// Which rule about owners the file breaks.
fn owners(config: &Config, file: Option<&Path>) -> Result<Option<&'static str>, String> {
    if config.limit_groups.is_empty() && config.limit_owners.is_empty() {
        return Ok(None);
    }
    let owner = file
        .map(|file| {
            let data = file.metadata();
            data.map(|data| (data.uid(), data.gid())).map_err(|error| {
                format!("could not look at {}: {}", file.display(), reason(&error))
            })
        })
        .transpose()?;
    let mut right = config.limit_groups.is_empty();
    for name in &config.limit_groups {
        let gid = accounts::group(name).ok_or_else(|| {
            format!("failed to retrieve group information for {name}: group: unknown group {name}")
        })?;
        right |= owner.is_some_and(|(_, group)| group == gid);
    }
    if !right {
        return Ok(Some("group(s)"));
    }
    let mut right = config.limit_owners.is_empty();
    for name in &config.limit_owners {
        let (uid, _) = accounts::user(name).ok_or_else(|| {
            format!("failed to retrieve user information for {name}: user: unknown user {name}")
        })?;
        right |= owner.is_some_and(|(user, _)| user == uid);
    }
    Ok((!right).then_some("user(s)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn verdict(config: &Config, kind: ContainerKind, file: Option<&Path>) -> String {
        let facts = HostFacts {
            uid: 1000,
            ..HostFacts::default()
        };
        match check(config, &facts, kind, file) {
            Ok(()) => "yes".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn paths_count_by_components() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["data", "data-evil"] {
            std::fs::create_dir(root.join(name)).unwrap();
            std::fs::write(root.join(name).join("a.sif"), "").unwrap();
        }
        std::os::unix::fs::symlink(root.join("data"), root.join("link")).unwrap();
        let config = |path: &str| Config {
            limit_paths: vec![root.join(path)],
            ..Config::default()
        };
        let file = |path: &str| root.join(path).join("a.sif");
        let denied = "apptainer image is not in an allowed configured path";
        for (allowed, of, expected) in [
            ("data", "data", "yes"),
            ("data", "data-evil", denied),
            ("data-evil", "data", denied),
            ("link", "data", "yes"),
            ("data/a.sif", "data", "yes"),
        ] {
            assert_eq!(
                verdict(&config(allowed), ContainerKind::Sif, Some(&file(of))),
                expected,
                "{allowed} {of}"
            );
        }
        assert_eq!(verdict(&config("data"), ContainerKind::Sif, None), denied);
        assert!(
            verdict(&config("gone"), ContainerKind::Sif, None)
                .starts_with("failed to resolve path ")
        );
    }

    #[test]
    fn owners_and_groups() {
        let file = PathBuf::from("/");
        let config = |owner: &str, group: &str| Config {
            limit_owners: vec![owner.to_owned()],
            limit_groups: vec![group.to_owned()],
            ..Config::default()
        };
        for (owner, group, expected) in [
            ("root", "root", "yes"),
            (
                "nobody",
                "root",
                "apptainer image is not owned by required user(s)",
            ),
            (
                "nobody",
                "daemon",
                "apptainer image is not owned by required group(s)",
            ),
            (
                "no-such",
                "root",
                "failed to retrieve user information for no-such: user: unknown user no-such",
            ),
        ] {
            assert_eq!(
                verdict(&config(owner, group), ContainerKind::Sandbox, Some(&file)),
                expected
            );
        }
    }

    #[test]
    fn kinds() {
        let none = Config {
            allow_sif: false,
            allow_encrypted: false,
            allow_squashfs: false,
            allow_extfs: false,
            allow_dir: false,
            ..Config::default()
        };
        for kind in [
            ContainerKind::Sif,
            ContainerKind::EncryptedSif,
            ContainerKind::Squashfs,
            ContainerKind::Ext3,
            ContainerKind::Sandbox,
        ] {
            assert_eq!(verdict(&Config::default(), kind, None), "yes");
            assert!(verdict(&none, kind, None).starts_with("configuration disallows users"));
        }
    }
}
