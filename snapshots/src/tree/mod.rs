//! The ordered hash tree.
//!
//! Rows stand in the order of their keys in leaf pages; pages stand in inner pages; the page at
//! the top is the root, and its hash names everything below. Two trees belong to every mailbox,
//! one of content and one of flags ([`row`]), so that reading a thousand messages does not write
//! their content again. A third kind maps accounts to their latest records.
//!
//! Invariants:
//!
//! * The shape depends on the keys alone, never on the history: a level is cut from its first entry
//!   on, and a page that has its least number of entries ends after a key whose boundary hash says
//!   so ([`page::ends_page`]), or when it has the most. A change therefore touches the pages of the
//!   changed rows, a few neighbours at most, and the pages above them.
//! * Without a least number, pages would differ so much in size that a change would fall, on
//!   average, into one of twice the mean size.
//! * The root is the lowest level that has only one page. The empty tree is a leaf page without
//!   rows.
//! * A page's name is its hash, checked whenever it is read.
//!
//! Not here: storing pages (`keep`). [`update`](update::update) returns those that are new and those
//! that they replace.

pub mod diff;
pub mod page;
pub mod read;
pub mod row;
pub mod update;

#[cfg(test)]
pub(crate) mod tests;

use bytes::Bytes;
use page::PageRef;

use crate::error::SnapshotError;

/// A whole tree, by its root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TreeRoot {
    /// The root page.
    pub page: PageRef,
    /// Rows in the tree.
    pub rows: u64,
}

impl TreeRoot {
    /// The tree without rows. Its page is not stored.
    #[must_use]
    pub fn empty() -> Self {
        Self { page: PageRef::empty(), rows: 0 }
    }
}

/// Where pages are read from.
#[async_trait::async_trait]
pub trait PageStore: Send + Sync {
    /// Returns the octets of a page, exactly as they were given out by an update.
    /// [`SnapshotError::PageMissing`] when there is none of that name. The caller checks them.
    async fn page(&self, page: PageRef) -> Result<Bytes, SnapshotError>;

    /// As many [`PageStore::page`]s, answered in the order asked.
    async fn pages(&self, pages: &[PageRef]) -> Result<Vec<Bytes>, SnapshotError> {
        let mut octets = Vec::with_capacity(pages.len());
        for page in pages {
            octets.push(self.page(*page).await?);
        }
        Ok(octets)
    }
}
