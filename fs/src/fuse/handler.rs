//! One request to one reply: a thin adapter from the protocol to views and the tree.
//!
//! Keeps nothing that a new server could not work out again from the image and the list of views;
//! the read-ahead state is a hint and may be lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use rustix::io::Errno;
use skiff_cache::waiting;

use super::abi::{self, Request, opcode};
use super::accesses::AccessLog;
use super::errno;
use super::nodeid::{Node, ViewIndex};
use super::programs;
use super::push::Push;
use super::readahead::ReadAhead;
use super::reply::{Encoder, Replier};
pub use super::waits::Waiting;
use super::waits::Waits;
use crate::tree::{Attr, FileKind, NodeRef, Segment, Tree, TreeError};
use crate::view::{ExtraIndex, Place, Point, View};

/// Names that only a privileged caller sees in a list, as in every file system of the kernel.
const TRUSTED_PREFIX: &[u8] = b"trusted.";

/// Whom files belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owners {
    /// As recorded in the image.
    Recorded,
    /// All to one user and group: what a container of an ordinary user shows.
    All {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
}

/// What the root of the connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RootLayout {
    /// The root of the image.
    Image,
    /// A directory with one subdirectory per view, named by its number.
    Views,
}

/// Hears of requests that failed because the image's bytes could not be had.
pub trait Witness: Send + Sync + std::fmt::Debug {
    /// A request of process `pid` (0 for none) ends with `error`.
    fn failed(&self, pid: u32, error: &TreeError);
}

/// The answers of one image.
#[derive(Debug)]
pub struct FileSystem {
    pub(super) tree: Arc<dyn Tree>,
    owners: Owners,
    layout: RootLayout,
    /// Only ever grows; view 0 is the plain image.
    views: RwLock<Vec<Arc<View>>>,
    readahead: ReadAhead,
    pub(super) push: Push,
    pub(super) block_size: u32,
    /// Inode numbers of extra nodes start above this.
    last_image_ino: u64,
    has_xattrs: bool,
    waits_for_network: bool,
    requests: AtomicU64,
    witness: Option<Box<dyn Witness>>,
    pub(super) accesses: Option<AccessLog>,
    pub(super) waits: Waits,
}

/// What a thread reuses from request to request.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The last read had to wait for the network.
    was_far: bool,
    body: Encoder,
    segments: Vec<Segment>,
}

/// Why a view could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddViewError {
    /// All numbers are used.
    #[error(
        "more than {} different sets of bind points on one mount",
        ViewIndex::LIMIT
    )]
    TooMany,
    /// The image could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// How a request failed: with a number for the kernel, or because the tree did.
pub(super) enum Failure {
    Errno(Errno),
    Tree(TreeError),
}

impl From<TreeError> for Failure {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl FileSystem {
    /// Answers for `tree`. `workers` threads decode ahead of sequential readers (0 for none).
    pub fn new(tree: Arc<dyn Tree>, owners: Owners, layout: RootLayout, workers: usize) -> Self {
        let stat = tree.stat();
        Self {
            readahead: ReadAhead::new(&tree, workers),
            push: Push::default(),
            owners,
            layout,
            views: RwLock::new(vec![Arc::new(View::default())]),
            block_size: tree.block_size(),
            last_image_ino: stat.inodes,
            has_xattrs: tree.has_xattrs(),
            waits_for_network: tree.waits(),
            tree,
            requests: AtomicU64::new(0),
            witness: None,
            accesses: None,
            waits: Waits::default(),
        }
    }

    /// Tells `witness` of failures.
    #[must_use]
    pub fn with_witness(mut self, witness: Box<dyn Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Writes down which files are read. Nothing is handed to the kernel unasked then: what is read
    /// from its cache alone would not be seen.
    #[must_use]
    pub fn with_access_log(mut self, log: AccessLog) -> Self {
        self.accesses = Some(log);
        self
    }

    /// Who is waiting for bytes from far away, and since when.
    pub fn waiting(&self) -> Vec<Waiting> {
        self.waits.list()
    }

    /// The tree behind the answers.
    pub fn tree(&self) -> &dyn Tree {
        self.tree.as_ref()
    }

    /// Requests of the kernel answered so far by this server.
    pub fn request_count(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Adds the view with `points` and returns its number: one more than the last.
    ///
    /// # Errors
    /// [`AddViewError`]
    pub fn add_view(&self, points: &[Point]) -> Result<ViewIndex, AddViewError> {
        let view = Arc::new(View::build(self.tree.as_ref(), points)?);
        let mut views = self
            .views
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let index = u16::try_from(views.len())
            .ok()
            .and_then(ViewIndex::new)
            .ok_or(AddViewError::TooMany)?;
        views.push(view);
        Ok(index)
    }

    /// Answers one request; an error is one of the device.
    pub(crate) fn handle(
        &self,
        request: &Request<'_>,
        scratch: &mut Scratch,
        replier: Replier<'_>,
    ) -> Result<(), Errno> {
        scratch.body.clear();
        self.requests.fetch_add(1, Ordering::Relaxed);
        let unique = request.unique;
        let outcome = match request.opcode {
            opcode::FORGET | opcode::BATCH_FORGET | opcode::NOTIFY_REPLY => return Ok(()),
            // Where nothing waits the kernel may learn, below, that nothing can be interrupted.
            opcode::INTERRUPT if self.waits_for_network => {
                if let Some(interrupted) = abi::u64_at(request.body, 0) {
                    self.waits.interrupt(interrupted);
                }
                return Ok(());
            }
            opcode::READ => {
                let outcome = self.read(request, scratch);
                // Before the reader knows, who may end then and have the list looked at.
                if let (Some(log), Some(Node::Image(_, node))) =
                    (&self.accesses, Node::from_id(request.nodeid))
                {
                    log.was_read(node);
                }
                let sent = match outcome {
                    Ok(()) => replier.segments(unique, &scratch.segments),
                    Err(failure) => replier.error(unique, self.errno(request, &failure)),
                };
                // Hands the blocks back to the cache's own bookkeeping.
                scratch.segments.clear();
                if self.accesses.is_none()
                    && let (Some((0, _)), Some(Node::Image(_, node))) =
                        (abi::read_range(request.body), Node::from_id(request.nodeid))
                {
                    // A guess fetches nothing unless the reader itself had to wait.
                    let may_fetch = scratch.was_far || !self.waits_for_network;
                    self.push.was_read(node, may_fetch);
                }
                return sent;
            }
            opcode::LOOKUP => self.lookup(request, &mut scratch.body),
            opcode::GETATTR => self.getattr(request, &mut scratch.body),
            opcode::READLINK => self.readlink(request, &mut scratch.body),
            opcode::READDIR => self.readdir(request, &mut scratch.body, false),
            opcode::READDIRPLUS => self.readdir(request, &mut scratch.body, true),
            opcode::STATFS => {
                self.statfs(&mut scratch.body);
                Ok(())
            }
            opcode::GETXATTR => self.getxattr(request, &mut scratch.body),
            opcode::LISTXATTR => self.listxattr(request, &mut scratch.body),
            opcode::DESTROY => Ok(()),
            // The handshake was made before the first server started.
            opcode::INIT => Err(Errno::IO.into()),
            code if opcode::MODIFYING.contains(&code) => Err(Errno::ROFS.into()),
            // OPEN, OPENDIR, FLUSH, ACCESS, INTERRUPT, ...: said once, the kernel does without.
            _ => Err(Errno::NOSYS.into()),
        };
        match outcome {
            Ok(()) => replier.data(unique, scratch.body.bytes()),
            Err(failure) => replier.error(unique, self.errno(request, &failure)),
        }
    }

    /// The number that tells the kernel of `failure`; words for it go to the witness.
    fn errno(&self, request: &Request<'_>, failure: &Failure) -> Errno {
        match failure {
            Failure::Errno(errno) => *errno,
            Failure::Tree(error) => {
                if let (Some(witness), TreeError::Source(_) | TreeError::Damaged { .. }) =
                    (&self.witness, error)
                {
                    witness.failed(request.pid, error);
                }
                errno::of(error)
            }
        }
    }

    pub(super) fn node(&self, id: u64) -> Result<Node, Failure> {
        let node = Node::from_id(id).ok_or(Errno::STALE)?;
        Ok(match (node, self.layout) {
            (Node::Root, RootLayout::Image) => Node::Image(ViewIndex::PLAIN, self.tree.root()),
            _ => node,
        })
    }

    pub(super) fn view(&self, index: ViewIndex) -> Result<Arc<View>, Failure> {
        let views = self
            .views
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        views
            .get(usize::from(index.get()))
            .cloned()
            .ok_or_else(|| Errno::STALE.into())
    }

    fn lookup(&self, request: &Request<'_>, body: &mut Encoder) -> Result<(), Failure> {
        let name = request.name();
        let found = match self.node(request.nodeid)? {
            Node::Root => {
                // A view that is added later must be found: no negative entry here.
                let index = parse_view_name(name).ok_or(Errno::NOENT)?;
                self.view(index).map_err(|_| Errno::NOENT)?;
                Some(Node::Image(index, self.tree.root()))
            }
            Node::Image(index, node) => {
                let place = if index == ViewIndex::PLAIN {
                    self.tree.lookup(node, name)?.map(Place::Image)
                } else {
                    self.view(index)?
                        .child(self.tree.as_ref(), Place::Image(node), name)?
                };
                place.map(|place| at(index, place))
            }
            Node::Extra(index, extra) => self
                .view(index)?
                .child(self.tree.as_ref(), Place::Extra(extra), name)?
                .map(|place| at(index, place)),
        };
        match found {
            Some(node) => {
                let (id, attr) = self.id_and_attr(node)?;
                body.entry_out(id, &attr, self.block_size);
            }
            None => body.negative_entry(),
        }
        Ok(())
    }

    fn getattr(&self, request: &Request<'_>, body: &mut Encoder) -> Result<(), Failure> {
        let (_, attr) = self.id_and_attr(self.node(request.nodeid)?)?;
        body.attr_out(&attr, self.block_size);
        Ok(())
    }

    /// Attributes with owners mapped, and the id under which all views share what they may share.
    pub(super) fn id_and_attr(&self, node: Node) -> Result<(u64, Attr), Failure> {
        let (shared, mut attr) = match node {
            Node::Root => (node, self.synthetic_attr(0, true)?),
            Node::Image(index, image) => {
                let attr = self.tree.attr(image)?;
                let is_directory = attr.kind == FileKind::Directory;
                let index = if is_directory {
                    index
                } else {
                    ViewIndex::PLAIN
                };
                (Node::Image(index, image), attr)
            }
            Node::Extra(index, extra) => {
                let view = self.view(index)?;
                let directory = view.extra(extra).ok_or(Errno::STALE)?.directory;
                (node, self.synthetic_attr(u64::from(extra.0), directory)?)
            }
        };
        if let Owners::All { uid, gid } = self.owners {
            attr.uid = uid;
            attr.gid = gid;
        }
        Ok((shared.id(), attr))
    }

    /// Attributes of what the image lacks: the time is the image root's, so that the same image
    /// always looks the same.
    fn synthetic_attr(&self, number: u64, directory: bool) -> Result<Attr, Failure> {
        let root = self.tree.attr(self.tree.root())?;
        Ok(Attr {
            ino: self.extra_ino(number),
            kind: if directory {
                FileKind::Directory
            } else {
                FileKind::Regular
            },
            permissions: if directory { 0o755 } else { 0o644 },
            nlink: if directory { 2 } else { 1 },
            uid: root.uid,
            gid: root.gid,
            rdev: 0,
            size: 0,
            blocks: 0,
            mtime: root.mtime,
        })
    }

    fn extra_ino(&self, number: u64) -> u64 {
        self.last_image_ino.saturating_add(1).saturating_add(number)
    }

    fn readlink(&self, request: &Request<'_>, body: &mut Encoder) -> Result<(), Failure> {
        match self.node(request.nodeid)? {
            Node::Image(_, node) => body.raw(&self.tree.read_link(node)?),
            Node::Root | Node::Extra(..) => return Err(Errno::INVAL.into()),
        }
        Ok(())
    }

    fn read(&self, request: &Request<'_>, scratch: &mut Scratch) -> Result<(), Failure> {
        scratch.was_far = false;
        let (offset, size) = abi::read_range(request.body).ok_or(Errno::INVAL)?;
        match self.node(request.nodeid)? {
            Node::Image(_, node) => {
                self.readahead.before_read(node, offset, u64::from(size));
                if self.waits_for_network {
                    self.announce_rest(node, offset, u64::from(size));
                }
                let before = waiting::fetches();
                self.tree
                    .read(node, offset, size as usize, &mut scratch.segments)?;
                scratch.was_far = waiting::fetches() > before;
                if scratch.was_far {
                    self.readahead.was_cold(node);
                }
                if offset == 0 && scratch.was_far {
                    for range in programs::likely_reads(&scratch.segments) {
                        let len = range.end.saturating_sub(range.start);
                        self.tree.announce(node, range.start, len);
                    }
                }
                Ok(())
            }
            Node::Extra(..) => Ok(()),
            Node::Root => Err(Errno::ISDIR.into()),
        }
    }

    /// Has all blocks of a read but the first fetched while that is waited for.
    fn announce_rest(&self, node: NodeRef, offset: u64, size: u64) {
        let block = u64::from(self.block_size.max(1));
        let second = (offset / block + 1).saturating_mul(block);
        let end = offset.saturating_add(size);
        if second < end {
            self.tree.announce(node, second, end - second);
        }
    }

    /// `struct fuse_statfs_out`.
    fn statfs(&self, body: &mut Encoder) {
        let stat = self.tree.stat();
        body.u64(stat.bytes.div_ceil(u64::from(stat.block_size.max(1))));
        body.u64(0);
        body.u64(0);
        body.u64(stat.inodes);
        body.u64(0);
        body.u32(stat.block_size);
        body.u32(stat.name_max);
        body.u32(stat.block_size);
        body.zeros(4 + 6 * 4);
    }

    fn getxattr(&self, request: &Request<'_>, body: &mut Encoder) -> Result<(), Failure> {
        let node = self.xattr_node(request)?;
        let wanted = request.name_at(8);
        let mut found = None;
        if let Some(node) = node {
            self.tree.xattrs(node, &mut |name, value| {
                if name == wanted {
                    found = Some(value.to_vec());
                }
            })?;
        }
        let value = found.ok_or(Errno::NODATA)?;
        sized_reply(request, body, &value)
    }

    fn listxattr(&self, request: &Request<'_>, body: &mut Encoder) -> Result<(), Failure> {
        let node = self.xattr_node(request)?;
        let privileged = request.uid == 0;
        let mut list = Vec::new();
        if let Some(node) = node {
            self.tree.xattrs(node, &mut |name, _| {
                if privileged || !name.starts_with(TRUSTED_PREFIX) {
                    list.extend_from_slice(name);
                    list.push(0);
                }
            })?;
        }
        sized_reply(request, body, &list)
    }

    /// The node whose attributes are asked for; `None` for nodes of the view, which have none.
    fn xattr_node(&self, request: &Request<'_>) -> Result<Option<NodeRef>, Failure> {
        if !self.has_xattrs {
            // The kernel then never asks again.
            return Err(Errno::NOSYS.into());
        }
        Ok(match self.node(request.nodeid)? {
            Node::Image(_, node) => Some(node),
            Node::Root | Node::Extra(..) => None,
        })
    }
}

/// Size alone when the caller offers no room, else the value (`struct fuse_getxattr_in`/`out`).
fn sized_reply(request: &Request<'_>, body: &mut Encoder, value: &[u8]) -> Result<(), Failure> {
    let room = abi::u32_at(request.body, 0).ok_or(Errno::INVAL)? as usize;
    if room == 0 {
        body.u32(u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?);
        body.u32(0);
    } else if value.len() > room {
        return Err(Errno::RANGE.into());
    } else {
        body.raw(value);
    }
    Ok(())
}

fn at(index: ViewIndex, place: Place) -> Node {
    match place {
        Place::Image(node) => Node::Image(index, node),
        Place::Extra(ExtraIndex(number)) => Node::Extra(index, ExtraIndex(number)),
    }
}

fn parse_view_name(name: &[u8]) -> Option<ViewIndex> {
    ViewIndex::new(std::str::from_utf8(name).ok()?.parse().ok()?)
}

#[cfg(test)]
mod tests;
