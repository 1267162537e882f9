//! `capability.json`: which capabilities the administrator gives to whom.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where the file is looked for, first one that exists.
pub const SEARCH: [&str; 2] = [
    "/etc/skiff/capability.json",
    "/etc/apptainer/capability.json",
];

/// The capabilities, by number: names without `CAP_`.
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The content of the file: names with `CAP_`, in the order of being given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CapabilityFile {
    /// Of users, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, Vec<String>>,
    /// Of groups, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, Vec<String>>,
}

impl CapabilityFile {
    /// The file in force; the place for a new one where there is none.
    pub fn path() -> PathBuf {
        let mut places = SEARCH.iter().map(Path::new);
        let found = places.find(|path| path.exists());
        found.unwrap_or(Path::new(SEARCH[0])).to_owned()
    }

    /// Reads the file in force; where there is none, nobody has anything.
    ///
    /// # Errors
    /// A file that cannot be read or is not of this form.
    pub fn load() -> io::Result<Self> {
        match std::fs::read(Self::path()) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads a text; an empty one gives nobody anything.
    ///
    /// # Errors
    /// A text that is not of this form.
    pub fn parse(text: &[u8]) -> io::Result<Self> {
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        Ok(serde_json::from_slice(text)?)
    }
}

/// Takes a list such as `chown,CAP_NET_RAW` or `all` apart: the known ones, and the unknown ones,
/// all with `CAP_`.
pub fn split(list: &str) -> (Vec<String>, Vec<String>) {
    let full = |name: &str| format!("CAP_{name}");
    if list.eq_ignore_ascii_case("all") {
        return (NAMES.iter().map(|name| full(name)).collect(), Vec::new());
    }
    list.split(',')
        .map(|word| word.trim().to_ascii_uppercase())
        .filter(|word| !word.is_empty())
        .map(|word| word.strip_prefix("CAP_").map(str::to_owned).unwrap_or(word))
        .map(|name| (NAMES.contains(&name.as_str()), full(&name)))
        .fold((Vec::new(), Vec::new()), |mut lists, (known, name)| {
            let list = if known { &mut lists.0 } else { &mut lists.1 };
            if !list.contains(&name) {
                list.push(name);
            }
            lists
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(
            split("chown, CAP_kill,foo,,KILL"),
            (
                vec!["CAP_CHOWN".to_owned(), "CAP_KILL".to_owned()],
                vec!["CAP_FOO".to_owned()]
            )
        );
        assert_eq!(split("all").0.len(), 41);
        assert_eq!(split(""), (Vec::new(), Vec::new()));
    }

    #[test]
    fn files() {
        let text = br#"{"users":{"ann":["CAP_CHOWN"]}}"#;
        let file = CapabilityFile::parse(text).unwrap();
        assert_eq!(file.users["ann"], ["CAP_CHOWN"]);
        assert_eq!(serde_json::to_vec(&file).unwrap(), text);
        assert_eq!(
            CapabilityFile::parse(b" ").unwrap(),
            CapabilityFile::default()
        );
        assert!(CapabilityFile::parse(b"[1").is_err());
    }
}
