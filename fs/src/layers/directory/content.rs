//! The content of a file that others may be writing to.

use std::fs::File;
use std::io::{self, Read};

/// As many bytes as the file had when it was opened.
pub(super) struct Content {
    file: File,
    left: u64,
}

impl Content {
    pub(super) fn new(file: File, size: u64) -> Self {
        Self { file, left: size }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let got = self.file.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file was made shorter while it was read",
            ));
        }
        self.left -= got as u64;
        Ok(got)
    }
}
