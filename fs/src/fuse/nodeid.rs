//! Node ids that carry their meaning, so that no table has to survive the server.
//!
//! ```text
//! bit 63   62        61      60 … 48    47 … 0
//!     0    image     extra   view       inode reference / number of the extra node
//! ```
//! Id 1 is the root of the connection (fixed by the protocol). Directories carry the number of
//! their view, because the kernel allows a directory only one place; other nodes carry view 0, so
//! that all views share their page cache.

use crate::tree::NodeRef;
use crate::view::ExtraIndex;

const IMAGE: u64 = 1 << 62;
const EXTRA: u64 = 1 << 61;
const VIEW_SHIFT: u32 = NodeRef::BITS;
const LOW: u64 = (1 << NodeRef::BITS) - 1;

/// Number of a view on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ViewIndex(u16);

impl ViewIndex {
    /// The plain image.
    pub const PLAIN: Self = Self(0);
    /// How many views one connection can tell apart (13 bits of the node id).
    pub const LIMIT: u16 = 1 << 13;

    /// Number `index`, if a node id can carry it.
    pub const fn new(index: u16) -> Option<Self> {
        if index < Self::LIMIT {
            Some(Self(index))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// What a node id says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Node {
    /// Root of the connection.
    Root,
    /// A node of the image, seen in a view.
    Image(ViewIndex, NodeRef),
    /// A node of the view alone.
    Extra(ViewIndex, ExtraIndex),
}

impl Node {
    pub(crate) const ROOT_ID: u64 = 1;

    pub(crate) fn id(self) -> u64 {
        match self {
            Self::Root => Self::ROOT_ID,
            Self::Image(view, node) => IMAGE | u64::from(view.0) << VIEW_SHIFT | node.get(),
            Self::Extra(view, index) => {
                EXTRA | u64::from(view.0) << VIEW_SHIFT | u64::from(index.0)
            }
        }
    }

    /// `None` for an id that this server never gave out.
    pub(crate) fn from_id(id: u64) -> Option<Self> {
        if id == Self::ROOT_ID {
            return Some(Self::Root);
        }
        let view = ViewIndex::new(u16::try_from((id >> VIEW_SHIFT) & 0x1fff).ok()?)?;
        let low = id & LOW;
        match id & !(LOW | 0x1fff << VIEW_SHIFT) {
            IMAGE => Some(Self::Image(view, NodeRef::new(low)?)),
            EXTRA => Some(Self::Extra(view, ExtraIndex(u32::try_from(low).ok()?))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back() {
        let view = ViewIndex::new(8191).unwrap();
        let far = NodeRef::new((1 << 48) - 1).unwrap();
        for node in [
            Node::Root,
            Node::Image(ViewIndex::PLAIN, NodeRef::new(0).unwrap()),
            Node::Image(view, far),
            Node::Extra(view, ExtraIndex(u32::MAX)),
        ] {
            assert_eq!(Node::from_id(node.id()), Some(node));
        }
    }

    #[test]
    fn foreign_ids_are_refused() {
        for id in [0, 2, 1 << 63, IMAGE | EXTRA, EXTRA | 1 << 40] {
            assert_eq!(Node::from_id(id), None, "{id:#x}");
        }
    }
}
