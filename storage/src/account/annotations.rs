//! What is noted about mailboxes and about the account itself (RFC 5464 §3).
//!
//! * An entry's name is ASCII in lower case, and has one value at most in each place.
//! * An account has a bounded number of annotations and of their octets, names counted; both are
//!   exact, because all of them are looked at before one is added.
//! * A mailbox keeps its annotations when it is renamed; they go in the batch that takes its name.
//!
//! Not here: which names there are and who may see them (`protocols::imap`).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{draft::Draft, queue::Change, scan_all};
use crate::{
    catalog::{
        engine::{Reader, Scan},
        keys::{self, KeyReader},
        records::{self, AnnotationRecord},
    },
    error::StoreError,
    ids::{AccountId, MailboxId},
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// Notes values, or forgets what has none, all or nothing.
pub(crate) struct Annotate {
    /// `None` is the account itself.
    pub(crate) mailbox: Option<MailboxId>,
    pub(crate) changes: Vec<(String, Option<Bytes>)>,
}

#[async_trait::async_trait]
impl Change for Annotate {
    type Outcome = ();

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<(), StoreError> {
        draft.head()?;
        if let Some(mailbox) = self.mailbox {
            draft.mailbox(mailbox).await?;
        }
        let octets_max = draft.limits.annotation_octets_max;
        let values = self.changes.iter().filter_map(|(_, value)| value.as_ref());
        if values.into_iter().any(|value| value.len() as u64 > octets_max) {
            return Err(StoreError::AnnotationTooLarge(octets_max));
        }
        let prefix = keys::account(draft.account);
        let entries = draft.scan_prefix(keys::ANNOTATIONS, &prefix, usize::MAX).await?;
        let mut present: BTreeMap<Bytes, u64> = BTreeMap::new();
        for (key, value) in entries {
            let octets = octets_of(&key, &value)?;
            present.insert(key, octets);
        }
        let before = present.values().sum::<u64>();
        let count_before = present.len();
        for (entry, value) in &self.changes {
            let key = keys::annotation(draft.account, self.mailbox, entry);
            match value {
                None => {
                    if present.remove(&key).is_some() {
                        draft.delete(keys::ANNOTATIONS, key);
                    }
                }
                Some(value) => {
                    present.insert(key.clone(), (entry.len() + value.len()) as u64);
                    let record = AnnotationRecord { value: value.clone() };
                    draft.put_record(keys::ANNOTATIONS, key, &record);
                }
            }
        }
        // What makes room is never refused.
        let count_max = draft.limits.annotations_per_account_max;
        if present.len() > count_before && present.len() as u64 > count_max {
            return Err(StoreError::TooManyAnnotations(count_max));
        }
        let after = present.values().sum::<u64>();
        let limit = draft.limits.annotation_octets_per_account_max;
        if after > before && after > limit {
            return Err(StoreError::OverQuota {
                resource: "annotation octets",
                used: before,
                limit,
            });
        }
        Ok(())
    }

    fn weight(&self) -> usize {
        let octets = |(entry, value): &(String, Option<Bytes>)| {
            entry.len() + value.as_ref().map_or(0, Bytes::len)
        };
        self.changes.iter().map(octets).sum::<usize>() + 1_024
    }
}

fn octets_of(key: &Bytes, value: &Bytes) -> Result<u64, StoreError> {
    let (_, entry, value) = annotation_at(key, value)?;
    Ok((entry.len() + value.len()) as u64)
}

/// Reads an entry of `annotations`: mailbox, name, value.
pub(crate) fn annotation_at(
    key: &[u8],
    value: &[u8],
) -> Result<(Option<MailboxId>, String, Bytes), StoreError> {
    let mut reader = KeyReader::new(keys::ANNOTATIONS, key);
    reader.take_u64()?;
    let mailbox = Some(reader.take_u64()?).filter(|&id| id != 0).map(MailboxId);
    let entry = reader.take_text()?.to_owned();
    let record: AnnotationRecord = records::decode(keys::ANNOTATIONS, key, value)?;
    Ok((mailbox, entry, record.value))
}

/// What is noted about `mailbox`, by name.
pub(crate) async fn read(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
    mailbox: Option<MailboxId>,
) -> Result<Vec<(String, Bytes)>, StoreError> {
    let prefix = keys::annotation(account, mailbox, "");
    let entries = scan_all(reader, Scan::prefix(keys::ANNOTATIONS, &prefix, PAGE)).await?;
    let read = |(key, value): &(Bytes, Bytes)| {
        annotation_at(key, value).map(|(_, entry, value)| (entry, value))
    };
    entries.iter().map(read).collect()
}

/// Forgets what is noted about a mailbox that goes.
pub(crate) async fn forget(draft: &mut Draft<'_>, mailbox: MailboxId) -> Result<(), StoreError> {
    let prefix = keys::annotation(draft.account, Some(mailbox), "");
    for (key, _) in draft.scan_prefix(keys::ANNOTATIONS, &prefix, usize::MAX).await? {
        draft.delete(keys::ANNOTATIONS, key);
    }
    Ok(())
}
