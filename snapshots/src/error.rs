//! What can go wrong with snapshots.

use storage::{error::StoreError, ids::AccountId};

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
    #[error("{what} exceeds the limit of {limit}: {remedy}")]
    LimitExceeded {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// The account has no such snapshot (any more).
    #[error("account {account} has no snapshot {number}: list its snapshots again")]
    NoSuchSnapshot {
        /// The account.
        account: AccountId,
        /// The snapshot.
        number: u64,
    },
    /// The account has a snapshot of this second, or a later one, already. Its state is another.
    #[error("account {0} has a snapshot of this second already: take the next one a second later")]
    TooSoon(AccountId),
    /// The account changes faster than a snapshot of it can be prepared.
    #[error("account {0} changes too fast for a snapshot: try again later")]
    TooBusy(AccountId),
    /// The snapshot is held and stays.
    #[error("snapshot {number} of account {account} is held ({reason}): end the hold first")]
    Held {
        /// The account.
        account: AccountId,
        /// The snapshot.
        number: u64,
        /// Why.
        reason: String,
    },
    /// The account has as many restores that have not ended as it may have.
    #[error(
        "account {account} has {limit} restores that have not ended: wait for one, or cancel one"
    )]
    TooManyRestores {
        /// The account.
        account: AccountId,
        /// How many it may have.
        limit: usize,
    },
    /// The account has a restore in place that has not ended: two of them could bring a message twice.
    #[error(
        "restore {number} of account {account} puts messages where they were and has not ended: wait \
         for it, resume it, or cancel it first"
    )]
    InPlaceOpen {
        /// The account.
        account: AccountId,
        /// The restore.
        number: u64,
    },
    /// The message does not stand in that mailbox of the snapshot.
    #[error(
        "the snapshot holds no such message: `ceralacca snapshot browse` shows those that it holds"
    )]
    NotPresent,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// For those who read a snapshot as a mailbox.
impl From<SnapshotError> for StoreError {
    fn from(error: SnapshotError) -> Self {
        let damaged = |object, detail: &str| Self::Damaged { object, detail: detail.to_owned() };
        match error {
            SnapshotError::Store(error) => error,
            SnapshotError::PageMissing(page) => {
                damaged(format!("page {page} of a snapshot"), "it is missing")
            }
            SnapshotError::Damaged { object, detail } => damaged(object, detail),
            SnapshotError::LimitExceeded { what, limit, remedy } => {
                Self::LimitExceeded { what, limit, remedy }
            }
            SnapshotError::NoSuchSnapshot { account, number } => {
                Self::SnapshotExpired { account, number }
            }
            error @ (SnapshotError::TooSoon(_)
            | SnapshotError::TooBusy(_)
            | SnapshotError::Held { .. }
            | SnapshotError::TooManyRestores { .. }
            | SnapshotError::InPlaceOpen { .. }
            | SnapshotError::NotPresent) => damaged("a snapshot".to_owned(), &error.to_string()),
        }
    }
}
