//! Brings rows that a snapshot shows back into a live mailbox, under new UIDs.
//!
//! * All rows go in one batch, or none; no octets are copied.
//! * A message that still has a row is shared, as a copy shares it. One that departed with its last
//!   row (`account::capture`) never comes back under its number: it is appended again, under a new
//!   number, with the records it had and the chunks it had. Named twice it is appended once.
//! * What is restored is what was asked for: the digest of every message is compared first.
//!
//! Not here: which rows a snapshot shows, and in what steps many are restored (floors above).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{
    copy::too_many_rows,
    flags::Flags,
    rows::{self, OpenMailbox},
    view::MessageRow,
};
use crate::{
    account::{
        after, capture::departed_at, draft::Draft, message_name, queue::Change, quota,
        quota::QuotaRule,
    },
    catalog::{
        engine::{Batch, Reader, Scan},
        keys,
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, ModSeq, Uid, UidValidity},
    octets::{Erased, Kept, StagedMessage},
    summary::Summary,
};

/// Keys looked up at once.
const LOOKED_UP: usize = 1_000;

/// Octets of records that the departed messages of one batch may have: they are held in memory.
const RECORD_OCTETS_MAX: usize = 64 << 20;

/// A row as it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestoredRow {
    /// The message's number, as the snapshot knows it.
    pub email_number: EmailNumber,
    /// SHA-256 of the message.
    pub digest: Sha256Digest,
    /// The flags of the new row.
    pub flags: Flags,
    /// Its INTERNALDATE.
    pub internal_date: UnixMillis,
    /// Octets to charge for it.
    pub charged_octets: u64,
}

impl From<&MessageRow> for RestoredRow {
    fn from(row: &MessageRow) -> Self {
        Self {
            email_number: row.email_number,
            digest: row.digest,
            flags: row.flags.clone(),
            internal_date: row.internal_date,
            charged_octets: row.charged_octets,
        }
    }
}

/// What becomes of the others when the octets of a message were erased meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErasedRows {
    /// Nothing is restored: [`StoreError::Erased`].
    Refuse,
    /// The row is left out.
    Skip,
}

/// What is restored where, and under which conditions.
#[derive(Clone, Debug)]
pub struct RestoreRows {
    /// The mailbox.
    pub destination: MailboxId,
    /// The rows, in the order of their new UIDs.
    pub rows: Vec<RestoredRow>,
    /// Whether lack of space refuses them.
    pub quota: QuotaRule,
    /// What erased messages do.
    pub erased: ErasedRows,
    /// Conditions and changes of the floor above, applied in the same batch. When a condition
    /// fails the whole fails with [`StoreError::Conflict`].
    pub also: Batch,
}

/// Where restored rows stand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Restored {
    /// UIDVALIDITY of the destination.
    pub uid_validity: UidValidity,
    /// The new UIDs, in the order asked; `None` for a row that was left out.
    pub uids: Vec<Option<Uid>>,
}

/// What is known of a message that is to be restored.
enum Found {
    /// It has a row, or has one again: under this number.
    Live { number: EmailNumber, size: u64, digest: Sha256Digest },
    /// It has departed, and left these records.
    Departed { message: Bytes, summary: Bytes, staged: StagedMessage },
    /// Its octets were erased.
    Erased(Erased),
}

impl Found {
    fn digest(&self) -> Sha256Digest {
        match self {
            Self::Live { digest, .. } => *digest,
            Self::Departed { staged, .. } => staged.digest(),
            Self::Erased(erased) => erased.digest,
        }
    }
}

#[async_trait::async_trait]
impl Change for RestoreRows {
    type Outcome = Restored;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Restored, StoreError> {
        if self.rows.len() > draft.limits.rows_per_batch_max {
            return Err(too_many_rows(draft.limits.rows_per_batch_max));
        }
        let mut mailbox = OpenMailbox::open(draft, self.destination).await?;
        let uid_validity = mailbox.uid_validity(draft)?;
        let mut found = self.find(draft).await?;
        let kept = self.rows.iter().filter(|row| !is_erased(&found, row)).collect::<Vec<_>>();
        if !kept.is_empty() {
            let octets = kept.iter().map(|row| row.charged_octets).sum();
            quota::charge(draft, mailbox.tier(), octets, kept.len() as u64, self.quota).await?;
        }
        let mod_seq = if kept.is_empty() { ModSeq(0) } else { draft.take_mod_seq()? };
        let mut uids = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            if is_erased(&found, row) {
                uids.push(None);
                continue;
            }
            let (email_number, size) = bring_back(draft, &mut found, row.email_number).await?;
            let uid = mailbox.take_uid()?;
            let restored = MessageRow {
                uid,
                email_number,
                flags: row.flags.clone(),
                mod_seq,
                internal_date: row.internal_date,
                save_date: draft.now,
                size,
                charged_octets: row.charged_octets,
                digest: row.digest,
                origin: None,
            };
            mailbox.insert(draft, &restored);
            uids.push(Some(uid));
        }
        if !kept.is_empty() {
            mailbox.close(draft);
        }
        draft.add(self.also.clone());
        Ok(Restored { uid_validity, uids })
    }

    fn weight(&self) -> usize {
        1_024 * self.rows.len() + 1_024
    }

    fn is_alone(&self) -> bool {
        true
    }
}

impl RestoreRows {
    /// Reads every message that is named, once, and says whether it has departed.
    async fn find(&self, draft: &Draft<'_>) -> Result<BTreeMap<EmailNumber, Found>, StoreError> {
        let account = draft.account;
        let digests: BTreeMap<EmailNumber, Sha256Digest> =
            self.rows.iter().map(|row| (row.email_number, row.digest)).collect();
        // Two rows of one number must speak of one message.
        if let Some(row) = self.rows.iter().find(|row| digests[&row.email_number] != row.digest) {
            return Err(another(account, row.email_number));
        }
        let asked: Vec<(EmailNumber, Sha256Digest)> = digests.into_iter().collect();
        let numbers: Vec<EmailNumber> = asked.iter().map(|(number, _)| *number).collect();
        let departed = departed(&*draft.engine_snapshot().await?, account, &numbers).await?;
        let (mut found, mut record_octets) = (BTreeMap::new(), 0);
        for asked in asked.chunks(LOOKED_UP) {
            let keys = asked.iter().map(|(number, _)| keys::message(account, *number)).collect();
            let messages = draft.multi_get(keys::MESSAGES, keys).await?;
            for ((number, digest), message) in asked.iter().zip(messages) {
                let gone = StoreError::NoSuchMessage { account, email_number: *number };
                let message = message.ok_or(gone)?;
                let one = look(draft, *number, message, departed.contains(number)).await?;
                if one.digest() != *digest {
                    return Err(another(account, *number));
                }
                match &one {
                    Found::Erased(erased) if self.erased == ErasedRows::Refuse => {
                        let object = message_name(account, *number);
                        return Err(StoreError::Erased { object, at: erased.at });
                    }
                    Found::Departed { message, summary, .. } => {
                        record_octets += message.len() + summary.len();
                    }
                    _ => {}
                }
                if record_octets > RECORD_OCTETS_MAX {
                    return Err(too_many_rows(found.len()));
                }
                found.insert(*number, one);
            }
        }
        Ok(found)
    }
}

/// Reads what is to be known of a message whose record is `message`.
async fn look(
    draft: &Draft<'_>,
    number: EmailNumber,
    message: Bytes,
    departed: bool,
) -> Result<Found, StoreError> {
    let account = draft.account;
    let name = || message_name(account, number);
    let stored = match Kept::decode(&message, name)? {
        Kept::Erased(erased) => return Ok(Found::Erased(erased)),
        Kept::Message(stored) => stored,
    };
    if !departed {
        let (size, digest) = (stored.size(), stored.digest());
        return Ok(Found::Live { number, size, digest });
    }
    let key = keys::message(account, number);
    let summary = draft.get(keys::SUMMARIES, &key).await?;
    let summary = summary.ok_or(StoreError::NoSuchMessage { account, email_number: number })?;
    let decoded = Arc::new(Summary::decode(&summary, name)?);
    Ok(Found::Departed { message, summary, staged: StagedMessage::restage(stored, decoded) })
}

fn is_erased(found: &BTreeMap<EmailNumber, Found>, row: &RestoredRow) -> bool {
    matches!(found.get(&row.email_number), Some(Found::Erased(_)))
}

fn another(account: AccountId, number: EmailNumber) -> StoreError {
    StoreError::Damaged {
        object: message_name(account, number),
        detail: "it is not the message of that number which is to be restored".to_owned(),
    }
}

/// Gives a message one row more: the number that the row is to have, and its size.
async fn bring_back(
    draft: &mut Draft<'_>,
    found: &mut BTreeMap<EmailNumber, Found>,
    number: EmailNumber,
) -> Result<(EmailNumber, u64), StoreError> {
    match found.get(&number) {
        Some(Found::Live { number: live, size, .. }) => {
            let (live, size) = (*live, *size);
            rows::share_message(draft, live).await?;
            Ok((live, size))
        }
        Some(Found::Departed { message, summary, staged }) => {
            let (message, summary) = (message.clone(), summary.clone());
            let (size, digest) = (staged.size(), staged.digest());
            let mut batch = Batch::default();
            staged.add_to(&mut batch);
            let new = draft.take_email_number()?;
            let key = keys::message(draft.account, new);
            draft.put(keys::MESSAGES, key.clone(), message);
            draft.put(keys::SUMMARIES, key, summary);
            draft.add(batch);
            found.insert(number, Found::Live { number: new, size, digest });
            Ok((new, size))
        }
        Some(Found::Erased(_)) | None => {
            Err(StoreError::NoSuchMessage { account: draft.account, email_number: number })
        }
    }
}

/// Which of `numbers` have a row: those that are known and have not departed.
pub(crate) async fn standing(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
    numbers: &BTreeSet<EmailNumber>,
) -> Result<BTreeSet<EmailNumber>, StoreError> {
    let numbers: Vec<EmailNumber> = numbers.iter().copied().collect();
    let departed = departed(reader, account, &numbers).await?;
    let mut standing = BTreeSet::new();
    for numbers in numbers.chunks(LOOKED_UP) {
        let key = |number: &EmailNumber| (keys::MESSAGES, keys::message(account, *number));
        let records = reader.multi_get(&numbers.iter().map(key).collect::<Vec<_>>()).await?;
        let known = numbers.iter().zip(records).filter(|(_, record)| record.is_some());
        standing.extend(known.map(|(number, _)| *number).filter(|one| !departed.contains(one)));
    }
    Ok(standing)
}

/// Which of `numbers`, ascending, have departed: they stand in the list of one snapshot each. There
/// are as many lists as there are snapshots.
async fn departed(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
    numbers: &[EmailNumber],
) -> Result<BTreeSet<EmailNumber>, StoreError> {
    let mut departed = BTreeSet::new();
    let mut scan = Scan::prefix(keys::DEPARTED_MESSAGES, &keys::account(account), 1);
    while let Some((key, _)) = reader.scan(&scan).await?.into_iter().next() {
        let (snapshot, _) = departed_at(&key)?;
        for numbers in numbers.chunks(LOOKED_UP) {
            listed(reader, account, snapshot, numbers, &mut departed).await?;
        }
        scan.start = after(&keys::departed_message(account, snapshot, EmailNumber(u64::MAX)));
    }
    Ok(departed)
}

/// Adds those of `numbers`, ascending, that stand in the list of one snapshot. Numbers of one step lie
/// close together, so what the list has between them is read at once; only where that is more than
/// there are numbers are the others asked for one by one.
async fn listed(
    reader: &(impl Reader + ?Sized),
    account: AccountId,
    snapshot: u64,
    numbers: &[EmailNumber],
    departed: &mut BTreeSet<EmailNumber>,
) -> Result<(), StoreError> {
    let key = |number: EmailNumber| keys::departed_message(account, snapshot, number);
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return Ok(()) };
    let between = Scan {
        family: keys::DEPARTED_MESSAGES,
        start: key(*first),
        end: Some(after(&key(*last))),
        reverse: false,
        limit: numbers.len(),
    };
    let page = reader.scan(&between).await?;
    let mut read = None;
    for (key, _) in &page {
        let (_, number) = departed_at(key)?;
        if numbers.binary_search(&number).is_ok() {
            departed.insert(number);
        }
        read = Some(number);
    }
    if page.len() < between.limit {
        return Ok(());
    }
    let left = numbers.partition_point(|number| Some(*number) <= read);
    let left = numbers.get(left..).unwrap_or_default();
    let asked: Vec<_> = left.iter().map(|number| (keys::DEPARTED_MESSAGES, key(*number))).collect();
    let listed = reader.multi_get(&asked).await?;
    let listed = left.iter().zip(listed).filter(|(_, value)| value.is_some());
    departed.extend(listed.map(|(number, _)| *number));
    Ok(())
}
