//! Figures of a store: what messages add up to, and what the disk holds of them.
//!
//! *Logical* octets are RFC822.SIZE, counted for every row. *Physical* octets are the stored forms
//! of chunks (compressed), each counted once. Recipes, summaries and rows are in neither.
//!
//! * A message without rows that a snapshot still holds is told apart: it is charged to nobody, and its
//!   octets are not among the logical ones. Its chunks are physical octets like all others.
//! * A chunk that several accounts share counts in full for each of them
//!   ([`AccountFigures::physical_octets`]), so that the accounts' figures add up to more than the
//!   store's. [`Shares`] says what an account has for itself.
//! * Memory is bounded whatever the account's size: StoredIds are spread evenly over their space, so
//!   they are gathered partition by partition, at most about [`IDS_MAX`] at a time.
//! * One account is counted from one state; the whole store beside its writers, page by page.
//! * [`Caches`] are of this process and begin at nothing when the store is opened.
//!
//! Not here: usage that a quota is held against (`account::quota`).

use std::{collections::BTreeMap, ops::RangeInclusive};

use crate::{
    account::{capture::departed_at, message_name, read},
    catalog::{
        engine::{Family, Reader},
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, HeadRecord, HeldRecord, MailboxRecord},
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, StoredId},
    octets::{OctetStore, StoredMessage},
    pack::{
        cache::CacheFigures,
        disk_cache::DiskCache,
        index::{CHUNK_INDEX, IndexRow, Place, stored_id_key, stored_id_of},
    },
    store::StoreCore,
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// StoredIds gathered at once, about: 32 MiB.
const IDS_MAX: u64 = 1 << 20;

/// What one account keeps.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AccountFigures {
    /// Rows.
    pub rows: u64,
    /// Messages with rows: rows that share one counted once.
    pub messages: u64,
    /// Messages without rows that snapshots hold.
    pub snapshot_messages: u64,
    /// Sum of their RFC822.SIZE.
    pub snapshot_octets: u64,
    /// Octets charged to the holder.
    pub charged_octets: u64,
    /// Sum of RFC822.SIZE over the rows.
    pub logical_octets: u64,
    /// Stored octets of the chunks that its messages need, each chunk once, shared or not.
    pub physical_octets: u64,
    /// Chunks that its messages need.
    pub chunks: u64,
}

impl AccountFigures {
    /// What storing each chunk once, compressed, saves.
    #[must_use]
    pub fn saved_octets(&self) -> u64 {
        self.logical_octets
            .saturating_add(self.snapshot_octets)
            .saturating_sub(self.physical_octets)
    }
}

/// How the chunks of an account are shared with other accounts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Shares {
    /// Stored octets of chunks that no other account refers to: what closing this one gives back.
    pub exclusive_octets: u64,
    /// Stored octets, those of each chunk divided by the accounts that refer to it. Over all
    /// accounts they add up to the stored octets of all chunks in use, less one octet for each
    /// division that leaves a rest.
    pub proportional_octets: u64,
}

/// What the whole store keeps.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TotalFigures {
    /// Accounts.
    pub accounts: u64,
    /// Rows of all accounts.
    pub rows: u64,
    /// Octets charged to the holders.
    pub charged_octets: u64,
    /// Sum of RFC822.SIZE over the rows of all accounts.
    pub logical_octets: u64,
    /// Messages without rows that snapshots hold.
    pub snapshot_messages: u64,
    /// Sum of their RFC822.SIZE.
    pub snapshot_octets: u64,
    /// Held messages: owned by a floor above, not by a mailbox.
    pub held_messages: u64,
    /// Sum of their sizes.
    pub held_octets: u64,
    /// Chunks of the store, those that nobody needs any more included until they are collected.
    pub chunks: u64,
    /// Their octets, decompressed.
    pub plain_octets: u64,
    /// Their stored octets.
    pub physical_octets: u64,
    /// The part of `physical_octets` that waits in the catalog for the packer.
    pub staged_octets: u64,
    /// The part of `physical_octets` that lies under the colder prefix.
    pub cold_octets: u64,
}

impl TotalFigures {
    /// What storing each chunk once, compressed, saves.
    #[must_use]
    pub fn saved_octets(&self) -> u64 {
        let kept = self.logical_octets.saturating_add(self.snapshot_octets);
        kept.saturating_add(self.held_octets).saturating_sub(self.physical_octets)
    }
}

/// What the caches of chunks have done in this process, and what they hold.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Caches {
    /// Plain chunks in memory.
    pub memory: CacheFigures,
    /// Stored forms on the local disk, where packs are far away.
    pub disk: Option<CacheFigures>,
}

impl Caches {
    pub(crate) fn of(octets: &OctetStore) -> Self {
        let disk = octets.disk.as_ref().map(DiskCache::figures);
        Self { memory: octets.cache.figures(), disk }
    }
}

/// The figures of `id`. [`StoreError::NoSuchAccount`].
pub(crate) async fn of_account(
    core: &StoreCore,
    id: AccountId,
) -> Result<AccountFigures, StoreError> {
    let snapshot = core.engine.snapshot().await?;
    let head = read::<HeadRecord>(&*snapshot, keys::ACCOUNT_HEADS, &keys::account(id)).await?;
    let head = head.ok_or(StoreError::NoSuchAccount(id))?;
    let (snapshot_messages, snapshot_octets) = departed(&*snapshot, &keys::account(id)).await?;
    let mut figures = AccountFigures {
        rows: head.usage_messages,
        snapshot_messages,
        snapshot_octets,
        charged_octets: head.usage_octets,
        logical_octets: mailbox_octets(&*snapshot, id).await?,
        ..AccountFigures::default()
    };
    let mut named = 0;
    for_each_message(&*snapshot, &keys::account(id), |_, ids| {
        figures.messages += 1;
        named += ids.len() as u64;
    })
    .await?;
    figures.messages = figures.messages.saturating_sub(figures.snapshot_messages);
    for partition in partitions(named) {
        let ids = ids_of(&*snapshot, id, &partition).await?;
        figures.chunks += ids.len() as u64;
        for page in ids.chunks(PAGE) {
            let sizes = stored_octets(&*snapshot, page.iter().copied()).await?;
            figures.physical_octets += sizes.iter().sum::<u64>();
        }
    }
    Ok(figures)
}

/// How `id` shares its chunks. Reads the message records of every account, once or more often.
pub(crate) async fn shares(core: &StoreCore, id: AccountId) -> Result<Shares, StoreError> {
    let engine = &*core.engine;
    let mut named = 0;
    for_each_message(engine, &keys::account(id), |_, ids| named += ids.len() as u64).await?;
    let mut shares = Shares::default();
    for partition in partitions(named) {
        // For each chunk: the other account that named it last, and how many have.
        let mut used_by: BTreeMap<StoredId, (Option<AccountId>, u64)> =
            ids_of(engine, id, &partition).await?.into_iter().map(|id| (id, (None, 0))).collect();
        for_each_message(engine, &[], |account, ids| {
            if account == id {
                return;
            }
            for stored in ids.iter().filter(|stored| within(stored, &partition)) {
                if let Some((last, others)) = used_by.get_mut(stored)
                    && *last != Some(account)
                {
                    *last = Some(account);
                    *others += 1;
                }
            }
        })
        .await?;
        let used_by: Vec<(StoredId, u64)> =
            used_by.into_iter().map(|(stored, (_, others))| (stored, others)).collect();
        for page in used_by.chunks(PAGE) {
            let sizes = stored_octets(engine, page.iter().map(|(stored, _)| *stored)).await?;
            for ((_, others), octets) in page.iter().zip(sizes) {
                shares.exclusive_octets += if *others == 0 { octets } else { 0 };
                shares.proportional_octets += octets / (others + 1);
            }
        }
    }
    Ok(shares)
}

/// The figures of the whole store.
pub(crate) async fn of_store(core: &StoreCore) -> Result<TotalFigures, StoreError> {
    let engine = &*core.engine;
    let mut total = TotalFigures::default();
    for_each(engine, keys::ACCOUNT_HEADS, &[], |key, value| {
        let head: HeadRecord = records::decode(keys::ACCOUNT_HEADS, key, value)?;
        total.accounts += 1;
        total.rows += head.usage_messages;
        total.charged_octets += head.usage_octets;
        Ok(())
    })
    .await?;
    for_each(engine, keys::MAILBOXES, &[], |key, value| {
        total.logical_octets +=
            records::decode::<MailboxRecord>(keys::MAILBOXES, key, value)?.octets;
        Ok(())
    })
    .await?;
    (total.snapshot_messages, total.snapshot_octets) = departed(engine, &[]).await?;
    for_each(engine, keys::HELD_MESSAGES, &[], |key, value| {
        let record: HeldRecord = records::decode(keys::HELD_MESSAGES, key, value)?;
        let object = || keys::object(keys::HELD_MESSAGES, key);
        total.held_messages += 1;
        total.held_octets += StoredMessage::decode_identity(&record.message, object)?.0;
        Ok(())
    })
    .await?;
    for_each(engine, CHUNK_INDEX, &[], |key, value| {
        let row = index_row(key, value)?;
        total.chunks += 1;
        total.plain_octets += u64::from(row.plain_octets);
        total.physical_octets += u64::from(row.stored_octets);
        match row.place {
            Place::Staged { .. } => total.staged_octets += u64::from(row.stored_octets),
            Place::Packed { pack, .. } if pack.is_cold() => {
                total.cold_octets += u64::from(row.stored_octets);
            }
            Place::Packed { .. } => {}
        }
        Ok(())
    })
    .await?;
    Ok(total)
}

/// Number and octets of the departed messages whose keys begin with `prefix`. One that is gone
/// meanwhile counts for nothing.
async fn departed(
    reader: &(impl Reader + ?Sized),
    prefix: &[u8],
) -> Result<(u64, u64), StoreError> {
    let (mut messages, mut octets) = (0, 0_u64);
    let mut pages = Pages::prefix(keys::DEPARTED_MESSAGES, prefix, PAGE);
    while let Some(page) = pages.next(reader).await? {
        for (key, _) in &page {
            let account = AccountId(KeyReader::new(keys::DEPARTED_MESSAGES, key).take_u64()?);
            let (_, number) = departed_at(key)?;
            // One record at a time: each may have a mebibyte.
            let record = reader.get(keys::MESSAGES, &keys::message(account, number)).await?;
            let Some(record) = record else { continue };
            let name = || message_name(account, number);
            messages += 1;
            octets = octets.saturating_add(StoredMessage::decode_identity(&record, name)?.0);
        }
    }
    Ok((messages, octets))
}

async fn mailbox_octets(reader: &dyn Reader, id: AccountId) -> Result<u64, StoreError> {
    let mut octets = 0;
    for_each(reader, keys::MAILBOXES, &keys::account(id), |key, value| {
        octets += records::decode::<MailboxRecord>(keys::MAILBOXES, key, value)?.octets;
        Ok(())
    })
    .await?;
    Ok(octets)
}

/// Parts of the StoredId space of which each holds about [`IDS_MAX`] of `named` ids, as the first
/// eight octets of the ids in it.
fn partitions(named: u64) -> impl Iterator<Item = RangeInclusive<u64>> {
    let count = named.div_ceil(IDS_MAX).max(1);
    // 2⁶⁴ · part / count, which is below 2⁶⁴ for every part but the last one's end.
    let edge = move |part: u64| (u128::from(part) << 64) / u128::from(count);
    let low = |edge: u128| u64::try_from(edge).unwrap_or(u64::MAX);
    (0..count).map(move |part| low(edge(part))..=low(edge(part + 1) - 1))
}

fn within(stored: &StoredId, partition: &RangeInclusive<u64>) -> bool {
    let (first, _) = stored.0.split_first_chunk().unwrap_or((&[0; 8], &[]));
    partition.contains(&u64::from_be_bytes(*first))
}

/// The chunks of account `id` in `partition`, ascending, each once.
async fn ids_of(
    reader: &(impl Reader + ?Sized),
    id: AccountId,
    partition: &RangeInclusive<u64>,
) -> Result<Vec<StoredId>, StoreError> {
    let mut found = Vec::new();
    for_each_message(reader, &keys::account(id), |_, ids| {
        found.extend(ids.iter().filter(|stored| within(stored, partition)));
    })
    .await?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The stored octets of `ids`; 0 for what is not in the index, which `check` reports.
async fn stored_octets(
    reader: &(impl Reader + ?Sized),
    ids: impl Iterator<Item = StoredId>,
) -> Result<Vec<u64>, StoreError> {
    let asked: Vec<_> = ids.map(|stored| (CHUNK_INDEX, stored_id_key(stored))).collect();
    let rows = reader.multi_get(&asked).await?;
    asked
        .iter()
        .zip(rows)
        .map(|((_, key), row)| match row {
            Some(octets) => Ok(u64::from(index_row(key, &octets)?.stored_octets)),
            None => Ok(0),
        })
        .collect()
}

fn index_row(key: &[u8], value: &[u8]) -> Result<IndexRow, StoreError> {
    let stored = stored_id_of(key)
        .ok_or_else(|| records::damaged(CHUNK_INDEX, key, "its key is not 32 octets".to_owned()))?;
    IndexRow::decode(value, stored)
}

/// Calls `visit` with account and chunks of every message whose key begins with `prefix`.
async fn for_each_message(
    reader: &(impl Reader + ?Sized),
    prefix: &[u8],
    mut visit: impl FnMut(AccountId, &[StoredId]),
) -> Result<(), StoreError> {
    for_each(reader, keys::MESSAGES, prefix, |key, value| {
        let mut fields = KeyReader::new(keys::MESSAGES, key);
        let account = AccountId(fields.take_u64()?);
        let number = EmailNumber(fields.take_u64()?);
        let name = || message_name(account, number);
        visit(account, &StoredMessage::decode_stored_ids(value, name)?);
        Ok(())
    })
    .await
}

async fn for_each(
    reader: &(impl Reader + ?Sized),
    family: Family,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(family, prefix, PAGE);
    while let Some(page) = pages.next(reader).await? {
        for (key, value) in &page {
            visit(key, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_cover_the_whole_space_without_gaps() {
        for named in [0, 1, IDS_MAX, IDS_MAX + 1, 7 * IDS_MAX, u64::MAX / 3] {
            if named > 100 * IDS_MAX {
                assert!(partitions(named).next().is_some());
                continue;
            }
            let parts: Vec<_> = partitions(named).collect();
            assert_eq!(parts.len() as u64, named.div_ceil(IDS_MAX).max(1));
            assert_eq!(*parts[0].start(), 0);
            assert_eq!(*parts[parts.len() - 1].end(), u64::MAX);
            for pair in parts.windows(2) {
                assert_eq!(pair[0].end() + 1, *pair[1].start());
            }
        }
    }
}
