//! Ranges of bytes as HTTP writes them.

use std::ops::Range;

/// The value of a Range header for a range that is not empty.
pub(super) fn asked(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end.saturating_sub(1))
}

/// A parsed Content-Range header of a 206.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// Which bytes come.
    pub(super) range: Range<u64>,
    /// How many there are in all, if the server says so.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// Reads `bytes 0-99/1234` or `bytes 0-99/*`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let first = number(first)?;
        let end = number(last)?.checked_add(1)?;
        let total = if total.trim() == "*" {
            None
        } else {
            Some(number(total)?)
        };
        let sensible = unit.eq_ignore_ascii_case("bytes")
            && first < end
            && total.is_none_or(|total| end <= total);
        sensible.then_some(Self {
            range: first..end,
            total,
        })
    }

    /// Whether it starts where we asked and goes no further; shorter is the server's right.
    pub(super) fn answers(&self, asked: &Range<u64>) -> bool {
        self.range.start == asked.start && self.range.end <= asked.end
    }
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    // `parse` alone would take a leading plus sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let parsed = |text| ContentRange::parse(text).map(|it| (it.range, it.total));
        assert_eq!(parsed("bytes 0-99/1234"), Some((0..100, Some(1234))));
        assert_eq!(parsed("Bytes 5-5/*"), Some((5..6, None)));
        for bad in [
            "",
            "bytes",
            "bytes 0-99",
            "bytes 9-0/100",
            "bytes 0-100/100",
            "lines 0-9/10",
            "bytes */100",
            "bytes +0-9/10",
            "bytes 0-18446744073709551615/*",
            "bytes -5/10",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_may_be_shorter_but_not_elsewhere() {
        let content = ContentRange::parse("bytes 10-19/100").unwrap();
        assert!(content.answers(&(10..20)) && content.answers(&(10..50)));
        assert!(!content.answers(&(10..15)) && !content.answers(&(0..20)));
        assert_eq!(asked(&(10..20)), "bytes=10-19");
    }
}
