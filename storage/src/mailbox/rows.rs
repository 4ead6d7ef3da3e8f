//! The only places where rows appear, change and go: everything that must agree with them changes
//! in the same draft.
//!
//! * Counters of the mailbox and usage of the account equal the sum over its rows.
//! * Every row has exactly one entry in `mailbox_changes`, under its present MODSEQ.
//! * A message record stands as long as a row refers to it, and longer where a snapshot holds the
//!   message (`account::capture`); `message_references` holds the number of rows where it is above
//!   one.

use std::sync::Arc;

use bytes::Bytes;

use super::view::{MessageRow, Origin};
use crate::{
    account::{
        capture,
        draft::Draft,
        quota::{self, QuotaRule},
        tier::Tier,
    },
    catalog::{
        keys,
        records::{self, ExpungeRecord, MailboxRecord, ReferencesRecord, RowRecord},
    },
    error::StoreError,
    ids::{EmailNumber, MailboxId, ModSeq, Uid, UidValidity},
};

/// A mailbox being changed: its record is written back by [`OpenMailbox::close`].
pub(crate) struct OpenMailbox {
    /// The mailbox.
    pub(crate) id: MailboxId,
    /// Its counters as the draft leaves them.
    pub(crate) record: MailboxRecord,
}

impl OpenMailbox {
    /// Opens mailbox `id`, [`StoreError::NoSuchMailbox`].
    pub(crate) async fn open(draft: &Draft<'_>, id: MailboxId) -> Result<Self, StoreError> {
        Ok(Self { id, record: draft.mailbox(id).await? })
    }

    /// Writes the counters.
    pub(crate) fn close(self, draft: &mut Draft<'_>) {
        draft.put_mailbox(self.id, &self.record);
    }

    /// UIDVALIDITY.
    pub(crate) fn uid_validity(&self, draft: &Draft<'_>) -> Result<UidValidity, StoreError> {
        uid_validity(&self.record, &keys::mailbox(draft.account, self.id))
    }

    /// Which usage its rows are part of.
    pub(crate) fn tier(&self) -> Tier {
        Tier::of(&self.record)
    }

    /// What a row of this mailbox says of its origin after it was moved to a mailbox of tier `to`.
    pub(crate) fn origin_of_moved(&self, row: &MessageRow, to: Tier) -> Option<Arc<Origin>> {
        match (self.tier(), to) {
            (_, Tier::Live) => None,
            (Tier::Archive, Tier::Archive) => row.origin.clone(),
            (Tier::Live, Tier::Archive) => {
                let name = self.record.name.clone();
                Some(Arc::new(Origin { mailbox: self.id, name, uid: row.uid }))
            }
        }
    }

    /// Takes the next UID.
    pub(crate) fn take_uid(&mut self) -> Result<Uid, StoreError> {
        let uid = u32::try_from(self.record.uid_next).ok().and_then(Uid::new);
        let uid = uid.ok_or(StoreError::Exhausted("UIDs"))?;
        self.record.uid_next += 1;
        Ok(uid)
    }

    /// Adds `row`, whose usage is charged already.
    pub(crate) fn insert(&mut self, draft: &mut Draft<'_>, row: &MessageRow) {
        self.count(row);
        self.write(draft, row);
    }

    /// Writes `new` over `old`: flags and MODSEQ differ, nothing else.
    pub(crate) fn replace(
        &mut self,
        draft: &mut Draft<'_>,
        old: &MessageRow,
        new: &MessageRow,
    ) -> Result<(), StoreError> {
        self.discount(draft, old)?;
        self.count(new);
        let change = keys::change(draft.account, self.id, old.mod_seq, old.uid);
        draft.delete(keys::MAILBOX_CHANGES, change);
        self.write(draft, new);
        Ok(())
    }

    /// Removes `row`; usage and the expunge log are the caller's.
    pub(crate) fn remove(
        &mut self,
        draft: &mut Draft<'_>,
        row: &MessageRow,
    ) -> Result<(), StoreError> {
        self.discount(draft, row)?;
        draft.touch(Some(self.id));
        let account = draft.account;
        let change = keys::change(account, self.id, row.mod_seq, row.uid);
        draft.delete(keys::MAILBOX_CHANGES, change);
        draft.delete(keys::MAILBOX_ROWS, keys::row(account, self.id, row.uid));
        Ok(())
    }

    /// Removes `rows` for good under one MODSEQ: rows, usage, messages nobody refers to, log.
    pub(crate) async fn expunge(
        &mut self,
        draft: &mut Draft<'_>,
        rows: &[MessageRow],
    ) -> Result<(), StoreError> {
        for row in rows {
            self.remove(draft, row)?;
            release_message(draft, row.email_number).await?;
        }
        let charged = rows.iter().map(|row| row.charged_octets).sum();
        quota::discharge(draft, self.tier(), charged, rows.len() as u64)?;
        self.log_expunged(draft, rows)
    }

    /// Logs that `rows`, ascending by UID, are gone.
    pub(crate) fn log_expunged(
        &mut self,
        draft: &mut Draft<'_>,
        rows: &[MessageRow],
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mod_seq = draft.take_mod_seq()?;
        self.record.highest_mod_seq = mod_seq.0;
        let uids: Vec<Uid> = rows.iter().map(|row| row.uid).collect();
        let key = keys::mod_seq(draft.account, self.id, mod_seq);
        draft.put_record(keys::EXPUNGE_LOG, key, &ExpungeRecord::new(&uids, draft.now));
        Ok(())
    }

    /// The rows of `uids` that exist, ascending by UID.
    pub(crate) async fn find(
        &self,
        draft: &Draft<'_>,
        uids: &[Uid],
    ) -> Result<Vec<MessageRow>, StoreError> {
        let mut uids = uids.to_vec();
        uids.sort_unstable();
        uids.dedup();
        let asked: Vec<Bytes> =
            uids.iter().map(|uid| keys::row(draft.account, self.id, *uid)).collect();
        let values = draft.multi_get(keys::MAILBOX_ROWS, asked).await?;
        let mut rows = Vec::new();
        for (uid, value) in uids.into_iter().zip(values) {
            if let Some(octets) = value {
                let key = keys::row(draft.account, self.id, uid);
                rows.push(records::decode_row(&key, uid, &octets)?);
            }
        }
        Ok(rows)
    }

    /// The first `limit` rows.
    pub(crate) async fn first(
        &self,
        draft: &Draft<'_>,
        limit: usize,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let prefix = keys::mailbox(draft.account, self.id);
        let entries = draft.scan_prefix(keys::MAILBOX_ROWS, &prefix, limit).await?;
        entries.iter().map(|(key, value)| row_at(key, value)).collect()
    }

    fn write(&mut self, draft: &mut Draft<'_>, row: &MessageRow) {
        draft.touch(Some(self.id));
        let account = draft.account;
        self.record.highest_mod_seq = self.record.highest_mod_seq.max(row.mod_seq.0);
        draft.put_record(
            keys::MAILBOX_ROWS,
            keys::row(account, self.id, row.uid),
            &RowRecord::of(row),
        );
        let change = keys::change(account, self.id, row.mod_seq, row.uid);
        draft.put(keys::MAILBOX_CHANGES, change, Bytes::new());
    }

    fn count(&mut self, row: &MessageRow) {
        let record = &mut self.record;
        record.exists += 1;
        record.unseen += u64::from(!row.flags.seen);
        record.deleted += u64::from(row.flags.deleted);
        record.octets += row.size;
        record.charged_octets += row.charged_octets;
    }

    fn discount(&mut self, draft: &Draft<'_>, row: &MessageRow) -> Result<(), StoreError> {
        let record = &mut self.record;
        let counters = [
            (&mut record.exists, 1),
            (&mut record.unseen, u64::from(!row.flags.seen)),
            (&mut record.deleted, u64::from(row.flags.deleted)),
            (&mut record.octets, row.size),
            (&mut record.charged_octets, row.charged_octets),
        ];
        for (counter, less) in counters {
            *counter = counter.checked_sub(less).ok_or_else(|| {
                records::damaged(
                    keys::MAILBOXES,
                    &keys::mailbox(draft.account, self.id),
                    "a counter is less than the sum over the rows".to_owned(),
                )
            })?;
        }
        Ok(())
    }
}

/// Reads an entry of `mailbox_rows`.
pub(crate) fn row_at(key: &[u8], value: &[u8]) -> Result<MessageRow, StoreError> {
    let mut reader = keys::KeyReader::new(keys::MAILBOX_ROWS, key);
    reader.take_u64()?;
    reader.take_u64()?;
    let uid = reader.take_uid()?;
    reader.finish()?;
    records::decode_row(key, uid, value)
}

/// The UIDVALIDITY in `record`, which stands under `key`.
pub(crate) fn uid_validity(record: &MailboxRecord, key: &[u8]) -> Result<UidValidity, StoreError> {
    std::num::NonZeroU32::new(record.uid_validity)
        .map(UidValidity)
        .ok_or_else(|| records::damaged(keys::MAILBOXES, key, "UIDVALIDITY is 0".to_owned()))
}

/// Counts one more row of a message that has rows already.
pub(crate) async fn share_message(
    draft: &mut Draft<'_>,
    email_number: EmailNumber,
) -> Result<(), StoreError> {
    let key = keys::message(draft.account, email_number);
    let record = draft.record::<ReferencesRecord>(keys::MESSAGE_REFERENCES, &key).await?;
    let rows = record.map_or(1, |record| record.rows) + 1;
    draft.put_record(keys::MESSAGE_REFERENCES, key, &ReferencesRecord { rows });
    Ok(())
}

/// Counts one row less. With its last row a message departs, or is removed.
async fn release_message(
    draft: &mut Draft<'_>,
    email_number: EmailNumber,
) -> Result<(), StoreError> {
    let key = keys::message(draft.account, email_number);
    let record = draft.record::<ReferencesRecord>(keys::MESSAGE_REFERENCES, &key).await?;
    match record.map_or(1, |record| record.rows) {
        0 | 1 => {
            capture::depart_or_remove(draft, email_number)?;
        }
        2 => draft.delete(keys::MESSAGE_REFERENCES, key),
        rows => {
            let record = ReferencesRecord { rows: rows - 1 };
            draft.put_record(keys::MESSAGE_REFERENCES, key, &record);
        }
    }
    Ok(())
}

/// Copies `row` to the end of `to`, under `mod_seq`. Usage is the caller's.
pub(crate) fn copy_row(
    draft: &mut Draft<'_>,
    to: &mut OpenMailbox,
    row: &MessageRow,
    mod_seq: ModSeq,
    origin: Option<Arc<Origin>>,
) -> Result<Uid, StoreError> {
    if origin.is_some() {
        draft.raise_format();
    }
    let uid = to.take_uid()?;
    let copy = MessageRow { uid, mod_seq, save_date: draft.now, origin, ..row.clone() };
    to.insert(draft, &copy);
    Ok(uid)
}

/// Charges copies of `rows` to `tier`, all of them or none.
pub(crate) async fn charge_copies(
    draft: &mut Draft<'_>,
    tier: Tier,
    rows: &[MessageRow],
) -> Result<(), StoreError> {
    let octets = rows.iter().map(|row| row.charged_octets).sum();
    quota::charge(draft, tier, octets, rows.len() as u64, QuotaRule::Enforce).await
}

/// Moves the usage of `rows` from the first of `tiers` to the second, all of it or none.
pub(crate) async fn transfer(
    draft: &mut Draft<'_>,
    tiers: (Tier, Tier),
    rows: &[MessageRow],
) -> Result<(), StoreError> {
    let octets = rows.iter().map(|row| row.charged_octets).sum();
    quota::transfer(draft, tiers, octets, rows.len() as u64).await
}
