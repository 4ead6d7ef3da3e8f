//! Snapshots that cannot be read, because a record, a state or a page is lost or damaged.
//!
//! * One whose record is *lost* is gone: nothing says what it was. What only it had goes, too, and the
//!   one before it is the latest again.
//! * Of one that is *damaged*, everything stays until somebody forgets it. The next snapshot cannot go on
//!   with its trees: it is built from the account's rows alone and shares no page with it. So
//!   everything that the damaged one has departs: whatever is stored and in no list.
//! * A damaged *list* of departed pages takes nothing with it: its pages stay, and are freed when lists are
//!   made anew (`mend`).
//! * Where it is not known which messages a snapshot held, it is taken for holding all of them:
//!   nothing is removed too early.
//!
//! Not here: finding damage (`check`).

use std::collections::BTreeSet;

use bytes::Bytes;
use storage::{
    account::{
        Account,
        capture::{ForgetSnapshot, KeptSnapshot},
    },
    catalog::{
        engine::{Batch, Reader, Scan},
        pages::Pages,
    },
    error::StoreError,
    ids::{AccountId, ModSeq},
};

use super::{
    PAGE, Snapshots, account_entry, for_each_snapshot,
    keys::{self, DEPARTED_PAGES, DepartedKey, PageKey, SNAPSHOT_PAGES},
    pages::unpack,
    records, scan_of,
    snapshot::Snapshot,
};
use crate::{
    error::SnapshotError,
    record::SnapshotRecord,
    state::State,
    tree::page::{PageId, PageRef},
};

/// Lists of pages read at once.
const LISTS: usize = 16;

/// The snapshot under `key`, and whether it is going; `None` when its record is damaged.
pub(super) fn readable(key: &[u8], octets: &[u8]) -> Result<Option<(Snapshot, bool)>, StoreError> {
    match records::decode_snapshot(key, octets) {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_unreadable(&error) => {
            let number = keys::snapshot_of(key).map_or(0, |(_, number)| number);
            tracing::warn!(%error, number, "a snapshot cannot be read, is passed over, and keeps messages that were deleted since: restore it from a back-up, or take it out with `ceralacca snapshot forget ADDRESS --number NUMBER`");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The pages of a list; `None` when it is damaged.
pub(super) fn readable_list(
    key: &[u8],
    list: &[u8],
) -> Result<Option<BTreeSet<PageKey>>, StoreError> {
    let read = DepartedKey::parse(key).and_then(|_| keys::departed_pages(key, list));
    match read {
        Ok(pages) => Ok(Some(pages)),
        Err(error) if is_unreadable(&error) => {
            tracing::warn!(%error, "a list of pages that departed cannot be read: `ceralacca store repair` makes it anew");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether `error` says that what stands under a key cannot be read, now or later. A catalog with values of
/// a newer program has a newer format and is not opened: a version octet that is not known is another.
pub(crate) fn is_unreadable(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { .. } | StoreError::TooNew { .. })
}

/// Whether `error` says that a snapshot cannot be read, now or later.
pub(crate) fn is_damage(error: &SnapshotError) -> bool {
    matches!(error, SnapshotError::PageMissing(_) | SnapshotError::Damaged { .. })
}

/// A latest snapshot that cannot be read.
#[derive(Debug)]
pub(super) struct Damaged {
    /// Its pages, as far as they are stored.
    pub(super) pages: BTreeSet<PageKey>,
    /// The latest record that can be read: its own, or that of one before it.
    pub(super) record: Option<SnapshotRecord>,
}

impl Damaged {
    /// What is known of snapshot `number`, the latest.
    pub(super) async fn read(
        reader: &(impl Reader + ?Sized),
        account: AccountId,
        number: u64,
    ) -> Result<Self, SnapshotError> {
        let mut pages = BTreeSet::new();
        let born = Scan::prefix(SNAPSHOT_PAGES, &keys::account(account), PAGE);
        let end = Some(keys::snapshot(account, number.saturating_add(1)));
        let mut stored = Pages::new(Scan { end, ..born });
        while let Some(some) = stored.next(reader).await? {
            // A key of another layout is no page's: `store repair` removes it.
            let stored = some.iter().filter_map(|(key, _)| PageKey::of_stored(key).ok());
            pages.extend(stored.map(|(_, page)| page));
        }
        let mut lists = Pages::prefix(DEPARTED_PAGES, &keys::account(account), LISTS);
        while let Some(some) = lists.next(reader).await? {
            for (key, list) in some {
                // What a damaged list had is listed once more, and goes later than it could.
                for page in readable_list(&key, &list)?.unwrap_or_default() {
                    pages.remove(&page);
                }
            }
        }
        // States go with their records.
        let mut record = None;
        let of_record = |snapshot: Snapshot, going: bool| {
            let id = PageId(snapshot.record.state_root.0);
            pages.remove(&PageRef { birth: snapshot.number, id }.into());
            if !going {
                record = Some(snapshot.record);
            }
        };
        for_each_snapshot(reader, account, of_record).await?;
        Ok(Self { pages, record })
    }
}

impl Snapshots {
    /// The key of the state of snapshot `number`, whose record cannot be read: among the pages that it
    /// wrote, the one that is a state with that name.
    pub(super) async fn state_of_damaged(
        &self,
        account: AccountId,
        number: u64,
    ) -> Result<Option<Bytes>, SnapshotError> {
        let (entry, _) = account_entry(&**self.store.engine(), account).await?;
        let Some(secret) = entry.secret else { return Ok(None) };
        let mut written = Pages::prefix(SNAPSHOT_PAGES, &keys::snapshot(account, number), PAGE);
        while let Some(some) = written.next(&**self.store.engine()).await? {
            for (key, value) in some {
                let root = unpack(&value).and_then(|octets| State::root_of(&octets, &secret));
                if root.is_some_and(|root| keys::state(account, number, root.0) == key) {
                    return Ok(Some(key));
                }
            }
        }
        Ok(None)
    }

    /// The snapshot before `number`, as far as messages depend on it.
    pub(super) async fn before(
        &self,
        account: &Account,
        number: u64,
    ) -> Result<Option<KeptSnapshot>, SnapshotError> {
        let id = account.id();
        let end = Some(keys::snapshot(id, number));
        let before = Scan { end, reverse: true, ..scan_of(id, 1) };
        let Some((key, value)) = self.store.engine().scan(&before).await?.pop() else {
            return Ok(None);
        };
        if let Some((snapshot, _)) = readable(&key, &value)? {
            return Ok(Some(snapshot.kept()));
        }
        let (_, number) = keys::snapshot_of(&key)?;
        let email_numbers_below = account.state().await?.next_email_number();
        Ok(Some(KeptSnapshot { number, email_numbers_below, mod_seq: ModSeq(0) }))
    }

    /// Lets the snapshot go that the account's head names, when its record is lost.
    pub(super) async fn forget_lost(&self, account: &Account) -> Result<(), SnapshotError> {
        let id = account.id();
        let Some(number) = account.state().await?.latest_snapshot() else { return Ok(()) };
        let from = Scan { start: keys::snapshot(id, number), ..scan_of(id, 1) };
        // With one behind it, it is not known what departed after which.
        if !self.store.engine().scan(&from).await?.is_empty() {
            return Ok(());
        }
        tracing::error!(account = %id, number, "the record of the latest snapshot is lost: what only it had is removed");
        let previous = self.before(account, number).await?;
        let before = previous.map_or(0, |previous| previous.number);
        // The head comes last: it names the snapshot until nothing of it is left.
        self.remove_born_after(id, before, number).await?;
        let listed = self.scan(DEPARTED_PAGES, &keys::snapshot(id, number), None);
        self.remove_all(listed).await?;
        let also = Batch::default();
        account.forget_snapshot(ForgetSnapshot { number, previous, also }).await?;
        Ok(())
    }

    /// Removes pages born after the latest snapshot: takes that never ended wrote them ahead, be it
    /// before a back-up was restored.
    pub(super) async fn remove_leftovers(&self, account: AccountId) -> Result<u64, SnapshotError> {
        let mut pages = Pages::new(Scan { reverse: true, ..scan_of(account, LISTS) });
        let mut latest = None;
        while let Some(page) = pages.next(&**self.store.engine()).await? {
            // A key of another layout is no snapshot's.
            latest = page.iter().find_map(|(key, _)| Some(keys::snapshot_of(key).ok()?.1));
            if latest.is_some() {
                break;
            }
        }
        let start = keys::snapshot(account, latest.unwrap_or(0).saturating_add(1));
        let all = self.scan(SNAPSHOT_PAGES, &keys::account(account), None);
        self.remove_all(Scan { start, ..all }).await
    }
}
