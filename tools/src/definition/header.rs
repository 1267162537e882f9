//! The header of a stage: `Key: value` lines.

use std::collections::BTreeMap;

/// Keys that there are.
const KEYS: &[&str] = &[
    "bootstrap",
    "confurl",
    "fingerprints",
    "from",
    "include",
    "includecmd",
    "library",
    "mirrorurl",
    "modules",
    "namespace",
    "osversion",
    "product",
    "productpgp",
    "regcode",
    "registerurl",
    "registry",
    "setopt",
    "stage",
    "updateurl",
    "user",
];

/// A key that a number follows.
const NUMBERED: &str = "otherurl";

/// Reads a header; nothing in it is no header.
///
/// # Errors
/// What is wrong with the first wrong line.
pub fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
    lines(text).map_err(|reason| format!("failed to parse deffile header: {reason}"))
}

fn lines(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut header = BTreeMap::new();
    // A value that goes on in the next line.
    let mut open: Option<(String, String)> = None;
    for line in text.trim().lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            if let Some((key, value)) = open.take() {
                add(&mut header, key, value)?;
            }
            continue;
        }
        let content = line.split('#').next().unwrap_or_default();
        let (key, value) = match open.take() {
            Some((key, begun)) => (key, begun + content.trim()),
            None => {
                let (key, value) = content
                    .split_once(':')
                    .ok_or_else(|| format!("header key {content} had no val"))?;
                (key.trim().to_lowercase(), value.trim().to_owned())
            }
        };
        match value.strip_suffix('\\') {
            // An empty value cannot go on.
            Some("") => {}
            Some(begun) => {
                let begun = match begun.strip_suffix("\\n") {
                    Some(text) => format!("{text}\n"),
                    None => begun.to_owned(),
                };
                open = Some((key, begun));
            }
            None => add(&mut header, key, value)?,
        }
    }
    if let Some((key, value)) = open {
        add(&mut header, key, value)?;
    }
    Ok(header)
}

/// A header whose keys have been looked at.
///
/// # Errors
/// About a key that there is not.
pub fn checked(header: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for (key, value) in header {
        add(&mut found, key.to_lowercase(), value)?;
    }
    Ok(found)
}

fn add(header: &mut BTreeMap<String, String>, key: String, value: String) -> Result<(), String> {
    let numbered = key
        .strip_prefix(NUMBERED)
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()));
    if !numbered && !KEYS.contains(&key.as_str()) {
        return Err(format!("invalid header keyword found: {key}"));
    }
    header.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: BTreeMap<_, _> = expected
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(read(text), Ok(expected), "{text}");
    }

    #[test]
    fn keys_and_values() {
        check(
            "BootStrap:docker # c\n#x\n\nFrom : a:b",
            &[("bootstrap", "docker"), ("from", "a:b")],
        );
        check("OtherURL0: x", &[("otherurl0", "x")]);
        check("# nothing", &[]);
    }

    #[test]
    fn values_go_on() {
        check("Include: a \\\n b\\\nc", &[("include", "a bc")]);
        check("ProductPGP: a\\n\\\n b", &[("productpgp", "a\nb")]);
        check("From: x\\\n\nStage: y", &[("from", "x"), ("stage", "y")]);
    }

    #[test]
    fn complaints() {
        for (text, expected) in [
            ("foo", "header key foo had no val"),
            ("Foo: x", "invalid header keyword found: foo"),
            ("otherurl: x", "invalid header keyword found: otherurl"),
        ] {
            let expected = format!("failed to parse deffile header: {expected}");
            assert_eq!(read(text), Err(expected));
        }
    }
}
