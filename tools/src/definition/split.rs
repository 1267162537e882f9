//! The file into stages, a stage into its header and sections.

/// A section as it stands in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawSection<'a> {
    /// The line that begins it, without blanks at either end only where it is the first thing of
    /// its stage.
    pub heading: &'a str,
    /// What follows, up to the next section; `None` when the file ends with the heading.
    pub body: Option<&'a str>,
    /// Number of the heading's line in the file.
    pub line: usize,
}

/// The parts of a stage.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SplitStage<'a> {
    /// What stands before the first section, unless it is blank.
    pub header: Option<&'a str>,
    /// The sections.
    pub sections: Vec<RawSection<'a>>,
}

/// Cuts a file before every line that begins with `bootstrap:`; each part with the number of its
/// first line. The first part holds what stands before the first such line.
pub fn stages(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let mut begin_line = 1;
    let mut at = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let begins = line
            .get(.."bootstrap:".len())
            .is_some_and(|word| word.eq_ignore_ascii_case("bootstrap:"));
        if begins && at > begin {
            parts.push((begin_line, &text[begin..at]));
        }
        if begins {
            begin = at;
            begin_line = index + 1;
        }
        at += line.len();
    }
    if at > begin {
        parts.push((begin_line, &text[begin..]));
    }
    parts
}

/// Cuts a stage, whose first line has the number `line`, before every line whose first word begins
/// with `%`.
pub fn sections(text: &str, line: usize) -> SplitStage<'_> {
    let mut starts = Vec::new();
    let mut at = 0;
    for (index, content) in text.split_inclusive('\n').enumerate() {
        if content.trim_start().starts_with('%') {
            starts.push((at, line + index));
        }
        at += content.len();
    }
    let end_of_header = starts.first().map_or(text.len(), |&(at, _)| at);
    let header = text[..end_of_header].trim();
    let mut split = SplitStage {
        header: (!header.is_empty()).then_some(header),
        sections: Vec::new(),
    };
    for (index, &(begin, line)) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(text.len(), |&(at, _)| at);
        let mut part = &text[begin..end];
        // What a stage begins with is looked at without the blanks around it.
        let leads = begin == 0;
        if leads {
            part = part.trim();
        }
        let (heading, body) = match part.split_once('\n') {
            Some((heading, body)) => (heading, Some(body)),
            None => (part, (!leads).then_some("")),
        };
        split.sections.push(RawSection {
            heading: heading.strip_suffix('\r').unwrap_or(heading),
            body,
            line,
        });
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_begin_with_bootstrap() {
        let text = "# c\nBootstrap: a\nx\n Bootstrap: no\nBOOTSTRAP: b\n";
        assert_eq!(
            stages(text),
            [
                (1, "# c\n"),
                (2, "Bootstrap: a\nx\n Bootstrap: no\n"),
                (5, "BOOTSTRAP: b\n"),
            ]
        );
        assert_eq!(stages(""), []);
        assert_eq!(stages("bootstrap:é"), [(1, "bootstrap:é")]);
        assert_eq!(stages("bootstrapé: x"), [(1, "bootstrapé: x")]);
    }

    #[test]
    fn sections_begin_with_a_percent_sign() {
        let split = sections("From: x\n\n%post a\nb\n  %files\nc", 3);
        assert_eq!(split.header, Some("From: x"));
        let found: Vec<_> = split
            .sections
            .iter()
            .map(|section| (section.heading, section.body, section.line))
            .collect();
        assert_eq!(
            found,
            [("%post a", Some("b\n"), 5), ("  %files", Some("c"), 7)]
        );
    }

    #[test]
    fn a_stage_without_header() {
        let split = sections("%post", 1);
        assert_eq!(split.header, None);
        assert_eq!(split.sections[0].body, None);
        let split = sections("a\n%post", 1);
        assert_eq!(split.sections[0].body, Some(""));
    }
}
