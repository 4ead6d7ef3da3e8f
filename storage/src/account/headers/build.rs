//! Builds header blocks, beside everything else that goes on.
//!
//! * Summaries are read from a snapshot, a few windows at a time; what was read is committed before
//!   more is.
//! * A step commits only if the list is the one it began with: so two builders never mix, and no
//!   block comes after its message was erased.
//! * When most entries are dead the account's blocks are built from the beginning.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    BLOCK_VERSION, SPARSE,
    list::HeaderList,
    page::{HeaderFields, HeaderPage},
    read::open,
};
use crate::{
    account::{Account, after, draft::Draft, message_name, queue::Change, read},
    catalog::{
        engine::{Reader, Scan},
        keys::{self, KeyReader},
        pages::Pages,
        records::HeadRecord,
    },
    error::StoreError,
    ids::{AccountId, EmailNumber},
    mailbox::blocks::build::{BlockReport, Pace},
    sealed::{Opener, seal_parts},
    summary::Summary,
};

/// Windows of one step.
const WINDOWS_PER_STEP: usize = 4;
/// Summaries read at once.
const PAGE: usize = 256;
/// Keys of blocks read at once; the values come with them.
const BLOCKS_AT_ONCE: usize = 8;

/// What is to be done for one account.
struct Plan {
    /// The list's octets as they stand.
    expected: Option<Bytes>,
    /// What the next step begins with.
    list: HeaderList,
    /// Windows that are to be built again.
    again: VecDeque<u64>,
    /// Windows all of whose numbers are given.
    windows: u64,
    /// Keys of blocks that no list names.
    stale: Vec<Bytes>,
}

/// Builds the header blocks of an account that are missing. With `verify` every block is read, and
/// built anew when it cannot be.
pub(crate) async fn build(
    account: &Account,
    verify: bool,
    pace: Pace<'_>,
    report: &mut BlockReport,
) -> Result<(), StoreError> {
    report.looked_at += 1;
    let snapshot = account.core.engine.snapshot().await?;
    let plan = plan(&*snapshot, account.id(), account.core.limits.block_rows, verify).await?;
    drop(snapshot);
    let Some(mut plan) = plan else { return Ok(()) };
    loop {
        let snapshot = account.core.engine.snapshot().await?;
        let (step, read) = plan.step(&*snapshot, account.id()).await?;
        drop(snapshot);
        report.summaries += read;
        report.header_blocks += step.put.len() as u64;
        let list = step.list.clone();
        if !account.queue.submit(&account.core, step).await? {
            return Ok(());
        }
        if !pace(read).await {
            report.stopped = true;
            return Ok(());
        }
        if plan.is_done() {
            return Ok(());
        }
        plan.expected = Some(list);
    }
}

/// What is to be done; `None` = nothing.
async fn plan(
    snapshot: &dyn Reader,
    account: AccountId,
    span: u32,
    verify: bool,
) -> Result<Option<Plan>, StoreError> {
    let key = keys::account(account);
    let head = read::<HeadRecord>(snapshot, keys::ACCOUNT_HEADS, &key).await?;
    let Some(head) = head else { return Ok(None) };
    let windows = head.next_email_number.saturating_sub(1) / u64::from(span);
    let expected = snapshot.get(keys::HEADER_BLOCKS, &HeaderList::key(account)).await?;
    let mut opener = Opener::new()?;
    let found = expected.as_ref().map(|value| HeaderList::open(&mut opener, account, value));
    let list = match found {
        None if windows == 0 => return Ok(None),
        None | Some(None) => HeaderList::new(span, 0),
        Some(Some(list)) if list.span != span || mostly_dead(&list, &head) => {
            HeaderList::new(span, list.removals.wrapping_add(1))
        }
        Some(Some(list)) => list,
    };
    let mut again = VecDeque::new();
    for (window, messages) in &list.blocks {
        let first = EmailNumber(list.before(*window) + 1);
        if *messages == 0
            || verify && !is_readable(snapshot, account, first, span, &mut opener).await?
        {
            again.push_back(*window);
        }
    }
    let from_the_beginning = list.windows == 0;
    if again.is_empty() && list.windows >= windows && !(from_the_beginning && expected.is_some()) {
        return Ok(None);
    }
    if from_the_beginning && windows == 0 {
        return Ok(None);
    }
    let stale = if from_the_beginning { block_keys(snapshot, account).await? } else { Vec::new() };
    Ok(Some(Plan { expected, list, again, windows, stale }))
}

/// Whether the block that begins with `first` is there and can be read.
async fn is_readable(
    snapshot: &dyn Reader,
    account: AccountId,
    first: EmailNumber,
    span: u32,
    opener: &mut Opener,
) -> Result<bool, StoreError> {
    let key = keys::message(account, first);
    let value = snapshot.get(keys::HEADER_BLOCKS, &key).await?;
    Ok(value.is_some_and(|value| open(opener, span, &key, &value, HeaderFields::ALL).is_some()))
}

/// Whether more than half of the entries are of messages that are gone: there are no more messages
/// than rows.
fn mostly_dead(list: &HeaderList, head: &HeadRecord) -> bool {
    let entries: u64 = list.blocks.iter().map(|(_, messages)| *messages).sum();
    entries > head.usage_messages.saturating_mul(2).saturating_add(u64::from(list.span))
}

/// The keys of everything but the list.
async fn block_keys(snapshot: &dyn Reader, account: AccountId) -> Result<Vec<Bytes>, StoreError> {
    let mut scan = Scan::prefix(keys::HEADER_BLOCKS, &keys::account(account), BLOCKS_AT_ONCE);
    scan.start = after(&HeaderList::key(account));
    let (mut pages, mut found) = (Pages::new(scan), Vec::new());
    while let Some(page) = pages.next(snapshot).await? {
        found.extend(page.into_iter().map(|(key, _)| key));
    }
    Ok(found)
}

impl Plan {
    fn is_done(&self) -> bool {
        self.again.is_empty() && self.list.windows >= self.windows
    }

    /// Reads the summaries of some windows and makes their blocks; returns how many it read.
    async fn step(
        &mut self,
        snapshot: &dyn Reader,
        account: AccountId,
    ) -> Result<(PutHeaders, u64), StoreError> {
        let mut step = PutHeaders {
            expected: self.expected.take(),
            list: Bytes::new(),
            put: Vec::new(),
            delete: std::mem::take(&mut self.stale),
        };
        let mut read = 0;
        for _ in 0..WINDOWS_PER_STEP {
            let window = match self.again.pop_front() {
                Some(window) => window,
                None if self.list.windows < self.windows => {
                    self.list.windows += 1;
                    self.list.windows - 1
                }
                None => break,
            };
            let before = self.list.before(window);
            let (page, summaries) =
                page_of_window(snapshot, account, before, self.list.span).await?;
            read += summaries;
            let key = keys::message(account, EmailNumber(before + 1));
            if page.len() as u64 * SPARSE < u64::from(self.list.span) || page.len() == 0 {
                self.list.set(window, None);
                step.delete.push(key);
            } else {
                self.list.set(window, Some(page.len() as u64));
                let block = seal_parts(BLOCK_VERSION, &key, &page.encode(before))?;
                step.put.push((key, block));
            }
        }
        step.list = self.list.seal(account)?;
        Ok((step, read))
    }
}

/// The headers of a window of so many numbers, and how many summaries were read for them. A summary that cannot be
/// read is left out: who asks for the message meets the damage.
async fn page_of_window(
    snapshot: &dyn Reader,
    account: AccountId,
    before: u64,
    numbers: u32,
) -> Result<(HeaderPage, u64), StoreError> {
    let key = |before: u64| keys::message(account, EmailNumber(before.saturating_add(1)));
    let mut pages = Pages::new(Scan {
        start: key(before),
        end: Some(key(before.saturating_add(u64::from(numbers)))),
        ..Scan::prefix(keys::SUMMARIES, &keys::account(account), PAGE)
    });
    let (mut page, mut read) = (HeaderPage::new(HeaderFields::ALL), 0);
    while let Some(found) = pages.next(snapshot).await? {
        read += found.len() as u64;
        for (key, value) in &found {
            let mut reader = KeyReader::new(keys::SUMMARIES, key);
            reader.take_u64()?;
            let number = EmailNumber(reader.take_u64()?);
            if let Ok(summary) = Summary::decode(value, || message_name(account, number)) {
                page.push_bounded(number, &summary);
            }
        }
    }
    Ok((page, read))
}

/// Some blocks and the list, as a change of the account. Says whether they were written: not when
/// the list is another meanwhile.
struct PutHeaders {
    expected: Option<Bytes>,
    list: Bytes,
    put: Vec<(Bytes, Bytes)>,
    delete: Vec<Bytes>,
}

#[async_trait::async_trait]
impl Change for PutHeaders {
    type Outcome = bool;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<bool, StoreError> {
        draft.head()?;
        let key = HeaderList::key(draft.account);
        if draft.get(keys::HEADER_BLOCKS, &key).await? != self.expected {
            return Ok(false);
        }
        for key in &self.delete {
            draft.change_lazily(keys::HEADER_BLOCKS, key.clone(), None);
        }
        for (key, value) in &self.put {
            draft.change_lazily(keys::HEADER_BLOCKS, key.clone(), Some(value.clone()));
        }
        draft.change_lazily(keys::HEADER_BLOCKS, key, Some(self.list.clone()));
        Ok(true)
    }

    fn weight(&self) -> usize {
        self.list.len() + self.put.iter().map(|(_, value)| value.len()).sum::<usize>()
    }
}
