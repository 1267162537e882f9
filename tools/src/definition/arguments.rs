//! Build arguments: values for `{{ NAME }}`.

use std::path::Path;
use std::sync::LazyLock;

use anyhow::Context as _;
use regex_lite::Regex;

use super::Section;
use crate::text::os_error;

static PLACES: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\{\{\s*(\w+)\s*\}\}").ok());

/// Values by name, in the order in which they were given; the last of a name counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BuildArguments(Vec<(String, String)>);

impl BuildArguments {
    /// From a file of `NAME=value` lines and, which count for more, words of that kind. Lines that
    /// are none are warned about and skipped.
    ///
    /// # Errors
    /// When the file cannot be read or a word is of another kind; ready to be shown.
    pub fn new(
        words: &[String],
        file: Option<&Path>,
        warnings: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        Self::gather(words, file, warnings).context("While processing the definition file")
    }

    fn gather(
        words: &[String],
        file: Option<&Path>,
        warnings: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut given = Self::default();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let name = path.display();
                anyhow::anyhow!(
                    "error while opening file \"{name}\": open {name}: {}",
                    os_error(&error)
                )
            })?;
            for line in text.lines() {
                match pair(line) {
                    Ok((name, value)) => given.set(name, value),
                    Err(reason) => {
                        warnings.push(format!("Skipping {line:?} in build arg file: {reason}"));
                    }
                }
            }
        }
        for word in words {
            let (name, value) = pair(word).map_err(anyhow::Error::msg)?;
            given.set(name, value);
        }
        Ok(given)
    }

    /// The defaults that a stage gives.
    pub fn defaults(section: &Section, warnings: &mut Vec<String>) -> Self {
        let mut defaults = Self::default();
        for line in section.body.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match pair(line) {
                Ok((name, value)) => defaults.set(name, value),
                Err(reason) => {
                    warnings.push(format!(
                        "Skipping {line:?} in 'arguments' section: {reason}"
                    ));
                }
            }
        }
        defaults
    }

    /// The names, in the order in which they were given.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, place)) => value.clone_into(place),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn pair(text: &str) -> Result<(&str, &str), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not a key=value pair"))?;
    let name = name.trim();
    if name.is_empty() {
        return Err(format!("missing key portion in {text:?}"));
    }
    Ok((name, value.trim()))
}

/// Replaces the names in a stage's text by their values, which may name others themselves, and takes
/// those that were used out of `unused`. What follows `# ` in a line stays as it is.
///
/// # Errors
/// About a name without a value.
pub fn replace(
    text: &str,
    given: &BuildArguments,
    defaults: &BuildArguments,
    unused: &mut Vec<String>,
) -> Result<String, String> {
    let Some(places) = &*PLACES else {
        return Ok(text.to_owned());
    };
    let value_of = |name: &str| given.get(name).or_else(|| defaults.get(name));
    let mut replaced = String::new();
    let mut done = 0;
    for found in places.captures_iter(text) {
        let (Some(place), Some(name)) = (found.get(0), found.get(1)) else {
            continue;
        };
        if in_comment(&text[done..place.start()]) {
            continue;
        }
        let name = name.as_str();
        let value = value_of(name).ok_or_else(|| {
            format!(
                "build var {name} is not defined through either --build-arg (--build-arg-file) \
                 or 'arguments' section"
            )
        })?;
        replaced.push_str(&text[done..place.start()]);
        replaced.push_str(
            &places.replace_all(value, |inner: &regex_lite::Captures<'_>| {
                value_of(&inner[1]).unwrap_or(&inner[0]).to_owned()
            }),
        );
        done = place.end();
        unused.retain(|known| known != name);
    }
    replaced.push_str(&text[done..]);
    Ok(replaced)
}

/// Whether what follows `text` stands in a comment: behind a `#` that something but `!` follows.
fn in_comment(text: &str) -> bool {
    let line = text.rsplit('\n').next().unwrap_or_default();
    let mut rest = line;
    while let Some(at) = rest.find('#') {
        rest = &rest[at + 1..];
        match rest.chars().next() {
            None => return false,
            Some('!') => {}
            Some(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> BuildArguments {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        BuildArguments::new(&words, None, &mut Vec::new()).unwrap()
    }

    #[test]
    fn names_are_replaced() {
        let given = arguments(&["A=1", "N={{ B }}-{{C}}"]);
        let defaults = arguments(&["A=0", "B=2"]);
        for (text, expected) in [
            ("x {{ A }} {{B}}", "x 1 2"),
            ("{{\nA}}", "1"),
            ("{{ N }}", "2-{{C}}"),
            ("{{ A }} # {{ A }}\n{{A}}", "1 # {{ A }}\n1"),
            ("#{{A}} #! {{A}}", "#1 #! 1"),
            ("# {{X}} {{Y}}", "# {{X}} {{Y}}"),
            ("{{ A-B }} {A}", "{{ A-B }} {A}"),
        ] {
            let found = replace(text, &given, &defaults, &mut Vec::new());
            assert_eq!(found.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_missing_or_unused() {
        let given = arguments(&["A=1", "B=2"]);
        let mut unused = given.names();
        let none = BuildArguments::default();
        assert!(replace("{{ A }}", &given, &none, &mut unused).is_ok());
        assert_eq!(unused, ["B"]);
        let error = replace("{{ X }}", &given, &none, &mut unused).unwrap_err();
        assert!(error.starts_with("build var X is not defined"), "{error}");
    }

    #[test]
    fn words_and_files() {
        for (word, expected) in [
            ("A", "\"A\" is not a key=value pair"),
            (" = b", "missing key portion in \" = b\""),
        ] {
            let found = BuildArguments::new(&[word.to_owned()], None, &mut Vec::new());
            let text = format!("{:#}", found.unwrap_err());
            assert_eq!(
                text,
                format!("While processing the definition file: {expected}")
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arguments");
        std::fs::write(&path, "A= 1 \nfoo\nB=2\n").unwrap();
        let mut warnings = Vec::new();
        let given = BuildArguments::new(&["B=3".into()], Some(&path), &mut warnings).unwrap();
        assert_eq!((given.get("A"), given.get("B")), (Some("1"), Some("3")));
        assert_eq!(
            warnings,
            ["Skipping \"foo\" in build arg file: \"foo\" is not a key=value pair"]
        );
    }
}
