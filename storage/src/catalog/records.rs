//! Values of the catalog: a version octet, then a protocol-buffers message.
//!
//! Fields are added with new tags and never change their meaning, so that an older program skips
//! them. A change that an older program would misread raises the version octet, and an older
//! program then answers [`StoreError::TooNew`] instead of guessing. The layouts stand in
//! `docs/formats.md`.
//!
//! Not here: keys (`keys`), recipes (`octets`), summaries (`summary`).

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{engine::Family, keys};
use crate::{
    error::StoreError,
    ids::{EmailNumber, MailboxId, ModSeq, Uid},
    mailbox::{
        flags::{Flags, Keyword},
        view::{MessageRow, Origin},
    },
};

/// The version octet of every record in this module.
pub const RECORD_VERSION: u8 = 1;

/// Rows that one batch may remove, whatever is configured: a damaged record must not ask for more
/// memory than this many UIDs take.
pub const ROWS_PER_BATCH_LIMIT: usize = 1 << 22;

/// Writes `message` after the version octet.
pub fn encode(message: &impl Message) -> Bytes {
    let mut octets = Vec::with_capacity(1 + message.encoded_len());
    octets.push(RECORD_VERSION);
    // Fails only for want of room, and a vector makes room.
    let _ = message.encode(&mut octets);
    octets.into()
}

/// Reads a record that stands under `key`. [`StoreError::TooNew`], [`StoreError::Damaged`].
pub fn decode<M: Message + Default>(
    family: Family,
    key: &[u8],
    octets: &[u8],
) -> Result<M, StoreError> {
    match octets.split_first() {
        Some((&RECORD_VERSION, message)) => M::decode(message)
            .map_err(|error| damaged(family, key, format!("not a record: {error}"))),
        Some((&found, _)) if found > RECORD_VERSION => Err(StoreError::TooNew {
            object: keys::object(family, key),
            found: u32::from(found),
            known: u32::from(RECORD_VERSION),
        }),
        _ => Err(damaged(family, key, "no version octet".to_owned())),
    }
}

/// The error for a value that is not what its family holds.
pub(crate) fn damaged(family: Family, key: &[u8], detail: String) -> StoreError {
    StoreError::Damaged { object: keys::object(family, key), detail }
}

/// Value in [`keys::CATALOG_FORMAT`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FormatRecord {
    /// The format that every writer obeys.
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
}

/// Value in [`keys::ACCOUNTS`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AccountRecord {
    /// Version of the settings, given by the registry.
    #[prost(uint64, tag = "1")]
    pub(crate) version: u64,
    #[prost(string, tag = "2")]
    pub(crate) address: String,
    /// 1 active, 2 blocked, 3 closed.
    #[prost(uint32, tag = "3")]
    pub(crate) state: u32,
    #[prost(string, tag = "4")]
    pub(crate) plan: String,
    /// Absent = unlimited.
    #[prost(uint64, optional, tag = "5")]
    pub(crate) quota_octets: Option<u64>,
    #[prost(uint64, tag = "6")]
    pub(crate) message_octets_max: u64,
    #[prost(uint32, tag = "7")]
    pub(crate) recipients_max: u32,
    #[prost(uint32, tag = "8")]
    pub(crate) messages_per_minute_max: u32,
    #[prost(uint32, tag = "9")]
    pub(crate) messages_per_day_max: u32,
    #[prost(bool, tag = "10")]
    pub(crate) service: bool,
    /// Rows; absent = unlimited.
    #[prost(uint64, optional, tag = "11")]
    pub(crate) quota_messages: Option<u64>,
    /// Mailboxes; absent = the store's bound.
    #[prost(uint64, optional, tag = "12")]
    pub(crate) quota_mailboxes: Option<u64>,
    /// Ordinary mail is refused.
    #[prost(bool, tag = "13")]
    pub(crate) certified_mail_only: bool,
    /// Where receipts go: 0 INBOX, 1 beside the message sent, 2 a mailbox of their own.
    #[prost(uint32, tag = "14")]
    pub(crate) receipts: u32,
    /// As `quota_octets`, of the archive.
    #[prost(uint64, optional, tag = "20")]
    pub(crate) archive_quota_octets: Option<u64>,
    /// As `quota_messages`, of the archive.
    #[prost(uint64, optional, tag = "21")]
    pub(crate) archive_quota_messages: Option<u64>,
}

/// Value in [`keys::ACCOUNT_HEADS`]. Every change of an account expects and rewrites it.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct HeadRecord {
    /// Counts batches; makes two heads differ even when all else is equal.
    #[prost(uint64, tag = "1")]
    pub(crate) version: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) next_mod_seq: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) next_email_number: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) next_mailbox_id: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) next_uid_validity: u64,
    /// Sum of `charged_octets` over all rows, of both tiers.
    #[prost(uint64, tag = "6")]
    pub(crate) usage_octets: u64,
    /// Rows, of both tiers.
    #[prost(uint64, tag = "7")]
    pub(crate) usage_messages: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) mailboxes: u64,
    /// The highest warning level that usage has crossed and not left again, in per cent; 0 = none.
    #[prost(uint32, tag = "9")]
    pub(crate) quota_level: u32,
    /// 0 = no snapshot was taken yet: the first is 1.
    #[prost(uint64, tag = "10")]
    pub(crate) next_snapshot: u64,
    /// The latest snapshot; 0 = there is none.
    #[prost(uint64, tag = "11")]
    pub(crate) snapshot: u64,
    /// `next_email_number` when it was taken.
    #[prost(uint64, tag = "12")]
    pub(crate) snapshot_below: u64,
    /// The last MODSEQ when it was taken.
    #[prost(uint64, tag = "13")]
    pub(crate) snapshot_mod_seq: u64,
    /// `version` of the head that noted last that a snapshot has the account's present state. Another
    /// `version` = something may have changed since.
    #[prost(uint64, tag = "14")]
    pub(crate) captured_version: u64,
    /// The part of `usage_octets` that is the archive's.
    #[prost(uint64, tag = "20")]
    pub(crate) archive_octets: u64,
    /// The part of `usage_messages` that is the archive's.
    #[prost(uint64, tag = "21")]
    pub(crate) archive_messages: u64,
    /// As `quota_level`, of the archive.
    #[prost(uint32, tag = "22")]
    pub(crate) archive_level: u32,
    /// Every mailbox has the tier of its name; false in an account that no program which knows tiers
    /// has changed yet.
    #[prost(bool, tag = "23")]
    pub(crate) tiers: bool,
}

/// Value in [`keys::QUOTA_WARNINGS`].
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct QuotaWarningRecord {
    /// The level crossed, in per cent.
    #[prost(uint32, tag = "1")]
    pub(crate) level: u32,
    /// Octets charged after the change that crossed it.
    #[prost(uint64, tag = "2")]
    pub(crate) used_octets: u64,
    /// The limit then.
    #[prost(uint64, tag = "3")]
    pub(crate) limit_octets: u64,
    /// When, in milliseconds since 1970.
    #[prost(sint64, tag = "4")]
    pub(crate) at: i64,
    /// Of which tier: 0 live, 1 archive.
    #[prost(uint32, tag = "20")]
    pub(crate) tier: u32,
}

/// Value in [`keys::ACCOUNT_ADDRESSES`] and [`keys::MAILBOX_NAMES`].
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct IndexRecord {
    /// The AccountId or MailboxId.
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
}

/// Value in [`keys::SUBSCRIPTIONS`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SubscriptionsRecord {
    /// Ascending, without repeats.
    #[prost(string, repeated, tag = "1")]
    pub(crate) names: Vec<String>,
}

/// Value in [`keys::MAILBOXES`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MailboxRecord {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint32, tag = "2")]
    pub(crate) uid_validity: u32,
    /// 1 to 2³²; 2³² = no UID is left.
    #[prost(uint64, tag = "3")]
    pub(crate) uid_next: u64,
    /// As `uid_next`: the first UID that no session has been told of.
    #[prost(uint64, tag = "4")]
    pub(crate) recent_from: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) highest_mod_seq: u64,
    /// The log is complete for changes after this MODSEQ.
    #[prost(uint64, tag = "6")]
    pub(crate) expunge_floor: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) exists: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) unseen: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) deleted: u64,
    #[prost(uint64, tag = "10")]
    pub(crate) octets: u64,
    #[prost(uint64, tag = "11")]
    pub(crate) charged_octets: u64,
    /// 0 none, 1 archive, 2 drafts, 3 junk, 4 sent, 5 trash.
    #[prost(uint32, tag = "12")]
    pub(crate) special_use: u32,
    /// The name is gone and the rows are being removed.
    #[prost(bool, tag = "13")]
    pub(crate) deleting: bool,
    /// Which usage its rows are part of: 0 live, 1 archive.
    #[prost(uint32, tag = "20")]
    pub(crate) tier: u32,
    /// When a rename took it out of the archive last, in milliseconds since 1970; 0 = none did.
    #[prost(sint64, tag = "21")]
    pub(crate) live_since: i64,
}

impl MailboxRecord {
    /// Whether its rows are archived ones.
    pub(crate) fn is_archive(&self) -> bool {
        self.tier == 1
    }
}

/// Value in [`keys::MAILBOX_ROWS`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RowRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) email_number: u64,
    /// Bits: 1 seen, 2 answered, 4 flagged, 8 deleted, 16 draft.
    #[prost(uint32, tag = "2")]
    pub(crate) system_flags: u32,
    #[prost(string, repeated, tag = "3")]
    pub(crate) keywords: Vec<String>,
    #[prost(uint64, tag = "4")]
    pub(crate) mod_seq: u64,
    #[prost(sint64, tag = "5")]
    pub(crate) internal_date: i64,
    #[prost(sint64, tag = "6")]
    pub(crate) save_date: i64,
    #[prost(uint64, tag = "7")]
    pub(crate) size: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) charged_octets: u64,
    /// SHA-256 of the message.
    #[prost(bytes = "bytes", tag = "9")]
    pub(crate) digest: Bytes,
    /// The live mailbox that the row was moved into the archive from; 0 = none.
    #[prost(uint64, tag = "20")]
    pub(crate) origin_mailbox: u64,
    /// What that was called then.
    #[prost(string, tag = "21")]
    pub(crate) origin_name: String,
    /// The row's UID there.
    #[prost(uint32, tag = "22")]
    pub(crate) origin_uid: u32,
}

/// Value in [`keys::EXPUNGE_LOG`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExpungeRecord {
    /// Ranges: first UID and how many follow it, alternating, ascending.
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) ranges: Vec<u32>,
    /// When, in milliseconds since 1970.
    #[prost(sint64, tag = "2")]
    pub(crate) at: i64,
}

/// Value in [`keys::MESSAGE_REFERENCES`].
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct ReferencesRecord {
    /// Rows of the message, 2 or more.
    #[prost(uint64, tag = "1")]
    pub(crate) rows: u64,
}

/// Value in [`keys::ANNOTATIONS`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnnotationRecord {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) value: Bytes,
}

/// Value in [`keys::ACCOUNT_GRANTS`].
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct GrantRecord {
    /// Since when, in milliseconds since 1970.
    #[prost(sint64, tag = "1")]
    pub(crate) at: i64,
}

/// Value in [`keys::HELD_MESSAGES`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeldRecord {
    /// As a value in [`keys::MESSAGES`].
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) message: Bytes,
    /// As a value in [`keys::SUMMARIES`].
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) summary: Bytes,
}

/// Value in [`keys::REPAIR_LOG`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RepairLogRecord {
    /// When, in milliseconds since 1970.
    #[prost(sint64, tag = "1")]
    pub(crate) at: i64,
    /// The family that the record stood in.
    #[prost(string, tag = "2")]
    pub(crate) family: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) key: Bytes,
    /// What stood there.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) value: Bytes,
}

impl ExpungeRecord {
    /// The record for `uids`, which ascend.
    pub(crate) fn new(uids: &[Uid], at: UnixMillis) -> Self {
        let mut ranges: Vec<u32> = Vec::new();
        for uid in uids {
            match ranges.as_mut_slice() {
                [.., first, more] if uid.get().checked_sub(*first) == Some(*more + 1) => *more += 1,
                _ => ranges.extend([uid.get(), 0]),
            }
        }
        Self { ranges, at: at.0 }
    }

    /// How many UIDs the ranges name, if they are ranges.
    pub(crate) fn count(&self) -> u64 {
        let (pairs, _) = self.ranges.as_chunks::<2>();
        pairs.iter().map(|[_, more]| u64::from(*more) + 1).sum()
    }

    /// The UIDs, ascending, or `None` when the ranges are none, or name more UIDs than one batch
    /// can have expunged.
    pub(crate) fn uids(&self) -> Option<Vec<Uid>> {
        let mut uids = Vec::new();
        let (pairs, rest) = self.ranges.as_chunks::<2>();
        for [first, more] in pairs {
            let last = first.checked_add(*more)?;
            if uids.len() as u64 + u64::from(*more) >= ROWS_PER_BATCH_LIMIT as u64 {
                return None;
            }
            for uid in *first..=last {
                uids.push(Uid::new(uid)?);
            }
        }
        rest.is_empty().then_some(uids)
    }
}

/// A system flag's bit and its place in [`Flags`].
type FlagBit = (u32, fn(&mut Flags) -> &mut bool);

const FLAG_BITS: [FlagBit; 5] = [
    (1, |flags| &mut flags.seen),
    (2, |flags| &mut flags.answered),
    (4, |flags| &mut flags.flagged),
    (8, |flags| &mut flags.deleted),
    (16, |flags| &mut flags.draft),
];

/// The sum of the bits of the system flags that are set.
pub(crate) fn system_flags(flags: &Flags) -> u32 {
    let mut flags = flags.clone();
    FLAG_BITS.iter().filter(|(_, flag)| *flag(&mut flags)).map(|(bit, _)| bit).sum()
}

/// The system flags whose bits are set, and no keywords.
pub(crate) fn flags_of(bits: u32) -> Flags {
    let mut flags = Flags::default();
    for (bit, flag) in &FLAG_BITS {
        *flag(&mut flags) = bits & bit != 0;
    }
    flags
}

impl RowRecord {
    /// The record of `row`.
    pub(crate) fn of(row: &MessageRow) -> Self {
        let origin = row.origin.as_deref();
        Self {
            email_number: row.email_number.0,
            system_flags: system_flags(&row.flags),
            keywords: row.flags.keywords.iter().map(|word| word.as_str().to_owned()).collect(),
            mod_seq: row.mod_seq.0,
            internal_date: row.internal_date.0,
            save_date: row.save_date.0,
            size: row.size,
            charged_octets: row.charged_octets,
            digest: Bytes::copy_from_slice(&row.digest.0),
            origin_mailbox: origin.map_or(0, |origin| origin.mailbox.0),
            origin_name: origin.map_or_else(String::new, |origin| origin.name.clone()),
            origin_uid: origin.map_or(0, |origin| origin.uid.get()),
        }
    }

    /// The row with `uid`; the error says which field is wrong.
    pub(crate) fn row(self, uid: Uid) -> Result<MessageRow, String> {
        let mut flags = flags_of(self.system_flags);
        for word in &self.keywords {
            flags.keywords.insert(Keyword::new(word).map_err(|error| error.to_string())?);
        }
        let digest = self.digest.as_ref().try_into().map_err(|_| "digest of a wrong length")?;
        let origin = match self.origin_mailbox {
            0 => None,
            mailbox => Some(Arc::new(Origin {
                mailbox: MailboxId(mailbox),
                uid: Uid::new(self.origin_uid).ok_or("the UID it came from is 0")?,
                name: self.origin_name,
            })),
        };
        Ok(MessageRow {
            uid,
            email_number: EmailNumber(self.email_number),
            flags,
            mod_seq: ModSeq(self.mod_seq),
            internal_date: UnixMillis(self.internal_date),
            save_date: UnixMillis(self.save_date),
            size: self.size,
            charged_octets: self.charged_octets,
            digest: Sha256Digest(digest),
            origin,
        })
    }
}

/// Reads the row that stands under `key`.
pub(crate) fn decode_row(key: &[u8], uid: Uid, octets: &[u8]) -> Result<MessageRow, StoreError> {
    decode::<RowRecord>(keys::MAILBOX_ROWS, key, octets)?
        .row(uid)
        .map_err(|detail| damaged(keys::MAILBOX_ROWS, key, detail))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_newer_record_is_refused_with_both_versions() {
        let octets = [RECORD_VERSION + 1, 0];
        let error = decode::<HeadRecord>(keys::ACCOUNT_HEADS, &[7], &octets).expect_err("newer");
        assert_eq!(
            error.to_string(),
            "account_heads/07 has format 2, this program reads up to 1: upgrade this node"
        );
    }

    #[test]
    fn a_damaged_record_is_refused_and_named() {
        for octets in [&[][..], &[0], &[1, 0xff], &[1, 0x08]] {
            let outcome = decode::<HeadRecord>(keys::ACCOUNT_HEADS, &[7], octets);
            assert!(matches!(outcome, Err(StoreError::Damaged { .. })), "{octets:?}");
        }
    }

    #[test]
    fn an_expunge_record_that_names_more_than_a_batch_can_have_expunged_is_refused() {
        for ranges in [vec![1, u32::MAX - 1], vec![1, u32::MAX], vec![1], vec![0, 3]] {
            let record = ExpungeRecord { ranges, at: 0 };
            assert_eq!(record.uids(), None, "{record:?}");
        }
    }

    #[test]
    fn a_row_with_a_digest_of_another_length_is_damaged() {
        for octets in [0, 31, 33] {
            let record = RowRecord { digest: vec![5; octets].into(), ..RowRecord::default() };
            let uid = Uid::new(7).expect("not zero");
            let refused = decode_row(b"key", uid, &encode(&record));
            assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{octets}: {refused:?}");
        }
    }

    #[test]
    fn unknown_fields_of_the_same_version_are_skipped() {
        let mut octets = encode(&IndexRecord { id: 9 }).to_vec();
        octets.extend([0x78, 0x01]);
        let record = decode::<IndexRecord>(keys::MAILBOX_NAMES, &[], &octets).expect("a record");
        assert_eq!(record.id, 9);
    }

    proptest! {
        #[test]
        fn an_expunge_record_gives_back_its_uids(
            uids in prop::collection::btree_set(1_u32.., 0..200),
            dense in prop::collection::btree_set(1_u32..300, 0..200),
        ) {
            for set in [uids, dense] {
                let uids: Vec<_> = set.into_iter().filter_map(Uid::new).collect();
                prop_assert_eq!(ExpungeRecord::new(&uids, UnixMillis(0)).uids(), Some(uids));
            }
        }

        #[test]
        fn a_row_record_gives_back_its_row(
            bits in 0_u32..32,
            words in prop::collection::btree_set("[A-Za-z$]{1,9}", 0..4),
            numbers in prop::array::uniform4(any::<u64>()),
            dates in prop::array::uniform2(any::<i64>()),
            origin in prop::option::of((1..u64::MAX, "[A-Za-z/]{1,9}")),
        ) {
            let mut flags = Flags::default();
            for (bit, flag) in &FLAG_BITS {
                *flag(&mut flags) = bits & bit != 0;
            }
            flags.keywords = words.iter().flat_map(|word| Keyword::new(word)).collect::<BTreeSet<_>>();
            let uid = Uid::new(7).expect("not zero");
            let row = MessageRow {
                uid,
                email_number: EmailNumber(numbers[0]),
                flags,
                mod_seq: ModSeq(numbers[1]),
                internal_date: UnixMillis(dates[0]),
                save_date: UnixMillis(dates[1]),
                size: numbers[2],
                charged_octets: numbers[3],
                digest: Sha256Digest([5; 32]),
                origin: origin.map(|(mailbox, name)| {
                    Arc::new(Origin { mailbox: MailboxId(mailbox), name, uid })
                }),
            };
            prop_assert_eq!(RowRecord::of(&row).row(uid), Ok(row));
        }
    }
}
