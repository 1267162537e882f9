//! Shell patterns for names of instances.

/// Whether `name` fits `pattern`: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before what is meant literally.
/// A pattern that is broken fits nothing.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    matches(&pattern, &name)
}

/// Goes back to the last `*` only, which is all that is ever needed.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            star = Some((at + 1, seen));
            at += 1;
            continue;
        }
        match (one(&pattern[at..]), name.get(seen)) {
            (Some((takes, set)), Some(character)) if set.has(*character) => {
                at += takes;
                seen += 1;
                continue;
            }
            (None, None) if at == pattern.len() => return true,
            _ => {}
        }
        match star {
            Some((after, from)) if from < name.len() => {
                star = Some((after, from + 1));
                (at, seen) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// What one place of a pattern takes.
enum Set<'a> {
    Any,
    One(char),
    Range { negated: bool, list: &'a [char] },
}

impl Set<'_> {
    fn has(&self, character: char) -> bool {
        match self {
            Self::Any => true,
            Self::One(own) => *own == character,
            Self::Range { negated, list } => {
                let mut rest = *list;
                let mut found = false;
                while let Some((first, tail)) = rest.split_first() {
                    if let [dash, last, after @ ..] = tail
                        && *dash == '-'
                    {
                        found |= (*first..=*last).contains(&character);
                        rest = after;
                    } else {
                        found |= *first == character;
                        rest = tail;
                    }
                }
                found != *negated
            }
        }
    }
}

/// The first place of `pattern` and how many characters write it; `None` at its end, or where it is
/// broken.
fn one(pattern: &[char]) -> Option<(usize, Set<'_>)> {
    match pattern {
        ['?', ..] => Some((1, Set::Any)),
        ['\\', literal, ..] => Some((2, Set::One(*literal))),
        ['[', rest @ ..] => {
            let negated = rest.first() == Some(&'^');
            let list = &rest[usize::from(negated)..];
            let end = list.iter().position(|character| *character == ']')?;
            let takes = 2 + usize::from(negated) + end;
            let list = &list[..end];
            (end > 0).then_some((takes, Set::Range { negated, list }))
        }
        ['\\'] | [] => None,
        [literal, ..] => Some((1, Set::One(*literal))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "abc"),
            ("a*", "abc"),
            ("*c", "abc"),
            ("a*b*c", "aXbXbXc"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[^a-c]x", "dx"),
            ("my\\*", "my*"),
            ("db.1", "db.1"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("a", ""),
            ("a*", "ba"),
            ("a?c", "ac"),
            ("[a-c]x", "dx"),
            ("[", "["),
            ("[]", "a"),
            ("db.1", "dbx1"),
            ("a*b", "aXbX"),
            ("\\", "\\"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
