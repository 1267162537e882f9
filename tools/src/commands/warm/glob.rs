//! Patterns over the paths of a tree.
//!
//! | in a pattern | matches |
//! |---|---|
//! | `*` | any run of characters but `/` |
//! | `?` | one character but `/` |
//! | `[a-z]`, `[!a-z]` | one of these, none of these |
//! | `{a,b}` | either; may be nested |
//! | `**` as a whole part | any number of directories, none included |
//!
//! Patterns start at the root, whether they begin with a slash or not. They are matched part by
//! part on the way down, so that directories that cannot hold a match are not looked into.

/// The most that braces may multiply to.
const MAX_ALTERNATIVES: usize = 1024;

/// As long as a path may be; also bounds how deep braces are nested.
const MAX_LEN: usize = 4096;

/// One part of a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    AnyDepth,
    Name(Vec<u8>),
}

/// A pattern; the default matches the root alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Glob {
    /// One list of parts for each way through the braces.
    alternatives: Vec<Vec<Part>>,
}

/// How far along the pattern a directory is: numbers of alternatives and of their next parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Progress(Vec<(usize, usize)>);

impl Glob {
    /// Reads a pattern; `None` when its braces are not balanced or multiply without bounds.
    pub(super) fn parse(pattern: &[u8]) -> Option<Self> {
        if pattern.len() > MAX_LEN {
            return None;
        }
        let alternatives = braces(pattern)?.iter().map(|text| parts(text)).collect();
        Some(Self { alternatives })
    }

    /// At the root.
    pub(super) fn start(&self) -> Progress {
        let all = (0..self.alternatives.len()).map(|number| (number, 0));
        self.settle(all.collect())
    }

    /// One name further down.
    pub(super) fn step(&self, at: &Progress, name: &[u8]) -> Progress {
        let mut reached = Vec::new();
        for &(number, next) in &at.0 {
            match self.part(number, next) {
                Some(Part::AnyDepth) => reached.push((number, next)),
                Some(Part::Name(pattern)) if name_matches(pattern, name) => {
                    reached.push((number, next + 1));
                }
                _ => {}
            }
        }
        self.settle(reached)
    }

    /// Whether the path so far matches.
    pub(super) fn is_match(&self, at: &Progress) -> bool {
        at.0.iter()
            .any(|&(number, next)| self.part(number, next).is_none())
    }

    /// Whether something below may match.
    pub(super) fn goes_on(&self, at: &Progress) -> bool {
        at.0.iter()
            .any(|&(number, next)| self.part(number, next).is_some())
    }

    /// Below a link to a directory: only what the pattern names counts there, not what `**` would
    /// find, so that circles end.
    pub(super) fn through_link(&self, at: &Progress) -> Progress {
        let by_depth = |number, next| self.part(number, next) == Some(&Part::AnyDepth);
        let named = |place: &&(usize, usize)| {
            let (number, next) = **place;
            !by_depth(number, next)
                && !next
                    .checked_sub(1)
                    .is_some_and(|last| by_depth(number, last))
        };
        Progress(at.0.iter().filter(named).copied().collect())
    }

    fn part(&self, number: usize, next: usize) -> Option<&Part> {
        self.alternatives.get(number)?.get(next)
    }

    /// `**` also stands for no directory at all.
    fn settle(&self, mut places: Vec<(usize, usize)>) -> Progress {
        let mut done = 0;
        while let Some(&(number, next)) = places.get(done) {
            if self.part(number, next) == Some(&Part::AnyDepth) {
                places.push((number, next + 1));
            }
            done += 1;
        }
        places.sort_unstable();
        places.dedup();
        Progress(places)
    }
}

fn parts(text: &[u8]) -> Vec<Part> {
    let names = text.split(|byte| *byte == b'/');
    let mut parts: Vec<Part> = names
        .filter(|name| !name.is_empty() && *name != b".")
        .map(|name| match name {
            b"**" => Part::AnyDepth,
            name => Part::Name(name.to_vec()),
        })
        .collect();
    parts.dedup_by(|later, earlier| *later == Part::AnyDepth && *earlier == Part::AnyDepth);
    parts
}

/// All ways through the braces of `pattern`.
fn braces(pattern: &[u8]) -> Option<Vec<Vec<u8>>> {
    let Some(open) = position(pattern, |byte| byte == b'{') else {
        return (!pattern.contains(&b'}')).then(|| vec![pattern.to_vec()]);
    };
    let (before, rest) = (pattern.get(..open)?, pattern.get(open + 1..)?);
    if before.contains(&b'}') {
        return None;
    }
    let mut depth = 0_usize;
    let mut choices = Vec::new();
    let mut start = 0;
    let mut close = None;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b',' | b'}' if depth == 0 => {
                choices.push(rest.get(start..at)?);
                start = at + 1;
                if *byte == b'}' {
                    close = Some(at);
                    break;
                }
            }
            _ => {}
        }
    }
    let after = braces(rest.get(close? + 1..)?)?;
    let mut all = Vec::new();
    for choice in choices {
        for middle in braces(choice)? {
            for end in &after {
                all.push([before, &middle, end].concat());
                if all.len() > MAX_ALTERNATIVES {
                    return None;
                }
            }
        }
    }
    Some(all)
}

fn position(bytes: &[u8], is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    bytes.iter().position(|byte| is_wanted(*byte))
}

/// Whether one name matches one part: at a mismatch, the last star takes one character more.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() || at < pattern.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, from));
            at += 1;
            continue;
        }
        if let Some(len) = name
            .get(from)
            .and_then(|byte| one(pattern.get(at..)?, *byte))
        {
            at += len;
            from += 1;
            continue;
        }
        match star {
            Some((place, taken)) if taken < name.len() => {
                star = Some((place, taken + 1));
                at = place + 1;
                from = taken + 1;
            }
            _ => return false,
        }
    }
    true
}

/// How many bytes of `pattern` stand for the one character `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => match set(pattern, byte) {
            Some((len, matches)) => matches.then_some(len),
            // A bracket that nothing closes is a bracket.
            None => (byte == b'[').then_some(1),
        },
        b'\\' => (*pattern.get(1)? == byte).then_some(2),
        literal => (*literal == byte).then_some(1),
    }
}

/// The length of the set that `pattern` begins with, and whether `byte` is in it.
fn set(pattern: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let mut at = first;
    let mut found = false;
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > first {
            return Some((at + 1, found != negated));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(&high)) if high != b']' => {
                found |= (low..=high).contains(&byte);
                at += 3;
            }
            _ => {
                found |= low == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let glob = Glob::parse(pattern.as_bytes()).unwrap();
        let names = path.split('/').filter(|name| !name.is_empty());
        let end = names.fold(glob.start(), |at, name| glob.step(&at, name.as_bytes()));
        glob.is_match(&end)
    }

    #[test]
    fn names() {
        for (pattern, name) in [
            ("a*c", "abbc"),
            ("*", ""),
            ("*.so*", "libc.so.6"),
            ("l?b", "lib"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[]]", "]"),
            ("a[", "a["),
            ("\\*", "*"),
            ("*a*b*c", "xaxbxbxc"),
        ] {
            assert!(
                name_matches(pattern.as_bytes(), name.as_bytes()),
                "{pattern} {name}"
            );
        }
        for (pattern, name) in [
            ("a*c", "abcd"),
            ("l?b", "lb"),
            ("[a-c]x", "dx"),
            ("\\*", "x"),
            ("", "x"),
            ("x", ""),
        ] {
            assert!(
                !name_matches(pattern.as_bytes(), name.as_bytes()),
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn paths() {
        assert!(matches("/usr/lib/*.so", "usr/lib/x.so"));
        assert!(matches("usr/lib/*.so", "/usr/lib/x.so"));
        assert!(!matches("/usr/*", "usr/lib/x"));
        assert!(matches("/usr/**", "usr/lib/x") && matches("/**/x", "x"));
        assert!(matches("/**/lib/**/*.py", "usr/lib/a/b/c.py"));
        assert!(matches("/{bin,usr/{s,}bin}/sh", "usr/sbin/sh"));
        assert!(matches("/{bin,usr/{s,}bin}/sh", "usr/bin/sh"));
        assert!(!matches("/{bin,usr/{s,}bin}/sh", "sbin/sh"));
    }

    #[test]
    fn wrong_braces() {
        for pattern in ["{a", "a}", "{a}}", "{{a}"] {
            assert_eq!(Glob::parse(pattern.as_bytes()), None, "{pattern}");
        }
        assert_eq!(Glob::parse(&b"{a,b}".repeat(40)), None);
    }

    #[test]
    fn what_is_worth_looking_into() {
        let glob = Glob::parse(b"/usr/lib/*.so").unwrap();
        let usr = glob.step(&glob.start(), b"usr");
        assert!(glob.goes_on(&usr) && !glob.is_match(&usr));
        assert_eq!(glob.through_link(&usr), usr);
        assert!(!glob.goes_on(&glob.step(&glob.start(), b"etc")));
        let deep = Glob::parse(b"/usr/**").unwrap();
        let usr = deep.step(&deep.start(), b"usr");
        assert!(deep.goes_on(&usr) && deep.is_match(&usr));
        assert_eq!(deep.through_link(&usr), Progress::default());
        let ends = Glob::parse(b"/**/lib").unwrap();
        let lib = ends.step(&ends.start(), b"lib");
        assert!(ends.is_match(&ends.through_link(&lib)));
        assert!(!ends.goes_on(&ends.through_link(&lib)));
    }
}
