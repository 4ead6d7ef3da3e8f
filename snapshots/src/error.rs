//! What can go wrong with snapshots.

use storage::error::StoreError;

use crate::tree::page::PageId;

/// An error of the snapshots floor. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A page that the tree refers to is not there. Never transient.
    #[error(
        "page {0} of a snapshot is missing: run `ceralacca store check`, restore it from a back-up"
    )]
    PageMissing(PageId),
    /// Octets are not what their hash says, or follow no known layout. Never transient.
    #[error(
        "{object} is damaged ({detail}): run `ceralacca store check`, restore it from a back-up"
    )]
    Damaged {
        /// What is damaged.
        object: String,
        /// What was seen.
        detail: &'static str,
    },
    /// Something has more parts than its layout can count.
    #[error("{what} exceeds the limit of {limit}")]
    LimitExceeded {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The message does not stand in that mailbox of the snapshot.
    #[error("the snapshot holds no such message")]
    NotPresent,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
