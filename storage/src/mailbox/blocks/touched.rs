//! Which UIDs changed in a mailbox after some MODSEQ: the two indexes that say so, without the rows.

use crate::{
    catalog::{
        engine::{Family, Reader, Scan},
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, ExpungeRecord},
    },
    error::StoreError,
    ids::{AccountId, MailboxId, ModSeq, Uid},
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// The entries of a mailbox in `family` with a MODSEQ above `since`.
pub(crate) fn entries_after(
    family: Family,
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
) -> Scan {
    let start = keys::mod_seq(account, mailbox, ModSeq(since.0.saturating_add(1)));
    Scan { start, ..Scan::prefix(family, &keys::mailbox(account, mailbox), PAGE) }
}

/// The UID of an entry of `mailbox_changes`.
pub(crate) fn uid_of_change(key: &[u8]) -> Result<Uid, StoreError> {
    let mut reader = KeyReader::new(keys::MAILBOX_CHANGES, key);
    reader.take_u64()?;
    reader.take_u64()?;
    reader.take_u64()?;
    let uid = reader.take_uid()?;
    reader.finish()?;
    Ok(uid)
}

/// Calls `take` with the UID of every row that is new or has other flags since `since`, until it
/// says stop.
pub(crate) async fn each_changed(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
    mut take: impl FnMut(Uid) -> bool,
) -> Result<(), StoreError> {
    let mut pages = Pages::new(entries_after(keys::MAILBOX_CHANGES, account, mailbox, since));
    while let Some(page) = pages.next(reader).await? {
        for (key, _) in &page {
            if !take(uid_of_change(key)?) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The UIDs that are gone since `since`, ascending.
pub(crate) async fn expunged(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
) -> Result<Vec<Uid>, StoreError> {
    let all = few_expunged(reader, account, mailbox, since, usize::MAX).await?;
    Ok(all.unwrap_or_default())
}

/// The UIDs that are gone since `since`, ascending; `None` when they are more than `limit`. Holds no
/// more than that, and the UIDs of one page of the log.
pub(crate) async fn few_expunged(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
    mailbox: MailboxId,
    since: ModSeq,
    limit: usize,
) -> Result<Option<Vec<Uid>>, StoreError> {
    let mut pages = Pages::new(entries_after(keys::EXPUNGE_LOG, account, mailbox, since));
    let mut uids = Vec::new();
    while let Some(page) = pages.next(reader).await? {
        for (key, value) in &page {
            let record: ExpungeRecord = records::decode(keys::EXPUNGE_LOG, key, value)?;
            if record.count() > limit.saturating_sub(uids.len()) as u64 {
                return Ok(None);
            }
            uids.extend(record.uids().ok_or_else(|| {
                records::damaged(keys::EXPUNGE_LOG, key, "its ranges are none".to_owned())
            })?);
        }
    }
    uids.sort_unstable();
    Ok(Some(uids))
}
