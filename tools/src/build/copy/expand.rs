//! What a shell makes of a word before it looks for files: `{a,b}`, `~`, `$NAME` and `${NAME}`.

/// Value of a variable; empty where there is none.
type Variable<'a> = &'a dyn Fn(&str) -> String;

/// Words at most.
const MAX_WORDS: usize = 100_000;

/// The patterns that `word` stands for; `variable` knows the caller's, which are nobody's in another
/// stage.
pub(super) fn words(word: &str, variable: Option<Variable<'_>>) -> Vec<String> {
    let mut all = Vec::new();
    braces(word, &mut all);
    if let Some(variable) = variable {
        for word in &mut all {
            *word = variables(&home(word, variable), variable);
        }
    }
    all
}

/// All that the alternatives of `word` make; where they are none, the word itself.
fn braces(word: &str, all: &mut Vec<String>) {
    let Some((begin, parts, end)) = alternatives(word) else {
        if all.len() < MAX_WORDS {
            all.push(word.to_owned());
        }
        return;
    };
    for part in parts {
        if all.len() >= MAX_WORDS {
            return;
        }
        braces(&format!("{begin}{part}{end}"), all);
    }
}

/// The first braces with a comma between them: what is before, the parts, what is behind.
fn alternatives(word: &str) -> Option<(&str, Vec<&str>, &str)> {
    let bytes = word.as_bytes();
    let mut from = 0;
    while let Some(start) = bytes.get(from..)?.iter().position(|&byte| byte == b'{') {
        let start = from + start;
        from = start + 1;
        // `${NAME}` is no alternative, nor is what a backslash precedes.
        if start > 0 && matches!(bytes.get(start - 1), Some(b'$' | b'\\')) {
            continue;
        }
        let (mut depth, mut begin, mut parts) = (0_u32, from, Vec::new());
        for (at, byte) in bytes.iter().enumerate().skip(from) {
            match byte {
                b'{' => depth += 1,
                b',' if depth == 0 => {
                    parts.push(word.get(begin..at)?);
                    begin = at + 1;
                }
                b'}' if depth > 0 => depth -= 1,
                b'}' => {
                    if parts.is_empty() {
                        break;
                    }
                    parts.push(word.get(begin..at)?);
                    return Some((word.get(..start)?, parts, word.get(at + 1..)?));
                }
                _ => {}
            }
        }
    }
    None
}

/// The home directory for a tilde in front.
fn home(word: &str, variable: Variable<'_>) -> String {
    match word.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => variable("HOME") + rest,
        _ => word.to_owned(),
    }
}

/// Values for the names of variables.
fn variables(word: &str, variable: Variable<'_>) -> String {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        let behind = behind.get(1..).unwrap_or_default();
        let escaped = before.ends_with('\\');
        let braced = behind
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
            .filter(|(name, _)| !name.is_empty() && name.chars().all(is_name));
        let plain = behind
            .find(|letter| !is_name(letter))
            .unwrap_or(behind.len());
        if escaped {
            out.push('$');
            rest = behind;
        } else if let Some((name, after)) = braced {
            out.push_str(&variable(name));
            rest = after;
        } else if plain > 0 && !behind.starts_with(|letter: char| letter.is_ascii_digit()) {
            let (name, after) = behind.split_at(plain);
            out.push_str(&variable(name));
            rest = after;
        } else {
            out.push('$');
            rest = behind;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_shells_make_of_them() {
        let variable = |name: &str| match name {
            "HOME" => "/home/me".to_owned(),
            "A" => "value".to_owned(),
            _ => String::new(),
        };
        let told = |word: &str| words(word, Some(&variable)).join(" ");
        for (word, expected) in [
            ("plain/*.txt", "plain/*.txt"),
            ("d/{2,e}", "d/2 d/e"),
            ("{a,b{c,d}}x", "ax bcx bdx"),
            ("{a}", "{a}"),
            ("{a,b", "{a,b"),
            ("x{,y}", "x xy"),
            ("~/f", "/home/me/f"),
            ("a~", "a~"),
            ("$A/2", "value/2"),
            ("${A}b", "valueb"),
            ("$Ab", ""),
            ("5$", "5$"),
            ("\\$A", "\\$A"),
        ] {
            assert_eq!(told(word), expected, "{word}");
        }
        assert_eq!(words("~/{a,$A}", None), ["~/a", "~/$A"]);
    }
}
