//! One account: its records against each other, and its rows against everything that must agree
//! with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Counter, Fault, Invariant, PAGE, Reporter, blocks, departed, messages, notes};
use crate::{
    account::{read, scan_all, tier::Tier, tree},
    catalog::{
        engine::{Family, Reader, Scan},
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, AccountRecord, ExpungeRecord, HeadRecord, IndexRecord, MailboxRecord},
    },
    error::StoreError,
    ids::{AccountId, MailboxId, ModSeq},
    mailbox::{rows::row_at, view::MessageRow},
    store::StoreCore,
};

/// What the rows of one mailbox add up to.
#[derive(Default)]
struct Tally {
    exists: u64,
    unseen: u64,
    deleted: u64,
    octets: u64,
    charged_octets: u64,
    /// Entries in `mailbox_changes`.
    changes: u64,
}

/// One account under check, in one state.
pub(super) struct Checked<'c> {
    pub(super) core: &'c Arc<StoreCore>,
    pub(super) snapshot: Arc<dyn Reader>,
    pub(super) id: AccountId,
    pub(super) head: HeadRecord,
    mailboxes: BTreeMap<MailboxId, (MailboxRecord, Tally)>,
}

/// Checks account `id`.
pub(super) async fn check(
    core: &Arc<StoreCore>,
    id: AccountId,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let snapshot = core.engine.snapshot().await?;
    let head = read(&*snapshot, keys::ACCOUNT_HEADS, &keys::account(id)).await;
    let head = reporter.take(Invariant::Ascending, head)?.flatten();
    // Without a head the account was erased since it was listed, or the damage is noted.
    let Some(head) = head else { return Ok(()) };
    let mut checked = Checked { core, snapshot, id, head, mailboxes: BTreeMap::new() };
    checked.settings(reporter).await?;
    checked.read_mailboxes(reporter).await?;
    checked.names(reporter).await?;
    checked.rows(reporter).await?;
    checked.changes(reporter).await?;
    checked.expunge_log(reporter).await?;
    checked.sums(reporter);
    departed::check_head(&checked, reporter);
    notes::check(&checked, reporter).await?;
    blocks::check(&checked, reporter).await?;
    messages::check(&checked, reporter).await
}

impl Checked<'_> {
    fn name(&self) -> String {
        format!("account {}", self.id)
    }

    /// The mailboxes whose records could be read.
    pub(super) fn mailbox_records(&self) -> impl Iterator<Item = (MailboxId, &MailboxRecord)> {
        self.mailboxes.iter().map(|(id, (record, _))| (*id, record))
    }

    fn mailbox_name(&self, mailbox: MailboxId) -> String {
        format!("mailbox {mailbox} of account {}", self.id)
    }

    /// Settings exist, and their address leads here.
    async fn settings(&self, reporter: &mut Reporter<'_>) -> Result<(), StoreError> {
        let settings =
            read::<AccountRecord>(&*self.snapshot, keys::ACCOUNTS, &keys::account(self.id)).await;
        let Some(settings) = reporter.take(Invariant::Ascending, settings)? else { return Ok(()) };
        let Some(settings) = settings else {
            reporter.violation(Invariant::Ascending, self.name(), Fault::NoSettings);
            return Ok(());
        };
        let key = keys::address(&settings.address);
        let index = read::<IndexRecord>(&*self.snapshot, keys::ACCOUNT_ADDRESSES, &key).await;
        let index = reporter.take(Invariant::Ascending, index)?.flatten();
        if index.map(|index| index.id) != Some(self.id.0) {
            let fault = Fault::AddressLost { address: settings.address };
            reporter.violation(Invariant::Ascending, self.name(), fault);
        }
        Ok(())
    }

    /// Every mailbox's numbers are below the account's counters.
    async fn read_mailboxes(&mut self, reporter: &mut Reporter<'_>) -> Result<(), StoreError> {
        let scan = Scan::prefix(keys::MAILBOXES, &keys::account(self.id), PAGE);
        let mut validities = BTreeSet::new();
        for (key, value) in scan_all(&*self.snapshot, scan).await? {
            let record = records::decode::<MailboxRecord>(keys::MAILBOXES, &key, &value);
            let mailbox = mailbox_of(keys::MAILBOXES, &key);
            let mailbox = mailbox.and_then(|mailbox| Ok((mailbox, record?)));
            let Some((id, record)) = reporter.take(Invariant::Ascending, mailbox)? else {
                continue;
            };
            reporter.report.seen.mailboxes += 1;
            let named = Tier::of_name(&record.name) == Tier::of(&record);
            let wrong = [
                (!named && self.head.tiers && !record.deleting, Fault::TierDiffers),
                (id.0 >= self.head.next_mailbox_id, Fault::MailboxIdNotBelowNext),
                (!validities.insert(record.uid_validity), Fault::UidValidityTwice),
                (
                    u64::from(record.uid_validity) >= self.head.next_uid_validity,
                    Fault::UidValidityNotBelowNext,
                ),
                (
                    record.highest_mod_seq >= self.head.next_mod_seq,
                    Fault::HighestModSeqNotBelowNext,
                ),
                (record.recent_from > record.uid_next, Fault::RecentAfterUidNext),
            ];
            for (_, fault) in wrong.into_iter().filter(|(is_wrong, _)| *is_wrong) {
                reporter.violation(Invariant::Ascending, self.mailbox_name(id), fault);
            }
            self.mailboxes.insert(id, (record, Tally::default()));
        }
        let named = self.mailboxes.values().filter(|(record, _)| !record.deleting).count() as u64;
        if named != self.head.mailboxes {
            let fault = Fault::MailboxesMiscounted { counted: self.head.mailboxes, found: named };
            reporter.violation(Invariant::Exact, self.name(), fault);
        }
        Ok(())
    }

    /// Every mailbox has exactly one name, every name its mailbox.
    async fn names(&self, reporter: &mut Reporter<'_>) -> Result<(), StoreError> {
        let scan = Scan::prefix(keys::MAILBOX_NAMES, &keys::account(self.id), PAGE);
        let mut named = BTreeSet::new();
        for (key, value) in scan_all(&*self.snapshot, scan).await? {
            let entry = tree::name_at(&key, &value);
            let Some((name, id)) = reporter.take(Invariant::Ascending, entry)? else { continue };
            let found = self.mailboxes.get(&id);
            if found.is_some_and(|(record, _)| !record.deleting && record.name == name) {
                named.insert(id);
            } else {
                let object = format!("the name {name:?} of account {}", self.id);
                let fault = Fault::NameLeadsElsewhere { mailbox: id };
                reporter.violation(Invariant::Ascending, object, fault);
            }
        }
        for (id, (record, _)) in &self.mailboxes {
            let key = keys::mailbox(self.id, *id);
            let pending = self.snapshot.get(keys::MAILBOX_DELETIONS, &key).await?.is_some();
            if record.deleting != pending {
                let fault = Fault::DeletionsDisagree;
                reporter.violation(Invariant::Ascending, self.mailbox_name(*id), fault);
            } else if !record.deleting && !named.contains(id) {
                let fault = Fault::NameLost { name: record.name.clone() };
                reporter.violation(Invariant::Ascending, self.mailbox_name(*id), fault);
            }
        }
        Ok(())
    }

    /// Every row is in a mailbox, below its counters and in the MODSEQ index.
    async fn rows(&mut self, reporter: &mut Reporter<'_>) -> Result<(), StoreError> {
        let mut pages = Pages::prefix(keys::MAILBOX_ROWS, &keys::account(self.id), PAGE);
        while let Some(page) = pages.next(&*self.snapshot).await? {
            let mut asked = Vec::new();
            for (key, value) in &page {
                let row = mailbox_of(keys::MAILBOX_ROWS, key)
                    .and_then(|mailbox| Ok((mailbox, row_at(key, value)?)));
                let Some((mailbox, row)) = reporter.take(Invariant::Ascending, row)? else {
                    continue;
                };
                self.row(mailbox, &row, reporter);
                asked.push((
                    keys::MAILBOX_CHANGES,
                    keys::change(self.id, mailbox, row.mod_seq, row.uid),
                ));
            }
            let found = self.snapshot.multi_get(&asked).await?;
            for ((_, key), entry) in asked.iter().zip(found) {
                if entry.is_none() {
                    let object = keys::object(keys::MAILBOX_CHANGES, key);
                    reporter.violation(Invariant::Ascending, object, Fault::NoChangeEntry);
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, mailbox: MailboxId, row: &MessageRow, reporter: &mut Reporter<'_>) {
        reporter.report.seen.rows += 1;
        let object = format!("UID {} of {}", row.uid, self.mailbox_name(mailbox));
        let Some((record, tally)) = self.mailboxes.get_mut(&mailbox) else {
            reporter.violation(Invariant::Ascending, object, Fault::NoMailbox);
            return;
        };
        tally.exists += 1;
        tally.unseen += u64::from(!row.flags.seen);
        tally.deleted += u64::from(row.flags.deleted);
        tally.octets = tally.octets.saturating_add(row.size);
        tally.charged_octets = tally.charged_octets.saturating_add(row.charged_octets);
        let wrong = [
            (u64::from(row.uid.get()) >= record.uid_next, Fault::UidNotBelowNext),
            (row.mod_seq > ModSeq(record.highest_mod_seq), Fault::ModSeqAboveHighest),
            (row.email_number.0 >= self.head.next_email_number, Fault::EmailNumberNotBelowNext),
        ];
        for (_, fault) in wrong.into_iter().filter(|(is_wrong, _)| *is_wrong) {
            reporter.violation(Invariant::Ascending, object.clone(), fault);
        }
    }

    /// Counts the MODSEQ index: every row has its entry, so equal numbers mean no entry too many.
    async fn changes(&mut self, reporter: &mut Reporter<'_>) -> Result<(), StoreError> {
        let mut pages = Pages::prefix(keys::MAILBOX_CHANGES, &keys::account(self.id), PAGE);
        while let Some(page) = pages.next(&*self.snapshot).await? {
            for (key, _) in &page {
                let mailbox = mailbox_of(keys::MAILBOX_CHANGES, key);
                let Some(mailbox) = reporter.take(Invariant::Ascending, mailbox)? else { continue };
                if let Some((_, tally)) = self.mailboxes.get_mut(&mailbox) {
                    tally.changes += 1;
                } else {
                    let object = keys::object(keys::MAILBOX_CHANGES, key);
                    reporter.violation(Invariant::Ascending, object, Fault::NoMailbox);
                }
            }
        }
        Ok(())
    }

    /// What the log calls expunged has had a UID and has no row.
    async fn expunge_log(&self, reporter: &mut Reporter<'_>) -> Result<(), StoreError> {
        let mut pages = Pages::prefix(keys::EXPUNGE_LOG, &keys::account(self.id), PAGE);
        while let Some(page) = pages.next(&*self.snapshot).await? {
            for (key, value) in &page {
                self.expunged(key, value, reporter).await?;
            }
        }
        Ok(())
    }

    async fn expunged(
        &self,
        key: &[u8],
        value: &[u8],
        reporter: &mut Reporter<'_>,
    ) -> Result<(), StoreError> {
        let object = || keys::object(keys::EXPUNGE_LOG, key);
        let entry = log_entry(key, value);
        let Some((mailbox, mod_seq, record)) = reporter.take(Invariant::Ascending, entry)? else {
            return Ok(());
        };
        let Some((mailbox_record, _)) = self.mailboxes.get(&mailbox) else {
            reporter.violation(Invariant::Ascending, object(), Fault::NoMailbox);
            return Ok(());
        };
        let uids = record.uids();
        let never_given = uids.as_ref().is_none_or(|uids| {
            uids.iter().any(|uid| u64::from(uid.get()) >= mailbox_record.uid_next)
        });
        if never_given || mod_seq.0 > mailbox_record.highest_mod_seq {
            reporter.violation(Invariant::Ascending, object(), Fault::NeverGiven);
        }
        for uids in uids.unwrap_or_default().chunks(PAGE) {
            let row = |uid: &_| (keys::MAILBOX_ROWS, keys::row(self.id, mailbox, *uid));
            let asked: Vec<_> = uids.iter().map(row).collect();
            let found = self.snapshot.multi_get(&asked).await?;
            if found.iter().any(Option::is_some) {
                reporter.violation(Invariant::Ascending, object(), Fault::ExpungedHasRow);
            }
        }
        Ok(())
    }

    /// Counters and usage against what the rows add up to.
    fn sums(&self, reporter: &mut Reporter<'_>) {
        let (mut octets, mut messages) = (0_u64, 0);
        let (mut archive_octets, mut archive_messages) = (0_u64, 0);
        for (id, (record, tally)) in &self.mailboxes {
            octets = octets.saturating_add(tally.charged_octets);
            messages += tally.exists;
            if Tier::of(record) == Tier::Archive {
                archive_octets = archive_octets.saturating_add(tally.charged_octets);
                archive_messages += tally.exists;
            }
            let counters = [
                (Counter::Messages, record.exists, tally.exists),
                (Counter::Unseen, record.unseen, tally.unseen),
                (Counter::Deleted, record.deleted, tally.deleted),
                (Counter::Octets, record.octets, tally.octets),
                (Counter::ChargedOctets, record.charged_octets, tally.charged_octets),
            ];
            for (what, counted, found) in counters {
                if counted != found {
                    let fault = Fault::Miscounted { what, counted, found };
                    reporter.violation(Invariant::Exact, self.mailbox_name(*id), fault);
                }
            }
            if tally.changes != tally.exists {
                let (rows, entries) = (tally.exists, tally.changes);
                let fault = Fault::ChangesMiscounted { rows, entries };
                reporter.violation(Invariant::Ascending, self.mailbox_name(*id), fault);
            }
        }
        let usage = [
            (Counter::Octets, self.head.usage_octets, octets),
            (Counter::Messages, self.head.usage_messages, messages),
            (Counter::ArchiveOctets, self.head.archive_octets, archive_octets),
            (Counter::ArchiveMessages, self.head.archive_messages, archive_messages),
        ];
        for (what, counted, found) in usage {
            if counted != found {
                let fault = Fault::UsageMiscounted { what, counted, found };
                reporter.violation(Invariant::Exact, self.name(), fault);
            }
        }
    }
}

/// The mailbox that a key of `family` belongs to.
fn mailbox_of(family: Family, key: &[u8]) -> Result<MailboxId, StoreError> {
    let mut reader = KeyReader::new(family, key);
    reader.take_u64()?;
    reader.take_u64().map(MailboxId)
}

fn log_entry(key: &[u8], value: &[u8]) -> Result<(MailboxId, ModSeq, ExpungeRecord), StoreError> {
    let mut reader = KeyReader::new(keys::EXPUNGE_LOG, key);
    reader.take_u64()?;
    let mailbox = MailboxId(reader.take_u64()?);
    let mod_seq = ModSeq(reader.take_u64()?);
    reader.finish()?;
    Ok((mailbox, mod_seq, records::decode(keys::EXPUNGE_LOG, key, value)?))
}
