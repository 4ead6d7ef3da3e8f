//! A mailbox of the account in memory, as sessions see it.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use protocols::access::is_of_others;
use storage::{
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid},
    mailbox::{
        flags::{FlagChange, Flags},
        view::{Access, Changes, Copied, MailboxState, MailboxView, MessageRow},
    },
    summary::Summary,
};
use trust::clock::UnixMillis;

use super::memory::{ACCOUNT, Mailbox, MemoryAccount, NOW, Tree, fail};

/// When copies came into their mailbox: an hour after every message was delivered.
const SAVED: UnixMillis = UnixMillis(NOW.0 + 3_600_000);

#[derive(Debug)]
pub(super) struct MemoryView {
    pub(super) account: Arc<MemoryAccount>,
    pub(super) key: u32,
    pub(super) access: Access,
}

impl MemoryView {
    fn with<T>(
        &self,
        act: impl FnOnce(&mut Mailbox, &mut u64) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tree = self.account.tree();
        let Tree { mailboxes, mod_seq, .. } = &mut *tree;
        let mailbox = mailboxes.values_mut().find(|mailbox| mailbox.key == self.key).ok_or(
            StoreError::NoSuchMailbox { account: ACCOUNT, mailbox: MailboxId(self.key.into()) },
        )?;
        act(mailbox, mod_seq)
    }

    fn writable(&self) -> Result<(), StoreError> {
        if self.access == Access::ReadOnly { Err(StoreError::ReadOnly) } else { Ok(()) }
    }

    fn gone(email_number: EmailNumber) -> StoreError {
        StoreError::NoSuchMessage { account: ACCOUNT, email_number }
    }

    fn transfer(&self, uids: &[Uid], to: MailboxId, remove: bool) -> Result<Copied, StoreError> {
        let rows: Vec<MessageRow> = self.with(|mailbox, _| {
            Ok(mailbox.rows.iter().filter(|row| uids.contains(&row.uid)).cloned().collect())
        })?;
        let mut tree = self.account.tree();
        tree.mod_seq += 1;
        let mod_seq = ModSeq(tree.mod_seq);
        let destination = tree
            .mailboxes
            .values_mut()
            .find(|mailbox| mailbox.id == to && mailbox.snapshot.is_none())
            .ok_or(StoreError::NoSuchMailbox { account: ACCOUNT, mailbox: to })?;
        let mut copied = Vec::new();
        for row in rows {
            let uid = Uid::new(destination.uid_next).unwrap();
            destination.uid_next += 1;
            copied.push((row.uid, uid));
            destination.rows.push(MessageRow { uid, mod_seq, save_date: SAVED, ..row });
        }
        let uid_validity = destination.uid_validity;
        drop(tree);
        if remove {
            self.with(|mailbox, _| {
                mailbox.rows.retain(|row| !uids.contains(&row.uid));
                mailbox.expunged.extend(copied.iter().map(|(from, _)| (mod_seq, *from)));
                Ok(())
            })?;
        }
        self.account.announce();
        Ok(Copied { uid_validity, uids: copied })
    }
}

/// HIGHESTMODSEQ of a mailbox; 0 where it keeps none.
fn highest(mailbox: &Mailbox) -> ModSeq {
    let rows = mailbox.rows.iter().map(|row| row.mod_seq);
    let expunged = mailbox.expunged.iter().map(|(mod_seq, _)| *mod_seq);
    let highest = rows.chain(expunged).fold(mailbox.expunge_floor, Ord::max);
    if mailbox.keeps_mod_seq { highest } else { ModSeq(0) }
}

pub(super) fn state_of(mailbox: &Mailbox) -> MailboxState {
    let count = |test: fn(&Flags) -> bool| {
        mailbox.rows.iter().filter(|row| test(&row.flags)).count() as u64
    };
    MailboxState {
        mailbox_id: mailbox.id,
        uid_validity: mailbox.uid_validity,
        uid_next: Uid::new(mailbox.uid_next),
        recent_from: Uid::new(mailbox.recent_from),
        highest_mod_seq: highest(mailbox),
        exists: mailbox.rows.len() as u64,
        unseen: count(|flags| !flags.seen),
        deleted: count(|flags| flags.deleted),
        octets: mailbox.rows.iter().map(|row| row.size).sum(),
    }
}

#[async_trait::async_trait]
impl MailboxView for MemoryView {
    fn access(&self) -> Access {
        self.access
    }

    fn other_account(&self) -> Option<AccountId> {
        let tree = self.account.tree();
        let mut mailboxes = tree.mailboxes.iter();
        let found = mailboxes.find(|(_, mailbox)| mailbox.key == self.key);
        found.filter(|(name, _)| is_of_others(name)).map(|_| AccountId(9))
    }

    fn snapshot(&self) -> Option<u64> {
        let tree = self.account.tree();
        tree.mailboxes.values().find(|mailbox| mailbox.key == self.key)?.snapshot
    }

    async fn state(&self) -> Result<MailboxState, StoreError> {
        self.with(|mailbox, _| Ok(state_of(mailbox)))
    }

    async fn rows(&self) -> Result<(ModSeq, Vec<MessageRow>), StoreError> {
        self.with(|mailbox, _| Ok((highest(mailbox), mailbox.rows.clone())))
    }

    async fn changes_since(&self, since: ModSeq) -> Result<Changes, StoreError> {
        fail(&self.account.changes_failing)?;
        self.with(|mailbox, _| {
            let rows = mailbox.rows.iter().filter(|row| row.mod_seq > since);
            let mut expunged: Vec<Uid> = mailbox
                .expunged
                .iter()
                .filter(|(mod_seq, _)| *mod_seq > since)
                .map(|(_, uid)| *uid)
                .collect();
            expunged.sort_unstable();
            Ok(Changes {
                up_to: highest(mailbox),
                changed: rows.cloned().collect(),
                expunged,
                incomplete: mailbox.keeps_mod_seq && since < mailbox.expunge_floor,
            })
        })
    }

    async fn claim_recent(&self) -> Result<Option<Uid>, StoreError> {
        self.with(|mailbox, _| {
            let from = mailbox.recent_from;
            if self.access == Access::ReadWrite {
                mailbox.recent_from = mailbox.uid_next;
            }
            Ok(Uid::new(from))
        })
    }

    async fn summary(&self, email_number: EmailNumber) -> Result<Arc<Summary>, StoreError> {
        self.account.summaries.fetch_add(1, Ordering::SeqCst);
        self.account.take_time(1).await;
        fail(&self.account.summaries_failing)?;
        let tree = self.account.tree();
        let message = tree.messages.get(&email_number);
        message.map(|message| Arc::clone(&message.1)).ok_or_else(|| Self::gone(email_number))
    }

    async fn erased(&self) -> Result<BTreeSet<EmailNumber>, StoreError> {
        Ok(self.account.tree().erased.clone())
    }

    async fn read(
        &self,
        email_number: EmailNumber,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        self.account.reads.fetch_add(1, Ordering::SeqCst);
        let tree = self.account.tree();
        if tree.erased.contains(&email_number) {
            return Err(StoreError::Erased { object: "message".to_owned(), at: NOW });
        }
        if tree.damaged_from.is_some_and(|from| range.start >= from) {
            return Err(StoreError::Damaged {
                object: "pack".to_owned(),
                detail: "test".to_owned(),
            });
        }
        let (octets, _) =
            tree.messages.get(&email_number).ok_or_else(|| Self::gone(email_number))?;
        let start = usize::try_from(range.start).unwrap().min(octets.len());
        let end = usize::try_from(range.end).unwrap().min(octets.len()).min(start + 64 * 1024);
        Ok(octets.slice(start..end.max(start)))
    }

    async fn store_flags(
        &self,
        uids: &[Uid],
        change: FlagChange,
        flags: &Flags,
        unchanged_since: Option<ModSeq>,
    ) -> Result<(Vec<MessageRow>, Vec<Uid>), StoreError> {
        self.writable()?;
        let stored = self.with(|mailbox, mod_seq| {
            let next = ModSeq(*mod_seq + 1);
            let (mut rows, mut refused) = (Vec::new(), Vec::new());
            for row in mailbox.rows.iter_mut().filter(|row| uids.contains(&row.uid)) {
                if unchanged_since.is_some_and(|bound| row.mod_seq > bound) {
                    refused.push(row.uid);
                    continue;
                }
                let before = row.flags.clone();
                row.flags.apply(change, flags);
                if row.flags != before {
                    row.mod_seq = next;
                    *mod_seq = next.0;
                }
                rows.push(row.clone());
            }
            Ok((rows, refused))
        })?;
        self.account.announce();
        let next = self.account.tree().flags_next.take();
        if let Some((name, uid, flags)) = next {
            self.account.flag(&name, uid, flags);
        }
        Ok(stored)
    }

    async fn expunge(&self, uids: &[Uid]) -> Result<Vec<Uid>, StoreError> {
        self.writable()?;
        let gone = self.with(|mailbox, mod_seq| {
            let goes = |row: &MessageRow| uids.contains(&row.uid) && row.flags.deleted;
            let gone: Vec<Uid> =
                mailbox.rows.iter().filter(|row| goes(row)).map(|row| row.uid).collect();
            *mod_seq += u64::from(!gone.is_empty());
            mailbox.rows.retain(|row| !goes(row));
            mailbox.expunged.extend(gone.iter().map(|uid| (ModSeq(*mod_seq), *uid)));
            Ok(gone)
        })?;
        self.account.announce();
        Ok(gone)
    }

    async fn copy(&self, uids: &[Uid], destination: MailboxId) -> Result<Copied, StoreError> {
        self.account.take_time(uids.len()).await;
        self.transfer(uids, destination, false)
    }

    async fn move_to(&self, uids: &[Uid], destination: MailboxId) -> Result<Copied, StoreError> {
        self.account.take_time(uids.len()).await;
        self.writable()?;
        self.transfer(uids, destination, true)
    }
}
