//! Glob patterns on bytes: `*`, `?`, `[…]` and backslash.
//!
//! Matching is iterative with one fall-back position per star, so that no pattern takes more than
//! (length of pattern × length of text) steps.

/// Whether the whole of `text` matches.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern_at, mut text_at) = (pattern, text);
    let mut fallback: Option<(&[u8], &[u8])> = None;
    loop {
        match pattern_at.first() {
            Some(b'*') => {
                pattern_at = pattern_at.get(1..).unwrap_or_default();
                fallback = Some((pattern_at, text_at));
                continue;
            }
            Some(_) => {
                if let Some((rest_pattern, rest_text)) = match_one(pattern_at, text_at) {
                    pattern_at = rest_pattern;
                    text_at = rest_text;
                    continue;
                }
            }
            None if text_at.is_empty() => return true,
            None => {}
        }
        // Mismatch: the last star takes one more byte.
        let Some((after_star, from)) = fallback else {
            return false;
        };
        let Some((_, rest)) = from.split_first() else {
            return false;
        };
        pattern_at = after_star;
        text_at = rest;
        fallback = Some((after_star, rest));
    }
}

/// Matches one element other than `*` against the beginning of `text`.
fn match_one<'p, 't>(pattern: &'p [u8], text: &'t [u8]) -> Option<(&'p [u8], &'t [u8])> {
    let (&element, rest_pattern) = pattern.split_first()?;
    let length = character_length(text);
    let (character, rest_text) = text.split_at_checked(length)?;
    let &byte = character.first()?;
    match element {
        b'?' => Some((rest_pattern, rest_text)),
        b'[' => match class(rest_pattern, byte) {
            Some((true, after)) => Some((after, rest_text)),
            Some((false, _)) => None,
            None => (byte == b'[').then(|| (rest_pattern, text.get(1..).unwrap_or_default())),
        },
        b'\\' => match rest_pattern.split_first() {
            Some((&escaped, after)) => {
                (escaped == byte).then(|| (after, text.get(1..).unwrap_or_default()))
            }
            None => (byte == b'\\').then(|| (rest_pattern, text.get(1..).unwrap_or_default())),
        },
        literal => (literal == byte).then(|| (rest_pattern, text.get(1..).unwrap_or_default())),
    }
}

/// Length of the UTF-8 character `text` begins with; 1 where it is none.
pub(crate) fn character_length(text: &[u8]) -> usize {
    let expected = match text.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => 1,
    };
    match text.get(..expected) {
        Some(bytes) if std::str::from_utf8(bytes).is_ok() => expected,
        _ => 1,
    }
}

/// Matches `byte` against the class that begins after `[`; `None` where it has no end.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let mut rest = pattern;
    let mut negated = false;
    if let Some((b'!' | b'^', after)) = rest.split_first() {
        negated = true;
        rest = after;
    }
    let mut found = false;
    let mut first = true;
    loop {
        let (&start, after) = rest.split_first()?;
        rest = after;
        if start == b']' && !first {
            return Some((found != negated, rest));
        }
        first = false;
        if start == b'['
            && let Some(after_colon) = rest.strip_prefix(b":")
            && let Some(end) = after_colon.windows(2).position(|pair| pair == b":]")
        {
            let name = after_colon.get(..end)?;
            found |= in_named_class(name, byte);
            rest = after_colon.get(end.saturating_add(2)..)?;
            continue;
        }
        let start = if start == b'\\' {
            let (&escaped, after) = rest.split_first()?;
            rest = after;
            escaped
        } else {
            start
        };
        if let Some((b'-', after)) = rest.split_first()
            && let Some((&end, after_end)) = after.split_first()
            && end != b']'
        {
            let (end, after_end) = if end == b'\\' {
                let (&escaped, after_escaped) = after_end.split_first()?;
                (escaped, after_escaped)
            } else {
                (end, after_end)
            };
            found |= (start..=end).contains(&byte);
            rest = after_end;
        } else {
            found |= start == byte;
        }
    }
}

fn in_named_class(name: &[u8], byte: u8) -> bool {
    match name {
        b"alpha" => byte.is_ascii_alphabetic(),
        b"digit" => byte.is_ascii_digit(),
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"upper" => byte.is_ascii_uppercase(),
        b"lower" => byte.is_ascii_lowercase(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"punct" => byte.is_ascii_punctuation(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        b"cntrl" => byte.is_ascii_control(),
        b"print" => matches!(byte, b' '..=b'~'),
        b"graph" => byte.is_ascii_graphic(),
        b"word" => byte == b'_' || byte.is_ascii_alphanumeric(),
        _ => false,
    }
}

/// Appends `text` so that it matches only itself.
pub(crate) fn escape_into(text: &[u8], pattern: &mut Vec<u8>) {
    for byte in text {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'-' | b'!' | b'^') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
}

/// Whether the pattern can match anything but one text. A bracket that is never closed is itself.
pub(crate) fn is_active(pattern: &[u8]) -> bool {
    let mut bytes = pattern.iter();
    let mut bracket = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' => return true,
            b'[' => bracket = true,
            b']' if bracket => return true,
            _ => {}
        }
    }
    false
}

/// Every length at which `text` can be cut between characters, shortest first.
pub(crate) fn boundaries(text: &[u8]) -> Vec<usize> {
    let mut boundaries = vec![0];
    let mut at = 0_usize;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        at = at.saturating_add(character_length(rest));
        boundaries.push(at);
    }
    boundaries
}
