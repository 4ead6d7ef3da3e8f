//! Which messages of a snapshot were moved since: they stand in a mailbox where the snapshot did not have
//! them, nor one of its name.
//!
//! What lies in or below the mailboxes for trash and junk was thrown away and not moved; what lies below
//! `Ripristino …` was brought there by a restore. A copy that the snapshot had, too, is another row of
//! the snapshot. None of these counts.
//!
//! Not here: what the mailbox has that is restored into (`step`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use storage::{
    account::{capture::AccountState, tree::SpecialUse},
    ids::{EmailNumber, MailboxId, ModSeq},
};

use super::step::ROWS;
use crate::{
    error::SnapshotError,
    keep::{
        lost::{is_damage, is_unreadable},
        open::OpenSnapshot,
    },
};

/// Whether a mailbox is `top` or below it.
pub(super) fn is_within(name: &str, top: &str) -> bool {
    name.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Of mailboxes, each with its name and special use, the names of those for what is thrown away.
pub(super) fn bins<'a>(mailboxes: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<&'a str> {
    let uses = [SpecialUse::Junk.attribute(), SpecialUse::Trash.attribute()];
    mailboxes.filter(|(_, special_use)| uses.contains(special_use)).map(|(name, _)| name).collect()
}

/// What an account has where the snapshot of a job did not have it. Memory: some 10 octets for each such
/// message, and for each that the snapshot had in the mailbox that is being read.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    messages: BTreeSet<EmailNumber>,
    /// The HIGHESTMODSEQ with which each mailbox was read.
    read: BTreeMap<MailboxId, ModSeq>,
}

impl Elsewhere {
    /// Whether a message was there at the last look.
    pub(super) fn has(&self, email_number: EmailNumber) -> bool {
        self.messages.contains(&email_number)
    }

    /// Reads the mailboxes that changed since the last look, but for `into`, where the job itself is at
    /// work, and those below `roots`.
    pub(super) async fn look(
        &mut self,
        open: &Arc<OpenSnapshot>,
        into: MailboxId,
        roots: &[String],
    ) -> Result<(), SnapshotError> {
        let state = open.account().state().await?;
        let live = state.mailboxes().await?;
        let mut passed_over = bins(
            live.iter()
                .map(|one| (one.name.as_str(), one.special_use.map_or("", SpecialUse::attribute))),
        );
        passed_over.extend(roots.iter().map(String::as_str));
        for mailbox in &live {
            let (id, mod_seq) = (mailbox.state.mailbox_id, mailbox.state.highest_mod_seq);
            let is_read = self.read.get(&id) == Some(&mod_seq);
            if id == into || is_read || passed_over.iter().any(|top| is_within(&mailbox.name, top))
            {
                continue;
            }
            let stands = |of: MailboxId| {
                live.iter().any(|one| {
                    one.state.mailbox_id == of
                        && !passed_over.iter().any(|top| is_within(&one.name, top))
                })
            };
            match moved_to(&state, open, (id, &mailbox.name), &stands).await {
                Ok(moved) => self.messages.extend(moved),
                // A message that was moved there comes back a second time, rather than none of the others.
                Err(error) if is_unreadable_any(&error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, account = %open.account().id(), mailbox = %id, "what was moved to a mailbox cannot be told by a restore in place");
                }
                Err(error) => return Err(error),
            }
            self.read.insert(id, mod_seq);
        }
        Ok(())
    }
}

fn is_unreadable_any(error: &SnapshotError) -> bool {
    is_damage(error) || matches!(error, SnapshotError::Store(error) if is_unreadable(error))
}

/// What a live mailbox has that the snapshot did not have there.
async fn moved_to(
    state: &AccountState,
    open: &Arc<OpenSnapshot>,
    (id, name): (MailboxId, &str),
    stands: &(dyn Fn(MailboxId) -> bool + Sync),
) -> Result<BTreeSet<EmailNumber>, SnapshotError> {
    let had = had_in(open, id, name, stands).await?;
    let (mut moved, mut after) = (BTreeSet::new(), None);
    loop {
        let rows = state.rows(id, after, ROWS).await?;
        after = rows.last().map(|row| row.uid);
        let numbers = rows.iter().map(|row| row.email_number);
        moved.extend(numbers.filter(|number| !had.contains(number)));
        if rows.len() < ROWS {
            return Ok(moved);
        }
    }
}

/// What the snapshot had in the mailbox of this MailboxId, and in the one of this name unless that `stands`
/// under another name: what a job puts there comes from one of them.
async fn had_in(
    open: &Arc<OpenSnapshot>,
    id: MailboxId,
    name: &str,
    stands: &(dyn Fn(MailboxId) -> bool + Sync),
) -> Result<BTreeSet<EmailNumber>, SnapshotError> {
    let mut had = BTreeSet::new();
    let all = open.state().mailboxes.iter();
    let is_source = |of: MailboxId, called: &str| of == id || (called == name && !stands(of));
    for (of, _) in all.filter(|(of, entry)| is_source(**of, &entry.name)) {
        let (mailbox, mut after) = (open.mailbox(*of)?, None);
        loop {
            let rows = mailbox.rows_after(after, ROWS).await?;
            after = rows.last().map(|row| row.uid);
            had.extend(rows.iter().map(|row| row.email_number));
            if rows.len() < ROWS {
                break;
            }
        }
    }
    Ok(had)
}
