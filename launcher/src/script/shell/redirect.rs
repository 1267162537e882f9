//! Redirections: descriptors are exchanged before a command and put back after it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{MemfdFlags, Mode, OFlags};

use super::ast::{Redirect, Target, Text};
use super::{Shell, Stop, sys};
use crate::script::ScriptError;

/// Descriptors a script may name; higher ones are the launcher's own.
const MAX_DESCRIPTOR: i32 = 63;

/// What a descriptor was before.
pub(super) struct Saved {
    number: i32,
    before: Option<OwnedFd>,
}

/// Writes all of `bytes`; a reader that has gone away ends it.
pub(super) fn write_all(descriptor: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(descriptor, bytes) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            // There is nowhere to complain about an output that is gone.
            Err(_) => return,
        }
    }
}

impl Shell<'_> {
    /// Runs `run` under `redirects`. One that fails is a complaint and status 1.
    pub(super) fn redirected(
        &mut self,
        redirects: &[Redirect],
        run: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if redirects.is_empty() {
            return run(self);
        }
        let mut saved = Vec::new();
        let mut captured = None;
        let result = match self.exchange(redirects, &mut saved, &mut captured) {
            Ok(true) => run(self),
            Ok(false) => {
                self.status = 1;
                Ok(())
            }
            Err(stop) => Err(stop),
        };
        if let Some(capture) = captured {
            self.capture = Some(capture);
        }
        restore(saved);
        result
    }

    /// Carries out `redirects` in order; `false` after a complaint.
    fn exchange(
        &mut self,
        redirects: &[Redirect],
        saved: &mut Vec<Saved>,
        captured: &mut Option<Text>,
    ) -> Result<bool, Stop> {
        for redirect in redirects {
            if redirect.descriptor == 1 && self.capture.is_some() {
                *captured = self.capture.take();
            }
            let result = match &redirect.target {
                Target::Both { word, append } => {
                    let path = self.expand_text(word)?;
                    let flags = if *append {
                        OFlags::APPEND
                    } else {
                        OFlags::TRUNC
                    };
                    self.open(&path, OFlags::WRONLY | OFlags::CREATE | flags)?
                        .and_then(|file| {
                            place(&file, 1, saved)?;
                            place(&file, 2, saved)
                        })
                        .map_err(|error| (path, error))
                }
                Target::Duplicate(word) => {
                    let text = self.expand_text(word)?;
                    duplicate(&text, redirect.descriptor, saved).map_err(|error| (text, error))
                }
                Target::Text(word) => {
                    let text = self.expand_text(word)?;
                    provide(&text)
                        .and_then(|file| place(&file, redirect.descriptor, saved))
                        .map_err(|error| (b"here-string".to_vec(), error))
                }
                Target::Document(cell) => {
                    let text = match cell.get() {
                        Some(word) => self.expand_text(word)?,
                        None => Text::new(),
                    };
                    provide(&text)
                        .and_then(|file| place(&file, redirect.descriptor, saved))
                        .map_err(|error| (b"here-document".to_vec(), error))
                }
                Target::Read(word) => {
                    self.open_onto(word, OFlags::RDONLY, redirect.descriptor, saved)?
                }
                Target::Write(word) => {
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
                    self.open_onto(word, flags, redirect.descriptor, saved)?
                }
                Target::Append(word) => {
                    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
                    self.open_onto(word, flags, redirect.descriptor, saved)?
                }
                Target::ReadWrite(word) => self.open_onto(
                    word,
                    OFlags::RDWR | OFlags::CREATE,
                    redirect.descriptor,
                    saved,
                )?,
            };
            if let Err((what, error)) = result {
                let reason = crate::error::reason(&error);
                self.complain(&format!(
                    "open {}: {reason}",
                    String::from_utf8_lossy(&what)
                ));
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn open_onto(
        &mut self,
        word: &super::ast::Word,
        flags: OFlags,
        number: i32,
        saved: &mut Vec<Saved>,
    ) -> Result<Result<(), (Text, io::Error)>, Stop> {
        let path = self.expand_text(word)?;
        let opened = self.open(&path, flags)?;
        Ok(opened
            .and_then(|file| place(&file, number, saved))
            .map_err(|error| (path, error)))
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<io::Result<OwnedFd>, Stop> {
        if !self.policy.files {
            return Err(Stop::Fatal(ScriptError::Script {
                reason: format!(
                    "could not open/create/modify {:?}: file feature is disabled",
                    String::from_utf8_lossy(path)
                ),
            }));
        }
        let path = Path::new(OsStr::from_bytes(path));
        Ok(
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o666))
                .map_err(io::Error::from),
        )
    }
}

/// `n>&text`: another descriptor, or `-` to close.
fn duplicate(text: &[u8], number: i32, saved: &mut Vec<Saved>) -> io::Result<()> {
    if text == b"-" {
        remember(number, saved)?;
        sys::close(number);
        return Ok(());
    }
    let source: i32 = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|source| (0..=MAX_DESCRIPTOR).contains(source))
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
    let source = sys::save(source)?;
    place(&source, number, saved)
}

/// A file that contains `text`, read from its beginning.
fn provide(text: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(c"here-document", MemfdFlags::CLOEXEC)?;
    write_all(file.as_fd(), text);
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}

/// Puts `file` in the place of descriptor `number`.
fn place(file: &OwnedFd, number: i32, saved: &mut Vec<Saved>) -> io::Result<()> {
    remember(number, saved)?;
    sys::duplicate_to(file.as_fd(), number)
}

fn remember(number: i32, saved: &mut Vec<Saved>) -> io::Result<()> {
    if !(0..=MAX_DESCRIPTOR).contains(&number) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    let before = match sys::save(number) {
        Ok(before) => Some(before),
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => None,
        Err(error) => return Err(error),
    };
    saved.push(Saved { number, before });
    Ok(())
}

/// Undoes exchanges, last first.
pub(super) fn restore(mut saved: Vec<Saved>) {
    while let Some(Saved { number, before }) = saved.pop() {
        match before {
            // The number was open a moment ago, so that it can be taken again; should the kernel
            // refuse, there is no better place to put it.
            Some(before) => drop(sys::duplicate_to(before.as_fd(), number)),
            None => sys::close(number),
        }
    }
}

/// Exchanges one descriptor for a while.
pub(super) fn swap(file: &OwnedFd, number: i32) -> io::Result<Vec<Saved>> {
    let mut saved = Vec::new();
    place(file, number, &mut saved)?;
    Ok(saved)
}
