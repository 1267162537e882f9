//! skiff's own settings: what is not Apptainer's. Each is a variable of the environment, or a key
//! in a file, or left at its default, in this order:
//!
//! ```text
//! $SKIFF_…  >  $SKIFF_CONFIG, else ~/.config/skiff/skiff.toml  >  /etc/skiff/skiff.toml
//! ```
//!
//! The code that needs a setting reads its variable; [`adopt`] gives the variables that are not set
//! the values of the files. A launch that finds its image's server running never gets here.

mod file;
mod keys;
mod sys;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use file::Entry;
pub use keys::{KEYS, Key, Kind};

/// The administrator's file.
pub const SITE_FILE: &str = "/etc/skiff/skiff.toml";

/// Variable that names a file in place of the user's; an empty one stands for none.
pub const FILE_VARIABLE: &str = "SKIFF_CONFIG";

/// Where a setting's value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Its variable.
    Environment,
    /// A file.
    File {
        /// Which.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
    },
    /// Nobody said anything.
    Default,
}

/// A setting in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Which.
    pub key: &'static Key,
    /// Its value, as its variable would have it; empty for none.
    pub value: String,
    /// Where that comes from.
    pub origin: Origin,
}

/// Gives the variables of this process that are not set the values of the files. Only before there
/// are threads.
///
/// # Errors
/// A file that cannot be read, unknown keys, impossible values: file, line, key and what is allowed.
pub fn adopt() -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var_os(name);
    for setting in from_files(&variable)? {
        if variable(setting.key.variable).is_none() {
            sys::set_variable(setting.key.variable, &setting.value);
        }
    }
    Ok(())
}

/// Every setting, in the order of [`KEYS`].
///
/// # Errors
/// As [`adopt`].
pub fn all(variable: &dyn Fn(&str) -> Option<OsString>) -> anyhow::Result<Vec<Setting>> {
    let files = from_files(variable)?;
    let of = |key: &'static Key| {
        if let Some(value) = variable(key.variable) {
            return Setting {
                key,
                value: value.to_string_lossy().into_owned(),
                origin: Origin::Environment,
            };
        }
        let in_files = files.iter().find(|setting| setting.key == key);
        in_files.cloned().unwrap_or_else(|| Setting {
            key,
            value: key.default.to_owned(),
            origin: Origin::Default,
        })
    };
    Ok(KEYS.iter().map(of).collect())
}

/// What the files say; where both say something, the user's counts.
fn from_files(variable: &dyn Fn(&str) -> Option<OsString>) -> anyhow::Result<Vec<Setting>> {
    let mut found: Vec<Setting> = Vec::new();
    for (path, must_exist) in files(variable) {
        for Entry { key, value, line } in file::read(&path, must_exist)? {
            if !found.iter().any(|setting| setting.key == key) {
                let path = path.clone();
                found.push(Setting {
                    key,
                    value,
                    origin: Origin::File { path, line },
                });
            }
        }
    }
    Ok(found)
}

/// The files, strongest first, and whether each has to be there.
pub fn files(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<(PathBuf, bool)> {
    let site = (PathBuf::from(SITE_FILE), false);
    if let Some(file) = variable(FILE_VARIABLE) {
        if file.is_empty() {
            return vec![site];
        }
        return vec![(PathBuf::from(file), true), site];
    }
    let absolute = |name: &str| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let folder =
        absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(Path::new(".config"))));
    folder
        .map(|folder| (folder.join("skiff/skiff.toml"), false))
        .into_iter()
        .chain([site])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| {
            let mut pairs = pairs.iter();
            pairs
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        }
    }

    #[test]
    fn places() {
        let names = |pairs: &[(&str, &str)]| -> Vec<String> {
            let files = files(&environment(pairs));
            files
                .iter()
                .map(|(path, _)| path.display().to_string())
                .collect()
        };
        assert_eq!(
            names(&[("HOME", "/home/ann")]),
            ["/home/ann/.config/skiff/skiff.toml", SITE_FILE]
        );
        assert_eq!(
            names(&[("HOME", "/home/ann"), ("XDG_CONFIG_HOME", "/c")]),
            ["/c/skiff/skiff.toml", SITE_FILE]
        );
        assert_eq!(names(&[("SKIFF_CONFIG", "/x")]), ["/x", SITE_FILE]);
        assert_eq!(names(&[("SKIFF_CONFIG", ""), ("HOME", "/h")]), [SITE_FILE]);
        assert_eq!(names(&[]), [SITE_FILE]);
    }

    #[test]
    fn the_environment_is_stronger_than_files_and_files_than_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.toml");
        std::fs::write(
            &file,
            "[cache]\nquota = \"5G\"\n\n[network]\ntimeout = 30\n",
        )
        .unwrap();
        let path = file.to_str().unwrap();
        let all = all(&environment(&[
            ("SKIFF_CONFIG", path),
            ("SKIFF_NETWORK_TIMEOUT", "7s"),
        ]))
        .unwrap();
        let one = |name: &str| {
            let found = all.iter().find(|setting| setting.key.name == name).unwrap();
            (found.value.as_str(), found.origin.clone())
        };
        let line = |line| Origin::File {
            path: file.clone(),
            line,
        };
        assert_eq!(one("cache.quota"), ("5G", line(2)));
        assert_eq!(one("network.timeout"), ("7s", Origin::Environment));
        assert_eq!(one("network.tag-ttl"), ("30s", Origin::Default));
    }

    #[test]
    fn a_named_file_has_to_be_there() {
        let error = all(&environment(&[("SKIFF_CONFIG", "/nonexistent/s.toml")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not read the settings in /nonexistent/s.toml: no such file or directory"
        );
    }
}
