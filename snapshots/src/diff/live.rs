//! The account as it is, compared with a snapshot.
//!
//! What changed after the snapshot's MODSEQ is looked up; where the account does not know any more what
//! was expunged since, or where too much changed, all rows of the mailbox are read side by side.

use std::collections::{BTreeMap, BTreeSet};

use storage::{
    account::capture::{AccountState, StateMailbox},
    ids::{MailboxId, Uid},
    mailbox::view::MessageRow,
};

use super::{Difference, Place};
use crate::{
    error::SnapshotError,
    hash::Salts,
    keep::open::OpenSnapshot,
    state::MailboxEntry,
    tree::{
        read,
        row::{ContentRow, FlagsRow, Row},
    },
};

/// Changed rows of a mailbox that are looked up one by one.
const LOOKED_UP_MAX: usize = 2_000;

/// Rows read at once.
const ROWS: usize = 4_096;

type Tell<'a> = &'a mut (dyn FnMut(Difference) + Send);

/// The rows of an account at one instant.
pub(crate) struct LiveRows<'a> {
    state: &'a AccountState,
    mailboxes: BTreeMap<MailboxId, StateMailbox>,
}

impl<'a> LiveRows<'a> {
    pub(crate) async fn new(state: &'a AccountState) -> Result<Self, SnapshotError> {
        let mailboxes = state.mailboxes().await?;
        let mailboxes =
            mailboxes.into_iter().map(|mailbox| (mailbox.state.mailbox_id, mailbox)).collect();
        Ok(Self { state, mailboxes })
    }

    pub(crate) fn names(&self) -> BTreeMap<MailboxId, &str> {
        self.mailboxes.iter().map(|(id, mailbox)| (*id, mailbox.name.as_str())).collect()
    }

    /// Compares one mailbox of `before` with the same one as it is.
    pub(crate) async fn compare(
        &self,
        before: &OpenSnapshot,
        id: MailboxId,
        tell: Tell<'_>,
    ) -> Result<(), SnapshotError> {
        let (was, is) = (before.state().mailboxes.get(&id), self.mailboxes.get(&id));
        if let (Some(was), Some(is)) = (was, is)
            && let Some(changed) = self.changed(before, is).await?
        {
            return look_up(before, id, was, &changed, tell).await;
        }
        self.side_by_side(before, id, tell).await
    }

    /// What changed since the snapshot, by UID: the row as it is, or none; `None` when that is not known
    /// or too much.
    async fn changed(
        &self,
        before: &OpenSnapshot,
        is: &StateMailbox,
    ) -> Result<Option<BTreeMap<Uid, Option<MessageRow>>>, SnapshotError> {
        let (id, since) = (is.state.mailbox_id, before.snapshot().mod_seq);
        if since < is.expunge_floor {
            return Ok(None);
        }
        let Some(rows) = self.state.changed(id, since, LOOKED_UP_MAX).await? else {
            return Ok(None);
        };
        let Some(expunged) = self.state.expunged(id, since, LOOKED_UP_MAX).await? else {
            return Ok(None);
        };
        let mut changed: BTreeMap<Uid, Option<MessageRow>> =
            expunged.into_iter().map(|uid| (uid, None)).collect();
        changed.extend(rows.into_iter().map(|row| (row.uid, Some(row))));
        Ok(Some(changed))
    }

    async fn side_by_side(
        &self,
        before: &OpenSnapshot,
        id: MailboxId,
        tell: Tell<'_>,
    ) -> Result<(), SnapshotError> {
        let entry = before.state().mailboxes.get(&id);
        let mut from = 0_u64;
        loop {
            let old = match entry {
                Some(entry) => old_rows(before, id, entry, from).await?,
                None => Vec::new(),
            };
            let after = u32::try_from(from).ok().and_then(|from| Uid::new(from.checked_sub(1)?));
            let new = match self.mailboxes.get(&id) {
                Some(_) => self.state.rows(id, after, ROWS).await?,
                None => Vec::new(),
            };
            // Up to this key both are known.
            let end_of = |full: bool, last: Option<u64>| if full { last } else { None };
            let old_end = end_of(old.len() == ROWS, old.last().map(|(row, _)| row.key()));
            let new_end = end_of(new.len() == ROWS, new.last().map(|row| u64::from(row.uid.get())));
            let end = old_end.into_iter().chain(new_end).min();
            merge(id, old, new, end, tell);
            match end {
                Some(end) => from = end + 1,
                None => return Ok(()),
            }
        }
    }
}

async fn old_rows(
    before: &OpenSnapshot,
    id: MailboxId,
    entry: &MailboxEntry,
    from: u64,
) -> Result<Vec<(ContentRow, FlagsRow)>, SnapshotError> {
    let (salts, pages) = (before.salts(id), before.pages());
    let content = read::rows::<ContentRow>(pages, entry.content, &salts, from, ROWS).await?;
    let flags = read::rows::<FlagsRow>(pages, entry.flags, &salts, from, ROWS).await?;
    Ok(content.into_iter().zip(flags).collect())
}

/// Tells what differs among rows up to `end`.
fn merge(
    mailbox: MailboxId,
    old: Vec<(ContentRow, FlagsRow)>,
    new: Vec<MessageRow>,
    end: Option<u64>,
    tell: Tell<'_>,
) {
    let within = |uid: Uid| end.is_none_or(|end| u64::from(uid.get()) <= end);
    let mut old: BTreeMap<Uid, _> =
        old.into_iter().map(|row| (row.0.uid, row)).filter(|(uid, _)| within(*uid)).collect();
    let new: BTreeMap<Uid, _> =
        new.into_iter().map(|row| (row.uid, row)).filter(|(uid, _)| within(*uid)).collect();
    let uids: BTreeSet<Uid> = old.keys().chain(new.keys()).copied().collect();
    for uid in uids {
        tell_row(mailbox, old.remove(&uid), new.get(&uid), tell);
    }
}

fn tell_row(
    mailbox: MailboxId,
    was: Option<(ContentRow, FlagsRow)>,
    is: Option<&MessageRow>,
    tell: Tell<'_>,
) {
    let new = is.map(ContentRow::from);
    if let (Some((old, flags)), Some(new), Some(is)) = (&was, &new, is)
        && old == new
    {
        if flags.flags != is.flags {
            let place = Place { mailbox, uid: old.uid };
            tell(Difference::Flags(place, flags.flags.clone(), is.flags.clone()));
        }
        return;
    }
    if let Some((old, _)) = was {
        tell(Difference::Removed(Place { mailbox, uid: old.uid }, old));
    }
    if let Some(new) = new {
        tell(Difference::Added(Place { mailbox, uid: new.uid }, new));
    }
}

async fn look_up(
    before: &OpenSnapshot,
    id: MailboxId,
    entry: &MailboxEntry,
    changed: &BTreeMap<Uid, Option<MessageRow>>,
    tell: Tell<'_>,
) -> Result<(), SnapshotError> {
    let (salts, pages): (Salts, _) = (before.salts(id), before.pages());
    for (uid, is) in changed {
        let key = u64::from(uid.get());
        let content = read::row::<ContentRow>(pages, entry.content, &salts, key).await?;
        let flags = read::row::<FlagsRow>(pages, entry.flags, &salts, key).await?;
        tell_row(id, content.zip(flags), is.as_ref(), tell);
    }
    Ok(())
}
