//! Digests of what passes through.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256, Sha512};

use crate::remote::digest::{Digest, hex};

/// A digest that is being computed, or none.
pub(super) struct Hasher<'a>(Option<(Kind, &'a Digest)>);

enum Kind {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl<'a> Hasher<'a> {
    pub(super) fn of(expected: Option<&'a Digest>) -> Self {
        Self(expected.map(|digest| {
            let kind = match digest.algorithm() {
                "sha256" => Kind::Sha256(Sha256::new()),
                _ => Kind::Sha512(Box::new(Sha512::new())),
            };
            (kind, digest)
        }))
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Some((Kind::Sha256(state), _)) => state.update(bytes),
            Some((Kind::Sha512(state), _)) => state.update(bytes),
            None => {}
        }
    }

    /// Whether all bytes together are what was promised.
    pub(super) fn check(self, what: &str) -> io::Result<()> {
        let Some((kind, expected)) = self.0 else {
            return Ok(());
        };
        let found = match kind {
            Kind::Sha256(state) => hex(&state.finalize()),
            Kind::Sha512(state) => hex(&state.finalize()),
        };
        if found == expected.hex() {
            return Ok(());
        }
        Err(invalid(format!(
            "{what} the digest {}:{found}, not {expected}",
            expected.algorithm()
        )))
    }
}

/// A reader that counts, and checks at its end.
pub(super) struct Checked<'a> {
    inner: Box<dyn Read + Send>,
    hasher: Hasher<'a>,
    size: Option<u64>,
    read: u64,
}

impl<'a> Checked<'a> {
    pub(super) fn new(
        inner: Box<dyn Read + Send>,
        digest: Option<&'a Digest>,
        size: Option<u64>,
    ) -> Self {
        Self {
            inner,
            hasher: Hasher::of(digest),
            size,
            read: 0,
        }
    }

    /// How much has come.
    pub(super) fn count(&self) -> u64 {
        self.read
    }

    /// Reads what is left and checks the whole.
    pub(super) fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink())?;
        if let Some(size) = self.size.filter(|&size| size != self.read) {
            return Err(invalid(format!(
                "it has {} bytes instead of {size}",
                self.read
            )));
        }
        self.hasher.check("it has")
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.read += got as u64;
        if let Some(size) = self.size.filter(|&size| self.read > size) {
            return Err(invalid(format!("it has more than its {size} bytes")));
        }
        self.hasher.add(&buffer[..got]);
        Ok(got)
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
