//! One block of 512 bytes that says what follows.

use super::numbers::number;

/// Size of headers, and what contents are padded to.
pub(super) const BLOCK: usize = 512;

/// A header block with a checksum that is right.
#[derive(Clone)]
pub(super) struct Header(pub(super) [u8; BLOCK]);

/// Which of the formats a header is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    V7,
    /// POSIX.1-1988 and -2001.
    Ustar,
    /// With a shorter prefix.
    Star,
    /// GNU tar's own, without a prefix.
    Gnu,
}

impl Header {
    /// Whether the checksum is right, taken of bytes with or without signs: both have been written.
    pub(super) fn is_sound(&self) -> bool {
        let Some(stated) = number(&self.0[148..156]) else {
            return false;
        };
        let field = 148..156;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (place, &byte) in self.0.iter().enumerate() {
            let byte = if field.contains(&place) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        stated == unsigned || stated == signed
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn format(&self) -> Format {
        match &self.0[257..265] {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") => {
                if &self.0[508..512] == b"tar\0" {
                    Format::Star
                } else {
                    Format::Ustar
                }
            }
            _ => Format::V7,
        }
    }

    /// The name, with its prefix.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match self.format() {
            Format::Ustar => text(&self.0[345..500]),
            Format::Star => text(&self.0[345..476]),
            Format::V7 | Format::Gnu => &[],
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Option<i64> {
        number(&self.0[100..108])
    }

    pub(super) fn uid(&self) -> Option<i64> {
        number(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Option<i64> {
        number(&self.0[116..124])
    }

    pub(super) fn size(&self) -> Option<u64> {
        number(&self.0[124..136]).and_then(|size| u64::try_from(size).ok())
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    /// Major and minor number; old headers have none.
    pub(super) fn device(&self) -> Option<(i64, i64)> {
        match self.format() {
            Format::V7 => Some((0, 0)),
            _ => Some((number(&self.0[329..337])?, number(&self.0[337..345])?)),
        }
    }
}

/// Bytes up to the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0);
    &field[..end.unwrap_or(field.len())]
}
