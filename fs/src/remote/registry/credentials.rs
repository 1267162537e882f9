//! Who we are for a registry: what the command line or the environment says, else the first file
//! that knows something, as each of them would be read by its own tool.

use super::super::error::RemoteError;
use super::super::options::RemoteOptions;
use super::config_file::{ConfigFile, Credentials, files, key};
use super::helper;

/// Looks for credentials. `own`: the registry is the one that the user named, and not a mirror,
/// which a password on the command line is not meant for.
pub(super) fn find(
    options: &RemoteOptions,
    registry: &str,
    repository: &str,
    own: bool,
) -> Result<Option<Credentials>, RemoteError> {
    if own && let (Some(username), Some(password)) = (&options.username, &options.password) {
        let (username, password) = (username.clone(), password.clone());
        return Ok(Some(Credentials::Password { username, password }));
    }
    for path in files(options) {
        let named = options.authfile.as_ref() == Some(&path);
        let Some(file) = ConfigFile::read(&path, named)? else {
            continue;
        };
        // A helper for this registry goes before the file's own entries, one for all comes after.
        if let Some(name) = file.helper(registry)
            && let Some(found) = helper::get(&options.places, name, registry)?
        {
            return Ok(Some(found));
        }
        if let Some(found) = file.credentials(registry, repository) {
            return Ok(Some(found));
        }
        if let Some(name) = file.store()
            && let Some(found) = helper::get(&options.places, name, key(registry))?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::config_file::is_absent;
    use super::*;

    fn password(username: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password {
            username: username.to_owned(),
            password: password.to_owned(),
        })
    }

    #[test]
    fn places_are_asked_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut options = RemoteOptions::default();
        options.places.apptainer = Some(at("apptainer"));
        options.places.runtime_containers = Some(at("run"));
        options.places.user_containers = Some(at("config"));
        options.places.docker = Some(at("docker"));
        let now = |options: &RemoteOptions| find(options, "reg", "a/b", true).unwrap();
        let write = |path: &str, username: &str| {
            let path = at(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text =
                format!(r#"{{"auths": {{"reg": {{"username": "{username}", "password": "p"}}}}}}"#);
            fs::write(path, text).unwrap();
        };
        assert_eq!(now(&options), None);
        for path in [
            "docker/config.json",
            "config/auth.json",
            "run/auth.json",
            "apptainer/docker-config.json",
            "own",
        ] {
            write(path, path);
            if path == "own" {
                options.authfile = Some(at("own"));
            }
            assert_eq!(now(&options), password(path, "p"));
        }
        // A file within a file is not there, and one that cannot be read was not meant, unless it
        // was named.
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert!(is_absent(&denied, false) && !is_absent(&denied, true));
        options.username = Some("me".to_owned());
        assert_eq!(now(&options), password("own", "p"));
        options.password = Some("pw".to_owned());
        assert_eq!(now(&options), password("me", "pw"));
        assert_eq!(
            find(&options, "reg", "a/b", false).unwrap(),
            password("own", "p")
        );
    }
}
