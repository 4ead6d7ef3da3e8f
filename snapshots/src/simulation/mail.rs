//! A hand does what holders and rules do to an account, one operation after the other.
//!
//! Mailboxes are of three kinds: those that everybody works in, live and archived; tents, which one hand
//! sets up, fills and strikes; and those below `Ripristino …`, which only restores fill.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use storage::{
    account::{Account, name::MailboxName, quota::QuotaRule, tier::ARCHIVE},
    catalog::engine::Batch,
    error::StoreError,
    ids::{MailboxId, Uid},
    mailbox::{
        append::AppendRequest,
        archive::{ArchiveRequest, ArchiveSelection, Archived, Candidate, NoRoom},
        flags::{FlagChange, Flags},
        live::LiveMailbox,
        view::{MailboxView as _, MessageRow},
    },
};

use super::{
    ledger::{Ledger, Span},
    run::{Life, Stage},
};

/// Rows of a mailbox that no more are put to.
const ENOUGH: usize = 24;

/// What restores fill.
pub(super) const RESTORED: &str = "Ripristino";

/// Mailboxes that a hand sets up and strikes.
pub(super) const TENT: &str = "Tenda";

/// The mailboxes that everybody works in, but for the inbox and the archive.
const FOLDERS: u64 = 4;

#[derive(Clone)]
pub(super) struct Hand {
    pub(super) number: usize,
    pub(super) stage: Arc<Stage>,
    pub(super) life: Arc<Life>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
}

/// Whether the store refused the whole operation, for a reason that comes with others at work.
pub(super) fn is_refused(error: &StoreError) -> bool {
    use StoreError as E;
    matches!(
        error,
        E::Conflict
            | E::Objects { .. }
            | E::NoSuchMailbox { .. }
            | E::NoSuchMailboxName(_)
            | E::MailboxExists(_)
            | E::InvalidMailboxName { .. }
            | E::Erased { .. }
    )
}

/// Whether nobody can say what became of the operation before the restart.
pub(super) fn is_unknown(error: &StoreError) -> bool {
    matches!(error, StoreError::Engine { .. } | StoreError::Closed)
}

/// Everything that is not flagged goes to one mailbox.
struct Unflagged;

impl ArchiveSelection for Unflagged {
    fn target(&self, candidate: Candidate<'_>) -> Option<MailboxName> {
        let name = MailboxName::new(&format!("{ARCHIVE}/2026")).expect("a name");
        (!candidate.flags.flagged).then_some(name)
    }

    fn also(&self, _: &Archived) -> Batch {
        Batch::default()
    }
}

impl Hand {
    pub(super) async fn work(self) {
        loop {
            self.stage.world.pause("hand").await;
            match self.one().await {
                Ok(()) => {}
                Err(error) if is_refused(&error) => {}
                Err(error) if is_unknown(&error) => return self.stage.world.break_down(),
                Err(error) => return self.stage.world.blame(format!("a hand: {error:?}")),
            }
        }
    }

    async fn one(&self) -> Result<(), StoreError> {
        let id = self.ledger.lock().expect("no panic").account;
        let account = self.life.store.account(id).await?;
        match self.stage.world.below(20) {
            0..=5 => self.append(&account).await,
            6..=8 => self.flag(&account).await,
            9..=11 => self.expunge(&account).await,
            12 => self.copy(&account).await,
            13..=14 => self.shift(&account).await,
            15 => self.archive(&account).await,
            16 => self.back(&account).await,
            17 => self.rename(&account).await,
            18 => self.pitch(&account).await,
            _ => self.strike(&account).await,
        }
    }

    /// Notes what `operation` did, when that is known.
    fn settle<T>(
        &self,
        operation: u64,
        outcome: Result<T, StoreError>,
        changes: impl FnOnce(&T) -> Vec<(u64, i64)>,
    ) -> Result<T, StoreError> {
        let mut ledger = self.ledger.lock().expect("no panic");
        match &outcome {
            Ok(done) => ledger.end(operation, changes(done)),
            Err(error) if is_unknown(error) => {}
            Err(_) => ledger.end(operation, []),
        }
        outcome
    }

    fn begin(&self, what: &str, rows: &[MessageRow], span: Span) -> u64 {
        let changes = rows.iter().map(|row| (self.message(row), span));
        self.ledger.lock().expect("no panic").begin(what, changes)
    }

    /// The message that a row is of.
    fn message(&self, row: &MessageRow) -> u64 {
        self.stage.message(row)
    }

    /// One of the mailboxes that everybody works in.
    async fn mailbox(&self, account: &Account) -> Result<Arc<LiveMailbox>, StoreError> {
        let all = account.mailboxes().await?.into_iter().filter(|one| is_common(&one.name));
        let all: Vec<MailboxId> = all.filter_map(|one| one.mailbox_id).collect();
        account.mailbox(all[self.stage.world.index(all.len())]).await
    }

    /// A few neighbours, so that operations meet what others left.
    async fn rows(&self, mailbox: &LiveMailbox) -> Result<Vec<MessageRow>, StoreError> {
        let rows = mailbox.rows().await?.1;
        Ok(rows.into_iter().filter(|_| self.stage.world.chance(400)).take(8).collect())
    }

    async fn append(&self, account: &Account) -> Result<(), StoreError> {
        let mailbox = self.mailbox(account).await?;
        if mailbox.state().await?.exists >= ENOUGH as u64 {
            return Ok(());
        }
        self.append_to(account, mailbox.id()).await
    }

    async fn append_to(&self, account: &Account, mailbox: MailboxId) -> Result<(), StoreError> {
        let (message, octets) = self.stage.post.send();
        let mut writer = self.life.store.message_writer();
        for some in octets.chunks(3_000) {
            writer.write(some).await?;
            self.stage.world.pause("receive").await;
        }
        let staged = writer.finish().await?;
        let request = AppendRequest {
            mailbox,
            message: &staged,
            flags: Flags { flagged: self.stage.world.chance(100), ..Flags::default() },
            internal_date: None,
            charged_octets: None,
            quota: QuotaRule::Enforce,
            also: Batch::default(),
        };
        let operation = self.ledger.lock().expect("no panic").begin("append", [(message, (0, 1))]);
        let outcome = account.append(request).await;
        self.settle(operation, outcome, |_| vec![(message, 1)]).map(|_| ())
    }

    async fn flag(&self, account: &Account) -> Result<(), StoreError> {
        let mailbox = self.mailbox(account).await?;
        let uids = uids_of(&self.rows(&mailbox).await?);
        let change =
            if self.stage.world.chance(600) { FlagChange::Add } else { FlagChange::Remove };
        let flagged = self.stage.world.chance(200);
        let flags = Flags { seen: !flagged, flagged, ..Flags::default() };
        mailbox.store_flags(&uids, change, &flags, None).await.map(|_| ())
    }

    async fn expunge(&self, account: &Account) -> Result<(), StoreError> {
        let mailbox = self.mailbox(account).await?;
        let rows = self.rows(&mailbox).await?;
        let deleted = Flags { deleted: true, ..Flags::default() };
        mailbox.store_flags(&uids_of(&rows), FlagChange::Add, &deleted, None).await?;
        let operation = self.begin("expunge", &rows, (-1, 0));
        let outcome = mailbox.expunge(&uids_of(&rows)).await;
        let gone = |gone: &Vec<Uid>| self.changes(&rows, gone, -1);
        self.settle(operation, outcome, gone).map(|_| ())
    }

    /// What it means that the rows of these UIDs went, or came once more.
    fn changes(&self, rows: &[MessageRow], uids: &[Uid], change: i64) -> Vec<(u64, i64)> {
        let by_uid: BTreeMap<Uid, u64> =
            rows.iter().map(|row| (row.uid, self.message(row))).collect();
        uids.iter().filter_map(|uid| Some((*by_uid.get(uid)?, change))).collect()
    }

    async fn copy(&self, account: &Account) -> Result<(), StoreError> {
        let mailbox = self.mailbox(account).await?;
        let destination = self.mailbox(account).await?.id();
        let rows: Vec<MessageRow> = self.rows(&mailbox).await?.into_iter().take(2).collect();
        let operation = self.begin("copy", &rows, (0, 1));
        let outcome = mailbox.copy(&uids_of(&rows), destination).await;
        let copied = outcome.map(|copied| copied.uids.into_iter().map(|(uid, _)| uid).collect());
        let came = |uids: &Vec<Uid>| self.changes(&rows, uids, 1);
        self.settle(operation, copied, came).map(|_| ())
    }

    /// Into whatever mailbox, of this tier or of the other one.
    async fn shift(&self, account: &Account) -> Result<(), StoreError> {
        let mailbox = self.mailbox(account).await?;
        let destination = self.mailbox(account).await?.id();
        let uids = uids_of(&self.rows(&mailbox).await?);
        mailbox.move_to(&uids, destination).await.map(|_| ())
    }

    async fn archive(&self, account: &Account) -> Result<(), StoreError> {
        let mailbox = self.mailbox(account).await?;
        let uids = uids_of(&self.rows(&mailbox).await?);
        let (source, no_room) = (mailbox.id(), NoRoom::default());
        let request = ArchiveRequest { source, uids, selection: Unflagged, no_room };
        account.archive(request).await.map(|_| ())
    }

    async fn back(&self, account: &Account) -> Result<(), StoreError> {
        let mailbox = self.mailbox(account).await?;
        let uids = uids_of(&self.rows(&mailbox).await?);
        account.restore_to_origin(mailbox.id(), &uids).await.map(|_| ())
    }

    /// Makes one of the mailboxes that everybody works in, or takes it across the border of the archive.
    async fn rename(&self, account: &Account) -> Result<(), StoreError> {
        let live = format!("Cartella{}", self.stage.world.below(FOLDERS));
        let archived = format!("{ARCHIVE}/{live}");
        match self.stage.world.below(3) {
            0 => account.create_mailbox(&live, None).await.map(|_| ()),
            1 => account.rename_mailbox(&live, &archived).await,
            _ => account.rename_mailbox(&archived, &live).await,
        }
    }

    fn tent(&self) -> String {
        format!("{TENT}{}", self.number)
    }

    async fn pitch(&self, account: &Account) -> Result<(), StoreError> {
        let above =
            if self.stage.world.chance(500) { format!("{ARCHIVE}/") } else { String::new() };
        let name = format!("{above}{}-{}", self.tent(), self.stage.world.below(1 << 20));
        let tent = account.create_mailbox(&name, None).await?;
        for _ in 0..=self.stage.world.below(3) {
            self.append_to(account, tent).await?;
        }
        Ok(())
    }

    async fn strike(&self, account: &Account) -> Result<(), StoreError> {
        let own = format!("{}-", self.tent());
        let is_own = |name: &str| name.contains(&own) && !name.starts_with(RESTORED);
        let mut listed = account.mailboxes().await?.into_iter();
        let tent = listed.rfind(|one| is_own(&one.name) && one.mailbox_id.is_some());
        let Some(tent) = tent else {
            return Ok(());
        };
        let rows = account.mailbox_by_name(&tent.name).await?.rows().await?.1;
        let operation = self.begin("strike", &rows, (-1, 0));
        let outcome = account.delete_mailbox(&tent.name).await;
        let all = |(): &()| rows.iter().map(|row| (self.message(row), -1)).collect();
        self.settle(operation, outcome, all)
    }
}

fn is_common(name: &str) -> bool {
    !name.contains(TENT) && !name.starts_with(RESTORED)
}

pub(super) fn uids_of(rows: &[MessageRow]) -> Vec<Uid> {
    rows.iter().map(|row| row.uid).collect()
}
