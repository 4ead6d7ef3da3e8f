//! Families and keys of runs. Numbers are big-endian and of fixed width.

use bytes::Bytes;
use storage::{
    catalog::{engine::Family, keys::object},
    error::StoreError,
    ids::AccountId,
};

use crate::tree::page::PageRef;

/// Closed runs. Key: number (8).
pub const SNAPSHOT_RUNS: Family = Family("snapshot_runs");
/// Pages of the tree of accounts. Key: birth (8), first octets of the name (16).
pub const SNAPSHOT_RUN_PAGES: Family = Family("snapshot_run_pages");
/// Pages that the latest run has not, by the last one that has them. Key: number of that run (8), birth
/// (8), first octets of the name (16); the value is empty.
pub const DEPARTED_RUN_PAGES: Family = Family("departed_run_pages");
/// How far runs are. One row, whose key is empty but for an octet 0.
pub const SNAPSHOT_RUN_PROGRESS: Family = Family("snapshot_run_progress");
/// Snapshots that need a run. Key: run (8), AccountId (8), number of the snapshot (8). Value: the records
/// of the account that lead from the snapshot's, which is left out, to the one in the run's tree.
pub const SNAPSHOT_RUN_NEEDS: Family = Family("snapshot_run_needs");
/// Accounts with a snapshot that no run has entered yet. Key: AccountId (8). Value: its number.
pub const SNAPSHOT_RUN_DUE: Family = Family("snapshot_run_due");

/// Every family declared here.
pub const FAMILIES: [Family; 6] = [
    SNAPSHOT_RUNS,
    SNAPSHOT_RUN_PAGES,
    DEPARTED_RUN_PAGES,
    SNAPSHOT_RUN_PROGRESS,
    SNAPSHOT_RUN_NEEDS,
    SNAPSHOT_RUN_DUE,
];

const NAME_OCTETS: usize = 16;

/// The key in [`SNAPSHOT_RUN_PROGRESS`].
pub(super) fn head() -> Bytes {
    Bytes::from_static(&[0])
}

/// The key in [`SNAPSHOT_RUNS`], and the prefix of what belongs to a run.
pub(super) fn run(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// The key in [`SNAPSHOT_RUN_DUE`].
pub(super) fn due(account: AccountId) -> Bytes {
    Bytes::copy_from_slice(&account.0.to_be_bytes())
}

/// The key in [`SNAPSHOT_RUN_PAGES`].
pub(super) fn page(page: PageRef) -> Bytes {
    [&page.birth.to_be_bytes()[..], &page.id.0.0[..NAME_OCTETS]].concat().into()
}

/// The key in [`DEPARTED_RUN_PAGES`] of a page with this key in [`SNAPSHOT_RUN_PAGES`].
pub(super) fn departed(last: u64, page: &[u8]) -> Bytes {
    [&last.to_be_bytes()[..], page].concat().into()
}

/// The key in [`SNAPSHOT_RUN_NEEDS`].
pub(super) fn need(run: u64, account: AccountId, number: u64) -> Bytes {
    [run, account.0, number].map(u64::to_be_bytes).concat().into()
}

/// The prefix in [`SNAPSHOT_RUN_NEEDS`] of what an account needs a run for.
pub(super) fn needs(run: u64, account: AccountId) -> Bytes {
    [run, account.0].map(u64::to_be_bytes).concat().into()
}

/// The numbers that a key consists of.
pub(super) fn numbers<const N: usize>(family: Family, key: &[u8]) -> Result<[u64; N], StoreError> {
    if key.len() == 8 * N { leading(family, key) } else { Err(damaged(family, key)) }
}

/// The numbers that a key begins with.
pub(super) fn leading<const N: usize>(family: Family, key: &[u8]) -> Result<[u64; N], StoreError> {
    let mut numbers = [0; N];
    let (parts, _) = key.as_chunks::<8>();
    if parts.len() < N {
        return Err(damaged(family, key));
    }
    for (number, part) in numbers.iter_mut().zip(parts) {
        *number = u64::from_be_bytes(*part);
    }
    Ok(numbers)
}

fn damaged(family: Family, key: &[u8]) -> StoreError {
    StoreError::Damaged {
        object: object(family, key),
        detail: "the key does not have its family's layout".to_owned(),
    }
}
