//! Reading a file of settings.

use std::io;
use std::path::Path;

use anyhow::{anyhow, bail};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Key, Kind};
use crate::text::os_error;

/// No settings are longer.
const MAX_BYTES: u64 = 1 << 20;

/// A key of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) key: &'static Key,
    /// As the variable would have it.
    pub(super) value: String,
    /// Counted from 1.
    pub(super) line: usize,
}

/// The keys of the file at `path`; none where there is no such file, if there need not be one.
pub(super) fn read(path: &Path, must_exist: bool) -> anyhow::Result<Vec<Entry>> {
    let unreadable = |error: &io::Error| {
        anyhow!(
            "could not read the settings in {}: {}",
            path.display(),
            os_error(error)
        )
    };
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {
            return Ok(Vec::new());
        }
        // A home that cannot be entered has no settings for us.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !must_exist => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(unreadable(&error)),
    };
    parse(&text).map_err(|(line, reason)| anyhow!("{}: line {line}: {reason}", path.display()))
}

fn read_text(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let file = std::fs::File::open(path)?;
    let data = file.metadata()?;
    if !data.is_file() || data.len() > MAX_BYTES {
        return Err(io::Error::other("this is no file of settings"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The keys of a text, or a line and what is wrong with it.
fn parse(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let line_of = |at: usize| {
        let before = text.as_bytes().get(..at).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    };
    let root = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        (line_of(at), error.message().to_owned())
    })?;
    let mut entries = Vec::new();
    for (table, content) in root.get_ref() {
        let line = line_of(table.span().start);
        let Some(content) = content.get_ref().as_table() else {
            return Err((line, unknown(table.get_ref())));
        };
        if content.iter().next().is_none() && !is_table(table.get_ref()) {
            return Err((line, unknown(table.get_ref())));
        }
        for (name, value) in content {
            let line = line_of(name.span().start);
            let full = format!("{}.{}", table.get_ref(), name.get_ref());
            let key = KEYS
                .iter()
                .find(|key| key.name == full)
                .ok_or_else(|| (line, unknown(&full)))?;
            let value = convert(key, value).map_err(|error| (line, error.to_string()))?;
            entries.push(Entry { key, value, line });
        }
    }
    Ok(entries)
}

fn is_table(name: &str) -> bool {
    KEYS.iter().any(|key| {
        key.name
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// Says what is known instead.
fn unknown(name: &str) -> String {
    let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    format!("there is no setting {name}; there are {}", known.join(", "))
}

/// The value as the key's variable would have it.
fn convert(key: &'static Key, value: &Spanned<DeValue<'_>>) -> anyhow::Result<String> {
    let found = match (key.kind, value.get_ref()) {
        (Kind::Flag, DeValue::Boolean(flag)) => Some(String::from(if *flag { "1" } else { "0" })),
        // An empty path stands for none.
        (Kind::Path, DeValue::String(text)) => {
            (text.is_empty() || text.starts_with('/')).then(|| text.to_string())
        }
        (Kind::Size, DeValue::String(text)) => {
            skiff_cache::disk::parse_size(text).map(|_| text.to_string())
        }
        (Kind::Duration, DeValue::String(text)) => {
            skiff_fs::remote::duration(text).map(|_| text.to_string())
        }
        (Kind::Size | Kind::Duration | Kind::Seconds, DeValue::Integer(number)) => (number.radix()
            == 10)
            .then(|| number.as_str().parse::<u64>().ok())
            .flatten()
            .map(|number| number.to_string()),
        _ => None,
    };
    match found {
        Some(text) => Ok(text),
        None => bail!("{} has to be {}", key.name, key.kind.allowed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let entries = parse(
            "# site\n[cache]\ndir = \"/scratch/c\"\nquota = \"10G\"\nkeep-free = 1_000\nfiles = true\n\
             [network]\ntimeout = \"2m\"\nstall-timeout = 3\noffline = false\n\n[server]\nlinger = 0\n",
        )
        .unwrap();
        let found: Vec<(&str, &str, usize)> = entries
            .iter()
            .map(|entry| (entry.key.name, entry.value.as_str(), entry.line))
            .collect();
        for expected in [
            ("cache.dir", "/scratch/c", 3),
            ("cache.quota", "10G", 4),
            ("cache.keep-free", "1000", 5),
            ("cache.files", "1", 6),
            ("network.timeout", "2m", 8),
            ("network.stall-timeout", "3", 9),
            ("network.offline", "0", 10),
            ("server.linger", "0", 13),
        ] {
            assert!(found.contains(&expected), "{expected:?} in {found:?}");
        }
        assert_eq!(found.len(), 8);
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(parse("[cache]\n").unwrap(), []);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, line, part) in [
            (
                "[cache]\n\nqouta = \"1G\"\n",
                3,
                "there is no setting cache.qouta",
            ),
            ("[nothing]\n", 1, "there is no setting nothing"),
            ("quota = 3\n", 1, "there is no setting quota"),
            (
                "[cache]\nquota = \"many\"\n",
                2,
                "cache.quota has to be a size such as",
            ),
            (
                "[cache]\ndir = \"here\"\n",
                2,
                "cache.dir has to be an absolute path",
            ),
            (
                "[network]\noffline = \"no\"\n",
                2,
                "network.offline has to be true or false",
            ),
            (
                "[server]\nlinger = -1\n",
                2,
                "server.linger has to be a number of seconds",
            ),
            ("[cache\n", 1, ""),
            ("[cache]\na = 1\na = 2\n", 3, "duplicate"),
        ] {
            let (at, reason) = parse(text).unwrap_err();
            assert_eq!(at, line, "{text}: {reason}");
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }
}
