//! One account: what was found of it, and its rows, index of changes and expunge log.

use std::collections::BTreeMap;

use bytes::Bytes;
use trust::digest::Sha256Digest;

use super::{
    LOST_NUMBERS, PAGE, RECOVERED, Repairer, departed, mailboxes, messages, notes, readable,
};
use crate::{
    account::{read, scan_all, settings::AccountSettings, tree},
    catalog::{
        engine::{Family, Scan},
        keys::{self, KeyReader},
        pages::Pages,
        records::{
            self, AccountRecord, ExpungeRecord, HeadRecord, MailboxRecord, RowRecord,
            SubscriptionsRecord,
        },
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid},
    mailbox::{rows::row_at, view::MessageRow},
    octets::Kept,
};

/// What the rows of a mailbox add up to.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) exists: u64,
    pub(super) unseen: u64,
    pub(super) deleted: u64,
    pub(super) octets: u64,
    pub(super) charged_octets: u64,
}

/// A mailbox as it was found and as it will be.
pub(super) struct Place {
    pub(super) found: Option<MailboxRecord>,
    pub(super) record: MailboxRecord,
    pub(super) tally: Tally,
    /// Highest UID that stands anywhere.
    pub(super) uid_max: u64,
    /// Highest MODSEQ that stands anywhere.
    pub(super) mod_seq_max: u64,
    /// It stands in the list of deletions.
    pub(super) pending: bool,
}

/// An account under repair.
pub(super) struct Patient {
    pub(super) id: AccountId,
    pub(super) found_head: Option<HeadRecord>,
    pub(super) head: HeadRecord,
    pub(super) places: BTreeMap<MailboxId, Place>,
    /// Names as the index has them.
    pub(super) names: BTreeMap<String, MailboxId>,
    pub(super) recovered: Option<MailboxId>,
    /// Changes of the report before this account.
    pub(super) changes_before: u64,
}

/// Repairs account `id`.
pub(super) async fn repair(repairer: &mut Repairer<'_>, id: AccountId) -> Result<(), StoreError> {
    let mut patient = Patient::load(repairer, id).await?;
    patient.odd_keys(repairer).await?;
    patient.numbers(repairer).await?;
    if patient.is_nobody(repairer).await? {
        return patient.remove_strays(repairer).await;
    }
    departed::repair_head(repairer, &mut patient).await?;
    patient.settings(repairer).await?;
    mailboxes::complete(repairer, &mut patient);
    patient.rows(repairer).await?;
    patient.changes(repairer).await?;
    patient.expunge_log(repairer).await?;
    messages::repair(repairer, &mut patient).await?;
    mailboxes::settle(repairer, &mut patient).await?;
    notes::repair(repairer, &patient).await
}

/// Size and digest of what stands under a message's key, erased or not.
pub(super) fn identity(kept: &Kept) -> (u64, Sha256Digest) {
    match kept {
        Kept::Message(stored) => (stored.size(), stored.digest()),
        Kept::Erased(erased) => (erased.size, erased.digest),
    }
}

/// The mailbox in a key of `family`.
fn mailbox_in(family: Family, key: &[u8]) -> Result<MailboxId, StoreError> {
    let mut reader = KeyReader::new(family, key);
    reader.take_u64()?;
    reader.take_u64().map(MailboxId)
}

/// Mailbox, MODSEQ and UID in a key of the index of changes.
fn change_in(key: &[u8]) -> Result<(MailboxId, ModSeq, Uid), StoreError> {
    let mut reader = KeyReader::new(keys::MAILBOX_CHANGES, key);
    reader.take_u64()?;
    let (mailbox, mod_seq) = (MailboxId(reader.take_u64()?), ModSeq(reader.take_u64()?));
    let uid = reader.take_uid()?;
    reader.finish()?;
    Ok((mailbox, mod_seq, uid))
}

/// Mailbox and MODSEQ in a key of the expunge log.
fn log_in(key: &[u8]) -> Result<(MailboxId, ModSeq), StoreError> {
    let mut reader = KeyReader::new(keys::EXPUNGE_LOG, key);
    reader.take_u64()?;
    let found = (MailboxId(reader.take_u64()?), ModSeq(reader.take_u64()?));
    reader.finish()?;
    Ok(found)
}

impl Patient {
    /// Takes out keys that are too short or too long for their family.
    async fn odd_keys(&self, repairer: &mut Repairer<'_>) -> Result<(), StoreError> {
        let families = [
            (keys::ACCOUNTS, 8),
            (keys::ACCOUNT_HEADS, 8),
            (keys::SUBSCRIPTIONS, 8),
            (keys::MAILBOX_DELETIONS, 16),
            (keys::ERASURES, 16),
            (keys::DEPARTED_MESSAGES, 24),
            (keys::QUOTA_WARNINGS, 16),
            (keys::MAILBOX_BLOCKS, 20),
            (keys::HEADER_BLOCKS, 16),
            (keys::ACCOUNT_GRANTS, 16),
        ];
        for (family, octets) in families {
            let mut pages = self.pages(family);
            while let Some(page) = pages.next(&*repairer.core.engine).await? {
                for (key, _) in page.into_iter().filter(|(key, _)| key.len() != octets) {
                    repairer.remove(family, key, "its key is none of the family's").await?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn name(&self) -> String {
        format!("account {}", self.id)
    }

    pub(super) fn mailbox_name(&self, mailbox: MailboxId) -> String {
        format!("mailbox {mailbox} of account {}", self.id)
    }

    async fn load(repairer: &mut Repairer<'_>, id: AccountId) -> Result<Self, StoreError> {
        let engine = &*repairer.core.engine;
        let head = read::<HeadRecord>(engine, keys::ACCOUNT_HEADS, &keys::account(id)).await;
        let found_head = readable(head)?.flatten();
        let mut patient = Self {
            id,
            found_head,
            head: found_head.unwrap_or_default(),
            places: BTreeMap::new(),
            names: BTreeMap::new(),
            recovered: None,
            changes_before: repairer.report.changes,
        };
        let prefix = keys::account(id);
        for (key, value) in scan_all(engine, Scan::prefix(keys::MAILBOXES, &prefix, PAGE)).await? {
            let record = records::decode::<MailboxRecord>(keys::MAILBOXES, &key, &value);
            let Some(mailbox) = readable(mailbox_in(keys::MAILBOXES, &key))? else {
                repairer.remove(keys::MAILBOXES, key, "its key names no mailbox").await?;
                continue;
            };
            let record = readable(record)?.filter(|record| record.uid_validity != 0);
            patient.place(mailbox).found = record;
        }
        for (key, value) in
            scan_all(engine, Scan::prefix(keys::MAILBOX_NAMES, &prefix, PAGE)).await?
        {
            if let Some((name, mailbox)) = readable(tree::name_at(&key, &value))? {
                patient.place(mailbox);
                patient.names.insert(name, mailbox);
            } else {
                repairer.remove(keys::MAILBOX_NAMES, key, "the name cannot be read").await?;
            }
        }
        for (key, _) in
            scan_all(engine, Scan::prefix(keys::MAILBOX_DELETIONS, &prefix, PAGE)).await?
        {
            if let Some(mailbox) = readable(mailbox_in(keys::MAILBOX_DELETIONS, &key))? {
                patient.place(mailbox).pending = true;
            }
        }
        Ok(patient)
    }

    /// Whether there is no account: nothing but records that belong to nobody.
    async fn is_nobody(&self, repairer: &Repairer<'_>) -> Result<bool, StoreError> {
        if self.found_head.is_some() || !self.places.is_empty() {
            return Ok(false);
        }
        let any = Scan::prefix(keys::MESSAGES, &keys::account(self.id), 1);
        Ok(repairer.core.engine.scan(&any).await?.is_empty()
            && repairer.core.engine.get(keys::ACCOUNTS, &keys::account(self.id)).await?.is_none()
            && repairer.source.settings(self.id).await?.is_none())
    }

    async fn remove_strays(&self, repairer: &mut Repairer<'_>) -> Result<(), StoreError> {
        for family in keys::OF_ACCOUNTS {
            let mut pages = self.pages(family);
            while let Some(page) = pages.next(&*repairer.core.engine).await? {
                for (key, _) in page {
                    repairer.remove(family, key, "there is no such account").await?;
                }
            }
        }
        Ok(())
    }

    /// Settings that are missing or damaged come from the registry.
    async fn settings(&self, repairer: &mut Repairer<'_>) -> Result<(), StoreError> {
        let key = keys::account(self.id);
        let engine = &*repairer.core.engine;
        let names = read::<SubscriptionsRecord>(engine, keys::SUBSCRIPTIONS, &key).await;
        if readable(names)?.is_none() {
            repairer.remove(keys::SUBSCRIPTIONS, key.clone(), "it cannot be read").await?;
        }
        let found = read::<AccountRecord>(engine, keys::ACCOUNTS, &key).await;
        let found = readable(found)?.flatten();
        let usable = found.map(|record| AccountSettings::of_record(self.id, record)).transpose();
        if readable(usable)?.flatten().is_some() {
            return Ok(());
        }
        match repairer.source.settings(self.id).await? {
            None => {
                let detail = "it has no settings that can be read, and the registry has none";
                repairer.left(self.name(), detail);
            }
            Some((version, settings)) => {
                repairer.changed(self.name(), "its settings are the registry's again");
                let record = records::encode(&settings.to_record(version));
                repairer.restored.insert(self.id, settings.address);
                repairer.put(keys::ACCOUNTS, key, record).await?;
            }
        }
        Ok(())
    }

    pub(super) fn place(&mut self, mailbox: MailboxId) -> &mut Place {
        self.places.entry(mailbox).or_insert_with(|| Place {
            found: None,
            record: MailboxRecord::default(),
            tally: Tally::default(),
            uid_max: 0,
            mod_seq_max: 0,
            pending: false,
        })
    }

    fn pages(&self, family: Family) -> Pages {
        Pages::prefix(family, &keys::account(self.id), PAGE)
    }

    /// Finds the highest numbers that stand anywhere, and raises the counters above them.
    async fn numbers(&mut self, repairer: &mut Repairer<'_>) -> Result<(), StoreError> {
        let mut emails = 0_u64;
        for family in [keys::MESSAGES, keys::SUMMARIES, keys::MESSAGE_REFERENCES] {
            let last = Scan {
                reverse: true,
                limit: 1,
                ..Scan::prefix(family, &keys::account(self.id), 1)
            };
            for (key, _) in repairer.core.engine.scan(&last).await? {
                emails = emails.max(messages::number_of(family, &key).map_or(0, |number| number.0));
            }
        }
        let mut pages = self.pages(keys::MAILBOX_ROWS);
        while let Some(page) = pages.next(&*repairer.core.engine).await? {
            for (key, value) in page {
                let Ok(mailbox) = mailbox_in(keys::MAILBOX_ROWS, &key) else { continue };
                let place = self.place(mailbox);
                if let Some(row) = readable(row_at(&key, &value))? {
                    emails = emails.max(row.email_number.0);
                    place.uid_max = place.uid_max.max(row.uid.get().into());
                    place.mod_seq_max = place.mod_seq_max.max(row.mod_seq.0);
                } else if let Some(uid) = key.get(16..).and_then(|uid| uid.try_into().ok()) {
                    place.uid_max = place.uid_max.max(u32::from_be_bytes(uid).into());
                }
            }
        }
        for family in [keys::MAILBOX_CHANGES, keys::EXPUNGE_LOG] {
            let mut pages = self.pages(family);
            while let Some(page) = pages.next(&*repairer.core.engine).await? {
                for (key, _) in page {
                    let found = match family {
                        keys::EXPUNGE_LOG => {
                            log_in(&key).ok().map(|(mailbox, seq)| (mailbox, seq, 0))
                        }
                        _ => change_in(&key).ok().map(|(m, seq, uid)| (m, seq, uid.get())),
                    };
                    let Some((mailbox, mod_seq, uid)) = found else { continue };
                    if let Some(place) = self.places.get_mut(&mailbox) {
                        place.mod_seq_max = place.mod_seq_max.max(mod_seq.0);
                        place.uid_max = place.uid_max.max(uid.into());
                    }
                }
            }
        }
        self.raise(repairer, emails);
        Ok(())
    }

    /// Raises the head's counters above `emails` and everything that the mailboxes have.
    fn raise(&mut self, repairer: &Repairer<'_>, emails: u64) {
        let lost = if self.found_head.is_some() { 0 } else { LOST_NUMBERS };
        let above = |most: u64| most.saturating_add(1 + lost);
        let places = || self.places.values();
        let of = |place: &Place| place.found.as_ref().map_or(0, |found| found.highest_mod_seq);
        let mod_seqs = places().map(|place| place.mod_seq_max.max(of(place))).max().unwrap_or(0);
        let validities = places().filter_map(|place| Some(place.found.as_ref()?.uid_validity));
        let validities = validities.max().unwrap_or(0);
        let ids = self.places.keys().next_back().map_or(0, |id| id.0);
        // As for a new account: UIDVALIDITY begins with the time of day.
        let seconds = if self.found_head.is_some() {
            1
        } else {
            u64::try_from(repairer.core.clock.now().seconds()).unwrap_or(0).min(u32::MAX.into())
        };
        let head = &mut self.head;
        head.next_email_number = head.next_email_number.max(above(emails));
        head.next_mod_seq = head.next_mod_seq.max(above(mod_seqs));
        head.next_mailbox_id = head.next_mailbox_id.max(above(ids));
        head.next_uid_validity =
            head.next_uid_validity.max(u64::from(validities) + 1).max(seconds).max(1);
    }

    pub(super) fn take_mod_seq(&mut self) -> ModSeq {
        self.head.next_mod_seq += 1;
        ModSeq(self.head.next_mod_seq - 1)
    }

    /// Counts the rows; makes each agree with its message and with the index of changes.
    async fn rows(&mut self, repairer: &mut Repairer<'_>) -> Result<(), StoreError> {
        let mut pages = self.pages(keys::MAILBOX_ROWS);
        while let Some(page) = pages.next(&*repairer.core.engine).await? {
            for (key, value) in page {
                match readable(row_at(&key, &value))? {
                    Some(row) => self.row(repairer, key, row).await?,
                    None => self.unreadable_row(repairer, key).await?,
                }
            }
        }
        Ok(())
    }

    async fn row(
        &mut self,
        repairer: &mut Repairer<'_>,
        key: Bytes,
        mut row: MessageRow,
    ) -> Result<(), StoreError> {
        let mailbox = mailbox_in(keys::MAILBOX_ROWS, &key)?;
        let object = format!("UID {} of {}", row.uid, self.mailbox_name(mailbox));
        let message = keys::message(self.id, row.email_number);
        match repairer.core.engine.get(keys::MESSAGES, &message).await? {
            None => repairer.left(object, format!("its message {} is missing", row.email_number)),
            Some(stored) => {
                let right =
                    readable(Kept::decode(&stored, || object.clone()))?.as_ref().map(identity);
                if let Some((size, digest)) = right.filter(|it| *it != (row.size, row.digest)) {
                    repairer.changed(object, "size and digest are those of its message again");
                    (row.size, row.digest) = (size, digest);
                    let record = records::encode(&RowRecord::of(&row));
                    repairer.put(keys::MAILBOX_ROWS, key, record).await?;
                }
            }
        }
        let change = keys::change(self.id, mailbox, row.mod_seq, row.uid);
        if repairer.core.engine.get(keys::MAILBOX_CHANGES, &change).await?.is_none() {
            let object = keys::object(keys::MAILBOX_CHANGES, &change);
            repairer.changed(object, "it was missing: added");
            repairer.put(keys::MAILBOX_CHANGES, change, Bytes::new()).await?;
        }
        self.place(mailbox).tally.add(&row);
        Ok(())
    }

    /// Takes out a row that cannot be read, and lets clients see that it is gone.
    async fn unreadable_row(
        &mut self,
        repairer: &mut Repairer<'_>,
        key: Bytes,
    ) -> Result<(), StoreError> {
        let mailbox = mailbox_in(keys::MAILBOX_ROWS, &key).ok();
        let uid = key.get(16..).and_then(|octets| octets.try_into().ok());
        let uid = uid.and_then(|octets| Uid::new(u32::from_be_bytes(octets)));
        repairer.remove(keys::MAILBOX_ROWS, key, "the row cannot be read").await?;
        if let (Some(mailbox), Some(uid)) = (mailbox, uid) {
            let mod_seq = self.take_mod_seq();
            let record = ExpungeRecord::new(&[uid], repairer.core.clock.now());
            let log = keys::mod_seq(self.id, mailbox, mod_seq);
            repairer.put(keys::EXPUNGE_LOG, log, records::encode(&record)).await?;
            let place = self.place(mailbox);
            place.mod_seq_max = mod_seq.0;
        }
        Ok(())
    }

    /// Takes out entries of the index of changes that no row has.
    async fn changes(&mut self, repairer: &mut Repairer<'_>) -> Result<(), StoreError> {
        let mut pages = self.pages(keys::MAILBOX_CHANGES);
        while let Some(page) = pages.next(&*repairer.core.engine).await? {
            for (key, _) in page {
                let row = match readable(change_in(&key))? {
                    None => None,
                    Some((mailbox, mod_seq, uid)) => {
                        let row = keys::row(self.id, mailbox, uid);
                        let value = repairer.core.engine.get(keys::MAILBOX_ROWS, &row).await?;
                        let row = value.map(|value| row_at(&row, &value)).transpose();
                        readable(row)?.flatten().filter(|row| row.mod_seq == mod_seq)
                    }
                };
                if row.is_none() {
                    repairer.remove(keys::MAILBOX_CHANGES, key, "no row has this MODSEQ").await?;
                }
            }
        }
        Ok(())
    }

    /// Takes out entries of the log that are wrong; clients then ask for everything anew.
    async fn expunge_log(&mut self, repairer: &mut Repairer<'_>) -> Result<(), StoreError> {
        let mut pages = self.pages(keys::EXPUNGE_LOG);
        while let Some(page) = pages.next(&*repairer.core.engine).await? {
            for (key, value) in page {
                let Some((mailbox, mod_seq)) = readable(log_in(&key))? else {
                    repairer.remove(keys::EXPUNGE_LOG, key, "its key is none of the log").await?;
                    continue;
                };
                if !self.log_entry_is_right(repairer, mailbox, &key, &value).await? {
                    repairer
                        .remove(keys::EXPUNGE_LOG, key, "it names what is not expunged")
                        .await?;
                    if let Some(place) = self.places.get_mut(&mailbox) {
                        let floor = &mut place.record.expunge_floor;
                        *floor = (*floor).max(mod_seq.0);
                    }
                }
            }
        }
        Ok(())
    }

    async fn log_entry_is_right(
        &self,
        repairer: &Repairer<'_>,
        mailbox: MailboxId,
        key: &[u8],
        value: &[u8],
    ) -> Result<bool, StoreError> {
        let Some(place) = self.places.get(&mailbox) else { return Ok(false) };
        let record = records::decode::<ExpungeRecord>(keys::EXPUNGE_LOG, key, value);
        let uids = readable(record)?.and_then(|record| record.uids());
        let Some(uids) = uids else { return Ok(false) };
        if uids.iter().any(|uid| u64::from(uid.get()) >= place.record.uid_next) {
            return Ok(false);
        }
        for uids in uids.chunks(PAGE) {
            let rows: Vec<_> = uids
                .iter()
                .map(|uid| (keys::MAILBOX_ROWS, keys::row(self.id, mailbox, *uid)))
                .collect();
            for ((_, key), row) in rows.iter().zip(repairer.core.engine.multi_get(&rows).await?) {
                // A row that cannot be read is on its way out.
                if row.is_some_and(|row| row_at(key, &row).is_ok()) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Gives a message without rows one in [`RECOVERED`].
    pub(super) async fn recover(
        &mut self,
        repairer: &mut Repairer<'_>,
        number: EmailNumber,
        (size, digest): (u64, Sha256Digest),
    ) -> Result<(), StoreError> {
        let mailbox = mailboxes::recovered(repairer, self);
        let (mod_seq, now) = (self.take_mod_seq(), repairer.core.clock.now());
        let place = self.place(mailbox);
        let uid = u32::try_from(place.record.uid_next).ok().and_then(Uid::new);
        let uid = uid.ok_or(StoreError::Exhausted("UIDs"))?;
        place.record.uid_next += 1;
        (place.uid_max, place.mod_seq_max) = (uid.get().into(), mod_seq.0);
        let row = MessageRow {
            uid,
            email_number: number,
            flags: crate::mailbox::flags::Flags::default(),
            mod_seq,
            internal_date: now,
            save_date: now,
            size,
            charged_octets: size,
            digest,
            origin: None,
        };
        place.tally.add(&row);
        let object = crate::account::message_name(self.id, number);
        repairer.changed(object, format!("no row had it: UID {uid} of the mailbox {RECOVERED}"));
        repairer.report.recovered += 1;
        let change = keys::change(self.id, mailbox, mod_seq, uid);
        repairer.put(keys::MAILBOX_CHANGES, change, Bytes::new()).await?;
        let key = keys::row(self.id, mailbox, uid);
        repairer.put(keys::MAILBOX_ROWS, key, records::encode(&RowRecord::of(&row))).await
    }
}

impl Tally {
    fn add(&mut self, row: &MessageRow) {
        self.exists += 1;
        self.unseen += u64::from(!row.flags.seen);
        self.deleted += u64::from(row.flags.deleted);
        self.octets = self.octets.saturating_add(row.size);
        self.charged_octets = self.charged_octets.saturating_add(row.charged_octets);
    }
}
