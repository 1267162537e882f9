//! Numbers in headers: octal text, or binary where they are too large for it.

/// The number in this field; `None` when there is none.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => binary(field),
        _ => octal(field),
    }
}

/// Two's complement, big endian, with the uppermost bit as a mark.
fn binary(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let fill = if negative { 0xff } else { 0 };
    let mut value: i64 = if negative { -1 } else { 0 };
    for (place, &byte) in field.iter().enumerate() {
        // Of the first byte the mark is no part of the number, but takes the sign's value.
        let byte = match (place, negative) {
            (0, true) => byte | 0x80,
            (0, false) => byte & 0x7f,
            _ => byte,
        };
        if field.len() - place > 8 && byte != fill {
            return None;
        }
        value = value << 8 | i64::from(byte);
    }
    (negative == (value < 0)).then_some(value)
}

/// Digits between blanks and NULs; nothing is 0.
fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte));
    let Some(start) = start else { return Some(0) };
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0_i64, |value, digit| {
        let digit = (*digit as char).to_digit(8)?;
        value.checked_mul(8)?.checked_add(digit.into())
    })
}

/// A decimal number with an optional fraction, rounded down: times of extended headers.
pub(super) fn seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let below = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    seconds.checked_sub(below.into())
}

/// A device number as Linux encodes it for user space; `None` when it is none that Linux has.
pub(super) fn device(major: i64, minor: i64) -> Option<u32> {
    let major = u32::try_from(major).ok().filter(|major| *major < 1 << 12)?;
    let minor = u32::try_from(minor).ok().filter(|minor| *minor < 1 << 20)?;
    Some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_and_binary_numbers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"12a4\0"), None);
        assert_eq!(number(b"77777777777"), Some(0o77_777_777_777));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(
            number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            Some(-1)
        );
        assert_eq!(number(b"\x80\0\0\x10\0\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), None);
    }

    #[test]
    fn times_are_rounded_down() {
        assert_eq!(seconds(b"12.75"), Some(12));
        assert_eq!(seconds(b"-12.75"), Some(-13));
        assert_eq!(seconds(b"-12.0"), Some(-12));
        assert_eq!(seconds(b"-0.5"), Some(-1));
        assert_eq!(seconds(b"1e9"), None);
        assert_eq!(seconds(b"9223372036854775808"), None);
    }

    #[test]
    fn devices_are_encoded_as_linux_does() {
        assert_eq!(device(1, 3), Some(0x103));
        assert_eq!(device(259, 0x12345), Some(0x1231_0345));
        assert_eq!(device(4096, 0), None);
        assert_eq!(device(1, 1 << 20), None);
    }
}
