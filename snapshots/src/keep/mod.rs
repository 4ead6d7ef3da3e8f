//! Where snapshots are kept: in the catalog, beside the accounts.
//!
//! * [`take`]: a snapshot from what changed since the latest one.
//! * [`open`]: an old state read as mailboxes.
//! * [`thin`]: what goes when, and how it goes; [`times`]: when that was, where a clock was wrong.
//! * [`lost`]: what becomes of a snapshot that cannot be read.
//! * [`mend`]: lists of departed pages made anew.
//! * [`holds`]: what forbids an erasure. [`reading`]: what is read at length and stays meanwhile.
//! * [`pages`], [`keys`]: how it is stored.
//!
//! Invariants:
//!
//! * Everything that a kept snapshot refers to is stored; nothing else is, apart from what a step that
//!   was cut short left for the next one to remove.
//! * One change at a time is made to an account's snapshots. Readers wait for nobody.
//! * A snapshot that goes is hidden first. It can be read no more before anything of it is removed.
//!
//! Not here: when snapshots are taken, and of which accounts.

mod build;
pub mod holds;
pub mod keys;
pub(crate) mod lost;
pub mod mend;
pub mod open;
pub mod pages;
pub mod reading;
pub(crate) mod records;
pub mod settings;
pub mod snapshot;
pub mod take;
#[cfg(test)]
pub(crate) mod tests;
pub mod thin;
pub(crate) mod times;

use std::sync::Arc;

use storage::{
    catalog::{
        engine::{Batch, Expected, Reader, Scan},
        pages::Pages,
    },
    ids::AccountId,
    store::Store,
};
use tokio::sync::{Mutex, MutexGuard};
use trust::random::RandomSource;

use self::{
    keys::{SNAPSHOT_ACCOUNTS, SNAPSHOTS},
    reading::Readings,
    records::AccountEntry,
    settings::{Hold, Retention, SnapshotSettings},
    snapshot::Snapshot,
};
use crate::error::SnapshotError;

/// Snapshots of one account that are read at once.
const PAGE: usize = 500;

/// Changes of snapshots that run beside each other: accounts share these places.
const PLACES: usize = 256;

/// Bounds. None of them is part of a format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotLimits {
    /// Rows that are worked through while an account's changes wait; of a mailbox in which more
    /// changed, pages are written ahead. 2,000.
    pub rows_in_queue_max: usize,
    /// Rows of one step when pages are written ahead. 5,000.
    pub rows_per_step_max: usize,
    /// Octets of pages that are held before they are written ahead. 4 MiB.
    pub page_octets_held_max: usize,
    /// Times that pages are written ahead because the account went on changing. 8.
    pub rounds_max: usize,
    /// Pages that one batch removes or passes on. 1,000.
    pub pages_per_batch_max: usize,
    /// Level of zstd for pages. 6.
    pub compression_level: i32,
    /// Differences between two instants that are held so that moves are found, of some 200 octets
    /// each. 100,000.
    pub differences_held_max: usize,
}

impl Default for SnapshotLimits {
    fn default() -> Self {
        Self {
            rows_in_queue_max: 2_000,
            rows_per_step_max: 5_000,
            page_octets_held_max: 4 << 20,
            rounds_max: 8,
            pages_per_batch_max: 1_000,
            compression_level: 6,
            differences_held_max: 100_000,
        }
    }
}

/// The snapshots of every account of a store.
#[derive(Debug)]
pub struct Snapshots {
    store: Arc<Store>,
    random: Arc<dyn RandomSource>,
    limits: SnapshotLimits,
    /// Who changes an account's snapshots holds the account's place.
    places: Vec<Mutex<()>>,
    readings: Arc<Readings>,
}

impl Snapshots {
    /// Keeps snapshots in `store`, which was opened with [`keys::FAMILIES`] and
    /// [`crate::run::keys::FAMILIES`].
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        random: Arc<dyn RandomSource>,
        limits: SnapshotLimits,
    ) -> Arc<Self> {
        let places = (0..PLACES).map(|_| Mutex::default()).collect();
        Arc::new(Self { store, random, limits, places, readings: Arc::default() })
    }

    /// The store whose accounts these are.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Returns an account's snapshots, ascending by number; those that are going are left out, and
    /// those whose records are damaged, of which the log speaks.
    pub async fn list(&self, account: AccountId) -> Result<Vec<Snapshot>, SnapshotError> {
        let mut all = Vec::new();
        let kept = |snapshot: Snapshot, going: bool| all.extend((!going).then_some(snapshot));
        for_each_snapshot(&**self.store.engine(), account, kept).await?;
        Ok(all)
    }

    /// Returns the latest snapshot of an account, of those whose records can be read.
    pub async fn latest(&self, account: AccountId) -> Result<Option<Snapshot>, SnapshotError> {
        let prefix = Scan::prefix(SNAPSHOTS, &keys::account(account), PAGE);
        let mut pages = Pages::new(Scan { reverse: true, limit: 2, ..prefix });
        while let Some(page) = pages.next(&**self.store.engine()).await? {
            for (key, value) in page {
                if let Some((snapshot, false)) = lost::readable(&key, &value)? {
                    return Ok(Some(snapshot));
                }
            }
        }
        Ok(None)
    }

    /// Returns a snapshot; `None` when there is none of that number (any more).
    pub async fn get(
        &self,
        account: AccountId,
        number: u64,
    ) -> Result<Option<Snapshot>, SnapshotError> {
        match self.kept(account, number).await {
            Ok((snapshot, _)) => Ok(Some(snapshot)),
            Err(SnapshotError::NoSuchSnapshot { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The longest retention in use: `general`, or what an account has otherwise. `damaged` is told of
    /// accounts of which that cannot be read: theirs may be longer.
    pub async fn longest(
        &self,
        general: &Retention,
        mut damaged: impl FnMut(AccountId, SnapshotError) + Send,
    ) -> Result<Retention, SnapshotError> {
        let mut pages = Pages::prefix(SNAPSHOT_ACCOUNTS, &[], PAGE);
        let mut longest = *general;
        while let Some(page) = pages.next(&**self.store.engine()).await? {
            for (key, value) in page {
                let id = AccountId(key.as_ref().try_into().map_or(0, u64::from_be_bytes));
                match records::decode_account(id, &value) {
                    Ok(entry) => {
                        longest = longest.or_longer(&entry.overrides.retention(general));
                    }
                    Err(error) => damaged(id, error.into()),
                }
            }
        }
        Ok(longest)
    }

    /// Returns at most `limit` of them, those with numbers above `after`.
    pub async fn list_after(
        &self,
        account: AccountId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Snapshot>, SnapshotError> {
        let start = keys::snapshot(account, after.saturating_add(1));
        let mut pages = Pages::new(Scan { start, ..scan_of(account, PAGE.min(limit.max(1))) });
        let mut some = Vec::new();
        while let Some(page) = pages.next(&**self.store.engine()).await? {
            for (key, value) in page {
                match lost::readable(&key, &value)? {
                    Some((snapshot, false)) if some.len() < limit => some.push(snapshot),
                    _ => {}
                }
            }
            if some.len() >= limit {
                break;
            }
        }
        Ok(some)
    }

    /// Returns what an account has otherwise than the rest, and whether all its snapshots are held.
    pub async fn settings(&self, account: AccountId) -> Result<SnapshotSettings, SnapshotError> {
        let (entry, _) = account_entry(&**self.store.engine(), account).await?;
        Ok(SnapshotSettings { overrides: entry.overrides, hold: entry.hold })
    }

    /// Replaces an account's overrides; a hold is left to [`Snapshots::hold`]. `also` is applied in the
    /// same batch.
    pub async fn change_settings(
        &self,
        account: AccountId,
        overrides: settings::Overrides,
        also: Batch,
    ) -> Result<(), SnapshotError> {
        self.change_account(account, also, |entry| entry.overrides = overrides).await
    }

    /// Holds one snapshot, or with `None` all of the account, those to come too; `hold` `None` ends
    /// that. `also` is applied in the same batch. [`SnapshotError::NoSuchSnapshot`].
    pub async fn hold(
        &self,
        account: AccountId,
        number: Option<u64>,
        hold: Option<Hold>,
        also: Batch,
    ) -> Result<(), SnapshotError> {
        let Some(number) = number else {
            return self.change_account(account, also, |entry| entry.hold = hold).await;
        };
        let _place = self.place(account).await;
        let (mut snapshot, octets) = self.kept(account, number).await?;
        snapshot.hold = hold;
        let key = keys::snapshot(account, number);
        let mut batch = also;
        batch.expect(SNAPSHOTS, key.clone(), Expected::Value(octets));
        batch.put(SNAPSHOTS, key, records::encode_snapshot(&snapshot, false));
        self.store.commit(batch).await?;
        Ok(())
    }

    async fn change_account(
        &self,
        account: AccountId,
        also: Batch,
        change: impl FnOnce(&mut AccountEntry),
    ) -> Result<(), SnapshotError> {
        let _place = self.place(account).await;
        let (mut entry, expected) = account_entry(&**self.store.engine(), account).await?;
        change(&mut entry);
        let mut batch = also;
        batch.expect(SNAPSHOT_ACCOUNTS, keys::account(account), expected);
        let value = records::encode_account(&entry);
        batch.put(SNAPSHOT_ACCOUNTS, keys::account(account), value);
        self.store.commit(batch).await?;
        Ok(())
    }

    /// A snapshot that is not going, and the octets of its record.
    async fn kept(
        &self,
        account: AccountId,
        number: u64,
    ) -> Result<(Snapshot, bytes::Bytes), SnapshotError> {
        let no_such = SnapshotError::NoSuchSnapshot { account, number };
        let key = keys::snapshot(account, number);
        let Some(octets) = self.store.engine().get(SNAPSHOTS, &key).await? else {
            return Err(no_such);
        };
        let (snapshot, going) = records::decode_snapshot(&key, &octets)?;
        if going { Err(no_such) } else { Ok((snapshot, octets)) }
    }

    /// Waits until nobody else changes the account's snapshots or begins a restore of it.
    pub(crate) async fn place(&self, account: AccountId) -> MutexGuard<'_, ()> {
        let at = usize::try_from(account.0 % PLACES as u64).unwrap_or(0);
        self.places[at].lock().await
    }
}

/// A scan over the snapshots of an account.
pub(crate) fn scan_of(account: AccountId, limit: usize) -> Scan {
    Scan::prefix(SNAPSHOTS, &keys::account(account), limit)
}

/// Shows `each` every snapshot of an account whose record can be read, ascending, and whether it is
/// going.
pub(crate) async fn for_each_snapshot(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
    mut each: impl FnMut(Snapshot, bool),
) -> Result<(), SnapshotError> {
    let mut pages = Pages::new(scan_of(account, PAGE));
    while let Some(page) = pages.next(reader).await? {
        for (key, value) in page {
            if let Some((snapshot, going)) = lost::readable(&key, &value)? {
                each(snapshot, going);
            }
        }
    }
    Ok(())
}

/// Every snapshot of an account, ascending, and whether it is going; fails for a damaged record.
pub(crate) async fn all_snapshots(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
) -> Result<Vec<(Snapshot, bool)>, SnapshotError> {
    let mut all = Vec::new();
    let mut pages = Pages::new(scan_of(account, PAGE));
    while let Some(page) = pages.next(reader).await? {
        for (key, value) in page {
            all.push(records::decode_snapshot(&key, &value)?);
        }
    }
    Ok(all)
}

/// What is kept of an account, and the condition that it is still that.
pub(crate) async fn account_entry(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
) -> Result<(AccountEntry, Expected), SnapshotError> {
    match reader.get(SNAPSHOT_ACCOUNTS, &keys::account(account)).await? {
        Some(octets) => Ok((records::decode_account(account, &octets)?, Expected::Value(octets))),
        None => Ok((AccountEntry::default(), Expected::Absent)),
    }
}
