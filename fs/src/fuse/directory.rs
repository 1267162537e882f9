//! Directory listings: READDIR and READDIRPLUS.
//!
//! ```text
//! order     .   ..   entries of the image   entries of the view alone
//! offset    1   2    bit 62 | cursor        bit 61 | number
//! ```
//! The offset of an entry says where to go on behind it, so that a listing needs no state between
//! requests, nor between servers.

use std::ops::ControlFlow;

use rustix::io::Errno;

use super::abi::{self, Request};
use super::handler::{Failure, FileSystem};
use super::nodeid::{Node, ViewIndex};
use super::push::SmallFile;
use super::reply::{self, Encoder};
use crate::tree::{Attr, Entry, FileKind, NodeRef};
use crate::view::Place;

/// Bits of a directory offset that say how the rest is meant; small numbers are `.` and `..`.
const COOKIE_IMAGE: u64 = 1 << 62;
const COOKIE_EXTRA: u64 = 1 << 61;
const COOKIE_DOT: u64 = 1;
const COOKIE_DOT_DOT: u64 = 2;

impl FileSystem {
    /// Answers READDIR, or READDIRPLUS with attributes of each entry.
    pub(super) fn readdir(
        &self,
        request: &Request<'_>,
        body: &mut Encoder,
        with_attributes: bool,
    ) -> Result<(), Failure> {
        let (offset, size) = abi::read_range(request.body).ok_or(Errno::INVAL)?;
        let node = self.node(request.nodeid)?;
        let (index, place) = match node {
            // The numbered views are found by name only.
            Node::Root => return Ok(()),
            Node::Image(index, image) => (index, Place::Image(image)),
            Node::Extra(index, extra) => (index, Place::Extra(extra)),
        };
        let view = self.view(index)?;
        let mut page = DirectoryPage {
            body,
            limit: size as usize,
            with_attributes,
        };
        let mut position = offset;
        if position < COOKIE_DOT_DOT {
            let (_, own) = self.id_and_attr(node)?;
            if own.kind != FileKind::Directory {
                return Err(Errno::NOTDIR.into());
            }
            if position < COOKIE_DOT && !page.dot(b".", own.ino, COOKIE_DOT) {
                return Ok(());
            }
            let parent = match place {
                Place::Image(image) => self.tree.attr(self.tree.parent(image)?)?.ino,
                Place::Extra(_) => own.ino,
            };
            if !page.dot(b"..", parent, COOKIE_DOT_DOT) {
                return Ok(());
            }
            position = COOKIE_IMAGE;
        } else if position == COOKIE_DOT_DOT {
            position = COOKIE_IMAGE;
        }
        if let (Place::Image(image), true) = (place, position & COOKIE_IMAGE != 0) {
            let full = self.page_of_image(&mut page, index, image, position & !COOKIE_IMAGE);
            match full {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                // What stands before a damaged place is shown; the next call meets the error.
                Err(failure) if page.body.len() == 0 => return Err(failure),
                Err(_) => return Ok(()),
            }
        }
        let extras = match place {
            Place::Image(image) => view.names_in(image),
            Place::Extra(extra) => &view.extra(extra).ok_or(Errno::STALE)?.children,
        };
        let first = if position & COOKIE_EXTRA != 0 {
            position & !COOKIE_EXTRA
        } else {
            0
        };
        for (number, (name, extra)) in (0_u64..).zip(extras).skip_while(|(n, _)| *n < first) {
            let (id, attr) = self.id_and_attr(Node::Extra(index, *extra))?;
            let next = COOKIE_EXTRA | (number + 1);
            let kind = attr.kind.dirent_type();
            if !page.push(name, attr.ino, next, kind, || {
                Some((id, attr, self.block_size))
            }) {
                break;
            }
        }
        Ok(())
    }

    /// Fills `page` with entries of an image directory; `true` when it is full.
    fn page_of_image(
        &self,
        page: &mut DirectoryPage<'_>,
        index: ViewIndex,
        dir: NodeRef,
        cursor: u64,
    ) -> Result<bool, Failure> {
        let mut full = false;
        let mut small = Vec::new();
        let listed = self.tree.read_dir(dir, cursor, &mut |entry: Entry<'_>| {
            let next = COOKIE_IMAGE | entry.next;
            let kind = entry.kind.dirent_type();
            let fits = page.push(entry.name, entry.ino, next, kind, || {
                // A damaged inode is still listed; using it gives the error.
                let (id, attr) = self.id_and_attr(Node::Image(index, entry.node)).ok()?;
                small.extend(SmallFile::new(entry.node, &attr));
                Some((id, attr, self.block_size))
            });
            if fits {
                ControlFlow::Continue(())
            } else {
                full = true;
                ControlFlow::Break(())
            }
        });
        if !small.is_empty() {
            self.push.listed(small);
        }
        listed?;
        Ok(full)
    }
}

/// A READDIR or READDIRPLUS reply as it fills up.
struct DirectoryPage<'a> {
    body: &'a mut Encoder,
    limit: usize,
    with_attributes: bool,
}

impl DirectoryPage<'_> {
    /// `.` or `..`, which the kernel never takes attributes of.
    fn dot(&mut self, name: &[u8], ino: u64, next: u64) -> bool {
        self.push(name, ino, next, FileKind::Directory.dirent_type(), || None)
    }

    /// Adds an entry; `false` when it does not fit.
    fn push(
        &mut self,
        name: &[u8],
        ino: u64,
        next: u64,
        kind: u8,
        attributes: impl FnOnce() -> Option<(u64, Attr, u32)>,
    ) -> bool {
        let plus = if self.with_attributes {
            abi::ENTRY_OUT_BYTES
        } else {
            0
        };
        if self.body.len() + plus + reply::dirent_len(name.len()) > self.limit {
            return false;
        }
        if self.with_attributes {
            match attributes() {
                Some((id, attr, block_size)) => self.body.entry_out(id, &attr, block_size),
                None => self.body.zeros(abi::ENTRY_OUT_BYTES),
            }
        }
        self.body.dirent(name, ino, next, kind);
        true
    }
}
