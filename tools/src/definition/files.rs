//! What is copied: `%files` sections.

use std::sync::LazyLock;

use regex_lite::Regex;

/// Words of a line: what a build argument's name is part of, blanks included; bare words; words
/// between double quotes. A single quote ends a word and begins one.
static WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let argument = r#"(?:[^\s"']*\{\{\s*\w+\s*\}+[^\s{}"']*)+"#;
    Regex::new(&format!(r#"{argument}|[^\s"']+|"[^"]*"|'[^']*"#)).ok()
});

/// Where files come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin<'a> {
    /// The host.
    Host,
    /// The root file system of an earlier stage.
    Stage(&'a str),
    /// Nowhere: the arguments are not understood, and Apptainer copies nothing.
    Unknown,
}

/// Files that are copied from one place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileGroup {
    /// The section's arguments, such as `from build`.
    pub arguments: String,
    /// What is copied, in this order.
    pub files: Vec<FileCopy>,
}

/// One line of a section.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileCopy {
    /// Pattern of what is copied.
    pub source: String,
    /// Where to; empty for the same path.
    pub target: String,
    /// Number of the line in the file.
    pub line: usize,
}

impl FileGroup {
    /// Where its files come from.
    pub fn origin(&self) -> Origin<'_> {
        let arguments = self.arguments.split('#').next().unwrap_or_default();
        let words: Vec<&str> = arguments.split_whitespace().collect();
        match words[..] {
            [] => Origin::Host,
            [_, stage] => Origin::Stage(stage),
            _ => Origin::Unknown,
        }
    }
}

/// Reads the body of a section, whose first line has the number `line`.
///
/// # Errors
/// About a line that holds no word.
pub fn read(body: &str, line: usize) -> Result<Vec<FileCopy>, String> {
    let mut files = Vec::new();
    for (index, text) in body.lines().enumerate() {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let line = line + index;
        let words = words(text);
        let [source, rest @ ..] = words.as_slice() else {
            return Err(format!(
                "section files: line {line}: unclosed quote: {text}"
            ));
        };
        let target = rest.first().copied().unwrap_or_default();
        files.push(FileCopy {
            source: bare(source),
            target: bare(target),
            line,
        });
    }
    Ok(files)
}

fn words(text: &str) -> Vec<&str> {
    match &*WORDS {
        Some(pattern) => pattern.find_iter(text).map(|word| word.as_str()).collect(),
        None => text.split_whitespace().collect(),
    }
}

fn bare(word: &str) -> String {
    word.trim().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (text, source, target) in [
            ("a", "a", ""),
            ("a b c", "a", "b"),
            ("\"a b\" 'c", "a b", "'c"),
            ("\"a b\"c", "a b", "c"),
            ("\"\" x", "", "x"),
            ("  a/{{ V }}/b {{W}}/x ", "a/{{ V }}/b", "{{W}}/x"),
            ("a{{ V}}b{{ W }}c d", "a{{ V}}b{{ W }}c", "d"),
        ] {
            let found = read(text, 1).unwrap();
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(
                (&*found[0].source, &*found[0].target),
                (source, target),
                "{text}"
            );
        }
        assert_eq!(read("\n # c\n\n", 1).unwrap(), []);
        assert_eq!(read("# c\na", 7).unwrap()[0].line, 8);
        assert!(read("\"", 1).is_err());
    }

    #[test]
    fn origins() {
        for (arguments, expected) in [
            ("", Origin::Host),
            ("# c", Origin::Host),
            ("from a", Origin::Stage("a")),
            (" from  a # b", Origin::Stage("a")),
            ("from", Origin::Unknown),
            ("from a b", Origin::Unknown),
        ] {
            let group = FileGroup {
                arguments: arguments.to_owned(),
                files: Vec::new(),
            };
            assert_eq!(group.origin(), expected, "{arguments}");
        }
    }
}
