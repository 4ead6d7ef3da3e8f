//! The messages of a mailbox by way of its blocks.
//!
//! * All reads are from one snapshot of the catalog.
//! * Every block is brought up to the snapshot's state before anybody sees it: rows that changed
//!   after the list's `as_of` are read as rows, expunged ones are left out.
//! * What adds up to other counters than the mailbox's is not believed; then the rows are read.
//! * Besides the list it returns it holds a few blocks and, of each change after `as_of`, the UID.
//!
//! Not here: whether blocks are worth being built (`due`).

use bytes::Bytes;

use super::{
    BLOCKS_AT_ONCE, PLAIN_OCTETS_MAX, VERSION, format,
    list::{self, BlockList, Listed},
    touched,
};
use crate::{
    catalog::{
        engine::{Reader, Scan},
        keys,
        pages::Pages,
        records::{self, MailboxRecord},
    },
    error::StoreError,
    ids::{AccountId, MailboxId, ModSeq, Uid},
    mailbox::{rows::row_at, view::ListedMessage},
    sealed::{Opener, mark},
};

/// Rows read at once.
const PAGE: usize = 1_000;

/// A block of which more than one row in so many changed is not used: reading all rows costs less.
const CHANGED_SHARE: usize = 8;

/// The messages of a mailbox, and where they were read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    /// The MODSEQ that the list stands for.
    pub mod_seq: ModSeq,
    /// Ascending by UID.
    pub messages: Vec<ListedMessage>,
    /// Blocks that were used.
    pub blocks: usize,
    /// Some block or list could not be used and should be built anew.
    pub unusable: bool,
}

/// Lists the messages of a mailbox, whose record is `record`.
pub(crate) async fn listing(
    snapshot: &dyn Reader,
    account: AccountId,
    mailbox: MailboxId,
    record: &MailboxRecord,
) -> Result<Listing, StoreError> {
    let mut messages = Vec::new();
    let mod_seq = ModSeq(record.highest_mod_seq);
    let (reader, mut unusable) = BlockReader::open(snapshot, account, mailbox, record).await?;
    let mut blocks = 0;
    let mut next = 1;
    if let Some(mut reader) = reader {
        let listed = std::mem::take(&mut reader.list.blocks);
        for some in listed.chunks(BLOCKS_AT_ONCE) {
            for (listed, value) in some.iter().zip(reader.values(some).await?) {
                let rows = reader.rows_of(*listed, value.as_ref()).await?;
                unusable |= rows == Rows::Unreadable;
                let Rows::Are(mut rows) = rows else { continue };
                let before = u64::from(reader.list.before(listed.window));
                rows_between(snapshot, account, mailbox, next..=before, &mut messages).await?;
                messages.append(&mut rows);
                next = before + u64::from(reader.list.span) + 1;
                blocks += 1;
            }
            // Decompressing is work: others get their turn.
            tokio::task::yield_now().await;
        }
    }
    let rest = next..=u64::from(u32::MAX);
    rows_between(snapshot, account, mailbox, rest, &mut messages).await?;
    if blocks > 0 && !adds_up(&messages, record) {
        (blocks, unusable) = (0, true);
        messages.clear();
        let all = 1..=u64::from(u32::MAX);
        rows_between(snapshot, account, mailbox, all, &mut messages).await?;
    }
    Ok(Listing { mod_seq, messages, blocks, unusable })
}

/// Whether `messages` give the mailbox's counters.
fn adds_up(messages: &[ListedMessage], record: &MailboxRecord) -> bool {
    let (mut unseen, mut deleted, mut octets) = (0, 0, 0_u64);
    for message in messages {
        unseen += u64::from(!message.flags.seen);
        deleted += u64::from(message.flags.deleted);
        octets = octets.wrapping_add(message.size);
    }
    (messages.len() as u64, unseen, deleted, octets)
        == (record.exists, record.unseen, record.deleted, record.octets)
}

/// Reads the rows whose UIDs are in `uids`.
pub(crate) async fn rows_between(
    snapshot: &dyn Reader,
    account: AccountId,
    mailbox: MailboxId,
    uids: std::ops::RangeInclusive<u64>,
    messages: &mut Vec<ListedMessage>,
) -> Result<(), StoreError> {
    let uid = |number: u64| u32::try_from(number).ok().and_then(Uid::new);
    let Some(first) = uid(*uids.start()).filter(|_| !uids.is_empty()) else { return Ok(()) };
    let mut scan = Scan::prefix(keys::MAILBOX_ROWS, &keys::mailbox(account, mailbox), PAGE);
    scan.start = keys::row(account, mailbox, first);
    if let Some(end) = uid(uids.end() + 1) {
        scan.end = Some(keys::row(account, mailbox, end));
    }
    let mut pages = Pages::new(scan);
    while let Some(page) = pages.next(snapshot).await? {
        for (key, value) in &page {
            messages.push(row_at(key, value)?.into());
        }
    }
    Ok(())
}

/// What a block says of its window.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Rows {
    /// The rows of the window, as the snapshot has them.
    Are(Vec<ListedMessage>),
    /// Too many of them changed since.
    Changed,
    /// The block is gone, damaged, of a newer program, or not the one that the list names.
    Unreadable,
}

/// Reads blocks in one state of the catalog.
pub(crate) struct BlockReader<'s> {
    snapshot: &'s dyn Reader,
    account: AccountId,
    mailbox: MailboxId,
    opener: Opener,
    pub(crate) list: BlockList,
    /// UIDs below those of the tail whose rows changed after `as_of`, ascending.
    changed: Vec<Uid>,
    /// UIDs that are gone since, ascending.
    expunged: Vec<Uid>,
}

impl<'s> BlockReader<'s> {
    /// Reads the list and what changed since; `None` when there is no list that can be used, and
    /// whether there is one that cannot.
    pub(crate) async fn open(
        snapshot: &'s dyn Reader,
        account: AccountId,
        mailbox: MailboxId,
        record: &MailboxRecord,
    ) -> Result<(Option<Self>, bool), StoreError> {
        let mut opener = Opener::new()?;
        let found = list::read(snapshot, &mut opener, account, mailbox).await?;
        let there = found.value.is_some();
        let Some(list) = found.list.filter(|list| is_current(list, record)) else {
            return Ok((None, there));
        };
        let (mut changed, mut expunged) = (Vec::new(), Vec::new());
        if list.as_of.0 < record.highest_mod_seq {
            let (since, changed) = (list.as_of, &mut changed);
            let take = |uid| {
                if list.reaches(uid) {
                    changed.push(uid);
                }
                true
            };
            touched::each_changed(snapshot, account, mailbox, since, take).await?;
            changed.sort_unstable();
            expunged = touched::expunged(snapshot, account, mailbox, since).await?;
        }
        let reader = Self { snapshot, account, mailbox, opener, list, changed, expunged };
        Ok((Some(reader), false))
    }

    /// What stands under the keys of `listed`.
    pub(crate) async fn values(&self, listed: &[Listed]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let key = |listed: &Listed| (keys::MAILBOX_BLOCKS, self.key(listed.window));
        self.snapshot.multi_get(&listed.iter().map(key).collect::<Vec<_>>()).await
    }

    fn key(&self, window: u32) -> Bytes {
        keys::mailbox_block(self.account, self.mailbox, self.list.before(window).saturating_add(1))
    }

    /// The rows of a block's window, given what stands under its key.
    pub(crate) async fn rows_of(
        &mut self,
        listed: Listed,
        value: Option<&Bytes>,
    ) -> Result<Rows, StoreError> {
        let (key, before) = (self.key(listed.window), self.list.before(listed.window));
        let Some(value) = value.filter(|value| mark(value) == listed.mark) else {
            return Ok(Rows::Unreadable);
        };
        let last = before.saturating_add(self.list.span);
        let changed = between(&self.changed, before, last);
        let expunged = between(&self.expunged, before, last);
        let opened = self.opener.open(VERSION, &key, value, PLAIN_OCTETS_MAX).ok();
        let rows = opened.and_then(|plain| format::decode(before, self.list.span, &plain));
        let Some(mut rows) = rows else { return Ok(Rows::Unreadable) };
        if changed.len() * CHANGED_SHARE > rows.len() {
            return Ok(Rows::Changed);
        }
        if !expunged.is_empty() {
            rows.retain(|row| expunged.binary_search(&row.uid).is_err());
        }
        self.replace(&mut rows, changed).await?;
        Ok(Rows::Are(rows))
    }

    /// Puts the present rows of `changed` in the places of the old ones.
    async fn replace(
        &self,
        rows: &mut Vec<ListedMessage>,
        changed: &[Uid],
    ) -> Result<(), StoreError> {
        if changed.is_empty() {
            return Ok(());
        }
        let key = |uid: &Uid| keys::row(self.account, self.mailbox, *uid);
        let asked: Vec<_> = changed.iter().map(|uid| (keys::MAILBOX_ROWS, key(uid))).collect();
        let values = self.snapshot.multi_get(&asked).await?;
        for ((uid, (family, key)), value) in changed.iter().zip(&asked).zip(values) {
            let value = value.ok_or_else(|| {
                records::damaged(*family, key, "MODSEQ index names a missing row".to_owned())
            })?;
            let row = records::decode_row(key, *uid, &value)?.into();
            match rows.binary_search_by_key(uid, |row| row.uid) {
                Ok(index) => rows[index] = row,
                Err(index) => rows.insert(index, row),
            }
        }
        Ok(())
    }
}

/// Whether the changes since the list's `as_of` are all known.
pub(crate) fn is_current(list: &BlockList, record: &MailboxRecord) -> bool {
    (record.expunge_floor..=record.highest_mod_seq).contains(&list.as_of.0)
}

/// Those of `uids`, which ascend, that are above `before` and not above `last`.
fn between(uids: &[Uid], before: u32, last: u32) -> &[Uid] {
    let from = uids.partition_point(|uid| uid.get() <= before);
    let to = uids.partition_point(|uid| uid.get() <= last);
    uids.get(from..to).unwrap_or_default()
}
