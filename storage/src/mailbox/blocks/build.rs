//! Builds blocks, beside everything else that goes on.
//!
//! * Rows are read from a snapshot, a bounded number at a time; what was read is committed before
//!   more is. A crash between leaves a list that names what is finished.
//! * A step commits only if the list is the one it began with, and the mailbox is there: so two
//!   builders never mix, and no block comes after its mailbox was deleted.
//! * While some blocks are new and others are not, the list keeps its old `as_of`: applying a change
//!   to a block that has it already changes nothing.
//! * Nobody waits for a block: the batches ask for no sync.
//!
//! Not here: when to build and how fast (whoever calls, by [`Pace`]).

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{
    BLOCKS_AT_ONCE, SPARSE, VERSION, format,
    list::{self, BlockList},
    read::{BlockReader, Rows, is_current, rows_between},
    touched,
};
use crate::{
    account::{Account, after, draft::Draft, queue::Change, read},
    catalog::{
        engine::{Reader, Scan},
        keys,
        pages::Pages,
        records::MailboxRecord,
    },
    error::StoreError,
    ids::{AccountId, MailboxId, ModSeq, Uid},
    mailbox::{rows::row_at, view::ListedMessage},
    sealed::{Opener, mark, seal},
};

/// Changes that make new blocks worth while: this share of a window, or of the mailbox when that
/// is more.
const CHANGES_OF_WINDOW: u64 = 2;
const CHANGES_OF_MAILBOX: u64 = 64;

/// Told after every step how many rows or summaries it read; says whether to go on.
pub type Pace<'p> = &'p (dyn Fn(u64) -> BoxFuture<'static, bool> + Send + Sync);

/// What a run of the builder did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BlockReport {
    /// Mailboxes and accounts that were looked at.
    pub looked_at: u64,
    /// Blocks of mailboxes that were written.
    pub blocks: u64,
    /// Rows that were read for them.
    pub rows: u64,
    /// Blocks of headers that were written.
    pub header_blocks: u64,
    /// Summaries that were read for them.
    pub summaries: u64,
    /// Whether the run was told to stop.
    pub stopped: bool,
}

/// Changes of a mailbox after which its blocks are looked at.
pub(crate) fn enough_changes(span: u32) -> u64 {
    (u64::from(span) / CHANGES_OF_WINDOW).max(1)
}

/// What is to be done for one mailbox.
struct Plan {
    /// The list's octets as they stand.
    expected: Option<Bytes>,
    /// What the next step begins with.
    list: BlockList,
    /// Windows whose blocks are behind, ascending.
    behind: VecDeque<u32>,
    /// Windows all of whose UIDs are given.
    windows: u32,
    /// Which `as_of` the finished list has.
    as_of: ModSeq,
    /// Keys of blocks that no list names.
    stale: Vec<Bytes>,
}

/// Builds the blocks of `mailbox` that are missing or far behind. With `verify` every block is
/// read, and built anew when it cannot be.
pub(crate) async fn build(
    account: &Account,
    mailbox: MailboxId,
    verify: bool,
    pace: Pace<'_>,
    report: &mut BlockReport,
) -> Result<(), StoreError> {
    report.looked_at += 1;
    let span = account.core.limits.block_rows;
    let snapshot = account.core.engine.snapshot().await?;
    let plan = plan(&*snapshot, account.id(), mailbox, span, verify).await?;
    drop(snapshot);
    let Some(mut plan) = plan else { return Ok(()) };
    loop {
        let snapshot = account.core.engine.snapshot().await?;
        let (step, rows) = plan.step(&*snapshot, account.id(), mailbox).await?;
        drop(snapshot);
        report.rows += rows;
        report.blocks += step.put.len() as u64;
        let list = step.list.clone();
        if !account.queue.submit(&account.core, step).await? {
            return Ok(());
        }
        if !pace(rows).await {
            report.stopped = true;
            return Ok(());
        }
        if plan.is_done() {
            return Ok(());
        }
        plan.expected = Some(list);
    }
}

/// What is to be done; `None` = nothing is worth while.
async fn plan(
    snapshot: &dyn Reader,
    account: AccountId,
    mailbox: MailboxId,
    span: u32,
    verify: bool,
) -> Result<Option<Plan>, StoreError> {
    let key = keys::mailbox(account, mailbox);
    let record = read::<MailboxRecord>(snapshot, keys::MAILBOXES, &key).await?;
    let Some(record) = record.filter(|record| !record.deleting) else { return Ok(None) };
    let given = u32::try_from(record.uid_next.saturating_sub(1)).unwrap_or(u32::MAX);
    let windows = given / span;
    let as_of = ModSeq(record.highest_mod_seq);
    let found = list::read(snapshot, &mut Opener::new()?, account, mailbox).await?;
    let usable = found.list.filter(|list| list.span == span && is_current(list, &record));
    let Some(list) = usable else {
        let few = windows == 0 || record.exists * u64::from(SPARSE) < u64::from(span);
        if found.value.is_none() && few {
            return Ok(None);
        }
        let stale = block_keys(snapshot, account, mailbox).await?;
        let (list, behind) = (BlockList::new(span, as_of), VecDeque::new());
        return Ok(Some(Plan { expected: found.value, list, behind, windows, as_of, stale }));
    };
    let (mut behind, changes) = changed_windows(snapshot, account, mailbox, &list).await?;
    if verify {
        behind.extend(unreadable(snapshot, account, mailbox, &record).await?);
    }
    let enough = enough_changes(span).max(record.exists / CHANGES_OF_MAILBOX);
    if changes < enough && windows <= list.windows && !verify {
        return Ok(None);
    }
    let (behind, stale) = (behind.into_iter().collect(), Vec::new());
    Ok(Some(Plan { expected: found.value, list, behind, windows, as_of, stale }))
}

/// Windows with a block of which rows changed after the list's `as_of`, and how many rows did.
async fn changed_windows(
    snapshot: &dyn Reader,
    account: AccountId,
    mailbox: MailboxId,
    list: &BlockList,
) -> Result<(BTreeSet<u32>, u64), StoreError> {
    let (mut windows, mut changes) = (BTreeSet::new(), 0);
    let mut note = |uid: Uid| {
        let window = list.window_of(uid);
        if list.blocks.binary_search_by_key(&window, |listed| listed.window).is_ok() {
            windows.insert(window);
            changes += 1;
        }
        true
    };
    touched::each_changed(snapshot, account, mailbox, list.as_of, &mut note).await?;
    for uid in touched::expunged(snapshot, account, mailbox, list.as_of).await? {
        note(uid);
    }
    Ok((windows, changes))
}

/// Windows whose blocks cannot be read.
async fn unreadable(
    snapshot: &dyn Reader,
    account: AccountId,
    mailbox: MailboxId,
    record: &MailboxRecord,
) -> Result<Vec<u32>, StoreError> {
    let (reader, _) = BlockReader::open(snapshot, account, mailbox, record).await?;
    let Some(mut reader) = reader else { return Ok(Vec::new()) };
    let listed = std::mem::take(&mut reader.list.blocks);
    let mut windows = Vec::new();
    for some in listed.chunks(BLOCKS_AT_ONCE) {
        for (listed, value) in some.iter().zip(reader.values(some).await?) {
            if reader.rows_of(*listed, value.as_ref()).await? == Rows::Unreadable {
                windows.push(listed.window);
            }
        }
    }
    Ok(windows)
}

/// The keys of everything but the list.
async fn block_keys(
    snapshot: &dyn Reader,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<Vec<Bytes>, StoreError> {
    let prefix = keys::mailbox(account, mailbox);
    let mut scan = Scan::prefix(keys::MAILBOX_BLOCKS, &prefix, BLOCKS_AT_ONCE);
    scan.start = after(&keys::mailbox_block(account, mailbox, 0));
    let (mut pages, mut found) = (Pages::new(scan), Vec::new());
    while let Some(page) = pages.next(snapshot).await? {
        found.extend(page.into_iter().map(|(key, _)| key));
    }
    Ok(found)
}

impl Plan {
    fn is_done(&self) -> bool {
        self.behind.is_empty() && self.list.windows >= self.windows
    }

    /// Reads the rows of some windows and makes their blocks; returns how many rows it read.
    async fn step(
        &mut self,
        snapshot: &dyn Reader,
        account: AccountId,
        mailbox: MailboxId,
    ) -> Result<(PutBlocks, u64), StoreError> {
        let delete = std::mem::take(&mut self.stale);
        let expected = self.expected.take();
        let list_key = keys::mailbox_block(account, mailbox, 0);
        let mut step = PutBlocks { mailbox, expected, list: Bytes::new(), put: Vec::new(), delete };
        let mut read = 0;
        if self.behind.is_empty() {
            read += self.new_windows(snapshot, (account, mailbox), &mut step).await?;
        } else {
            for _ in 0..BLOCKS_AT_ONCE {
                let Some(window) = self.behind.pop_front() else { break };
                let before = u64::from(self.list.before(window));
                let uids = before + 1..=before + u64::from(self.list.span);
                let mut rows = Vec::new();
                rows_between(snapshot, account, mailbox, uids, &mut rows).await?;
                read += rows.len() as u64;
                self.set(account, window, &rows, &mut step)?;
            }
        }
        if self.is_done() {
            self.list.as_of = self.as_of;
        }
        step.list = self.list.seal(&list_key)?;
        Ok((step, read))
    }

    /// Goes on behind the last window that was looked at.
    async fn new_windows(
        &mut self,
        snapshot: &dyn Reader,
        (account, mailbox): (AccountId, MailboxId),
        step: &mut PutBlocks,
    ) -> Result<u64, StoreError> {
        if self.list.windows >= self.windows {
            return Ok(0);
        }
        let key = |before: u32| {
            let first =
                Uid::new(before.saturating_add(1)).unwrap_or(Uid(std::num::NonZeroU32::MAX));
            keys::row(account, mailbox, first)
        };
        let limit = BLOCKS_AT_ONCE * self.list.span as usize;
        let mut scan = Scan::prefix(keys::MAILBOX_ROWS, &keys::mailbox(account, mailbox), limit);
        scan.start = key(self.list.before(self.list.windows));
        scan.end = Some(after(&keys::row(account, mailbox, self.last_uid())));
        let page = snapshot.scan(&scan).await?;
        let rows: Result<Vec<ListedMessage>, StoreError> =
            page.iter().map(|(key, value)| Ok(row_at(key, value)?.into())).collect();
        let rows = rows?;
        // The last window of a full page may be cut off; it has fewer rows than the page.
        let whole = match rows.last() {
            Some(last) if rows.len() == limit => last.uid.get() / self.list.span,
            _ => self.windows,
        };
        let list = self.list.clone();
        for rows in rows.chunk_by(|one, next| list.window_of(one.uid) == list.window_of(next.uid)) {
            let Some(window) = rows.first().map(|row| list.window_of(row.uid)) else { continue };
            if window < whole {
                self.set(account, window, rows, step)?;
            }
        }
        self.list.windows = whole;
        Ok(rows.len() as u64)
    }

    /// The last UID of the windows that can have blocks.
    fn last_uid(&self) -> Uid {
        Uid::new(self.list.before(self.windows)).unwrap_or(Uid(std::num::NonZeroU32::MIN))
    }

    /// Makes the block of `window`, or takes it away when it has few rows.
    fn set(
        &mut self,
        account: AccountId,
        window: u32,
        rows: &[ListedMessage],
        step: &mut PutBlocks,
    ) -> Result<(), StoreError> {
        let before = self.list.before(window);
        let key = keys::mailbox_block(account, step.mailbox, before.saturating_add(1));
        let few = rows.is_empty() || rows.len() as u64 * u64::from(SPARSE) < self.list.span.into();
        let plain = if few { None } else { format::encode(before, rows) };
        let Some(plain) = plain else {
            self.list.set(window, None);
            step.delete.push(key);
            return Ok(());
        };
        let value = seal(VERSION, &key, &plain)?;
        self.list.set(window, Some(mark(&value)));
        step.put.push((key, value));
        Ok(())
    }
}

/// Some blocks and the list that names them, as a change of the account. Says whether they were
/// written: not when the list is another meanwhile.
struct PutBlocks {
    mailbox: MailboxId,
    expected: Option<Bytes>,
    list: Bytes,
    put: Vec<(Bytes, Bytes)>,
    delete: Vec<Bytes>,
}

#[async_trait::async_trait]
impl Change for PutBlocks {
    type Outcome = bool;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<bool, StoreError> {
        draft.mailbox(self.mailbox).await?;
        let key = keys::mailbox_block(draft.account, self.mailbox, 0);
        if draft.get(keys::MAILBOX_BLOCKS, &key).await? != self.expected {
            return Ok(false);
        }
        for key in &self.delete {
            draft.change_lazily(keys::MAILBOX_BLOCKS, key.clone(), None);
        }
        for (key, value) in &self.put {
            draft.change_lazily(keys::MAILBOX_BLOCKS, key.clone(), Some(value.clone()));
        }
        draft.change_lazily(keys::MAILBOX_BLOCKS, key, Some(self.list.clone()));
        Ok(true)
    }

    fn weight(&self) -> usize {
        self.list.len() + self.put.iter().map(|(_, value)| value.len()).sum::<usize>()
    }
}

/// Passes over a mailbox or account that is gone or cannot be read: the check names the damage.
pub(crate) fn passed_over(outcome: Result<(), StoreError>) -> Result<(), StoreError> {
    match outcome {
        Err(
            StoreError::NoSuchMailbox { .. }
            | StoreError::NoSuchAccount(_)
            | StoreError::Conflict
            | StoreError::Damaged { .. }
            | StoreError::TooNew { .. },
        ) => Ok(()),
        other => other,
    }
}
