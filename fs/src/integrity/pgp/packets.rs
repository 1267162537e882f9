//! Cuts a ring into its keys by the headers of packets alone, so that a key that cannot be read
//! costs no other and is kept when the ring is changed.

/// What a packet holds, as far as it matters here.
const SECRET_KEY: u8 = 5;
const PUBLIC_KEY: u8 = 6;

/// Type and whole length of the packet at the start of `bytes`; `None` when that cannot be told.
fn packet(bytes: &[u8]) -> Option<(u8, usize)> {
    let at = |index: usize| bytes.get(index).copied();
    let number = |from: usize, count: usize| {
        let digits = bytes.get(from..from.checked_add(count)?)?;
        digits.iter().try_fold(0_usize, |number, byte| {
            number.checked_mul(256)?.checked_add(usize::from(*byte))
        })
    };
    let first = at(0)?;
    if first & 0x80 == 0 {
        return None;
    }
    let (tag, header, length) = if first & 0x40 == 0 {
        // The old form: the length's own length is in the first byte.
        let (header, length) = match first & 3 {
            0 => (2_usize, number(1, 1)?),
            1 => (3, number(1, 2)?),
            2 => (5, number(1, 4)?),
            _ => return None,
        };
        ((first >> 2) & 0x0f, header, length)
    } else {
        let (header, length) = match at(1)? {
            short @ 0..=191 => (2_usize, usize::from(short)),
            // Two bytes, from 192 on.
            192..=223 => (3, number(1, 2)?.checked_sub(0xC000)?.checked_add(192)?),
            255 => (6, number(2, 4)?),
            // In pieces, which no packet of a key is.
            _ => return None,
        };
        (first & 0x3f, header, length)
    };
    let whole = header.checked_add(length)?;
    (whole <= bytes.len()).then_some((tag, whole))
}

/// The keys in `bytes`: each a primary key with all that follows it. Bytes that are no packets end
/// the last of them.
pub(super) fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut keys: Vec<(usize, usize)> = Vec::new();
    let mut at = 0_usize;
    while let Some((tag, length)) = bytes.get(at..).and_then(packet) {
        let end = at.saturating_add(length);
        if matches!(tag, SECRET_KEY | PUBLIC_KEY) {
            keys.push((at, end));
        } else if let Some(last) = keys.last_mut() {
            last.1 = end;
        }
        at = end;
    }
    let parts = keys
        .into_iter()
        .filter_map(|(start, end)| bytes.get(start..end));
    parts.collect()
}

/// Whether the key is a secret one.
pub(super) fn is_secret(key: &[u8]) -> bool {
    packet(key).is_some_and(|(tag, _)| tag == SECRET_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_by_headers() {
        // Public key (new form), user id (old form, one and two bytes of length), public key.
        let first = [
            0xC6, 2, 1, 2, 0xB4, 1, 7, 0xB5, 0, 1, 9, // end
        ];
        let second = [0xC6, 0xFF, 0, 0, 0, 1, 5];
        let both = [first.as_slice(), second.as_slice()].concat();
        assert_eq!(split(&both), [first.as_slice(), second.as_slice()]);
        let (_, cut) = both.split_last().unwrap();
        assert_eq!(split(cut), [first.as_slice()]);
        assert!(split(b"text").is_empty());
        assert!(split(&[]).is_empty());
        assert!(!is_secret(&first));
        assert!(is_secret(&[0xC5, 1, 1]));
        let mut long = vec![0xC6, 192, 8];
        long.resize(3 + 200, 0);
        assert_eq!(split(&long), [long.as_slice()]);
    }
}
