//! The ordered hash tree.
//!
//! Rows stand in the order of their keys in leaf pages; pages stand in inner pages; the page at
//! the top is the root, and its hash names everything below. Two trees belong to every mailbox,
//! one of content and one of flags ([`row`]), so that reading a thousand messages does not write
//! their content again. A third kind maps accounts to their latest records.
//!
//! Invariants:
//!
//! * The shape depends on the keys alone, never on the history: a page ends after a key whose
//!   boundary hash says so ([`page::ends_page`]), about every 32nd in leaves and every 16th above,
//!   or when it is full. A change therefore touches the pages of the changed rows, their
//!   neighbours at most, and the pages above them.
//! * The root is the lowest level that has only one page. The empty tree is a leaf page without
//!   rows.
//! * A page's name is its hash, checked whenever it is read.
//!
//! Not here: storing pages. [`update`](update::update) returns those that are new; whoever takes a
//! snapshot stores them in the batch that makes the snapshot known.

pub mod page;
pub mod read;
pub mod row;
pub mod update;

#[cfg(test)]
pub(crate) mod tests;

use bytes::Bytes;
use page::PageId;

use crate::error::SnapshotError;

/// A whole tree, by its root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TreeRoot {
    /// The root page.
    pub page: PageId,
    /// Rows in the tree.
    pub rows: u64,
}

impl TreeRoot {
    /// The tree without rows. Its page is not stored.
    #[must_use]
    pub fn empty() -> Self {
        Self { page: PageId::empty(), rows: 0 }
    }
}

/// Where pages are read from.
#[async_trait::async_trait]
pub trait PageStore: Send + Sync {
    /// Returns the octets of a page, exactly as they were given out by an update.
    /// [`SnapshotError::PageMissing`] when there is none of that name. The caller checks them.
    async fn page(&self, id: PageId) -> Result<Bytes, SnapshotError>;
}
