//! What can be wrong, kind by kind, with the values that it takes to say it in any language.
//!
//! [`Fault`] as text is English, for logs; what people read is made of the kinds by the program.

use serde::Serialize;

use crate::ids::{AccountId, EmailNumber, MailboxId};

/// Something that is not as it must be. As data: its kind in `kind`, and its values.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the sentences say it")]
pub enum Fault {
    /// A record, chunk or pack is gone or cannot be read, in the words of whoever tried.
    #[error("{detail}")]
    Damaged { detail: String },

    #[error("it has no settings")]
    NoSettings,
    #[error("its address {address} does not lead to it")]
    AddressLost { address: String },
    #[error("it leads to account {account}, which has another")]
    AddressLeadsElsewhere { account: AccountId },
    #[error("account {account} does not exist")]
    NoAccount { account: AccountId },
    #[error("it counts {counted} mailboxes and has {found}")]
    MailboxesMiscounted { counted: u64, found: u64 },
    #[error("its usage is {counted} {what}, its rows have {found}")]
    UsageMiscounted { what: Counter, counted: u64, found: u64 },

    #[error("the mailbox does not exist")]
    NoMailbox,
    #[error("its MailboxId is not below the next one")]
    MailboxIdNotBelowNext,
    #[error("its tier is not that of its name")]
    TierDiffers,
    #[error("another mailbox has its UIDVALIDITY")]
    UidValidityTwice,
    #[error("its UIDVALIDITY is not below the next one")]
    UidValidityNotBelowNext,
    #[error("its HIGHESTMODSEQ is not below the account's next MODSEQ")]
    HighestModSeqNotBelowNext,
    #[error("its recent messages begin after UIDNEXT")]
    RecentAfterUidNext,
    #[error("it counts {counted} {what}, its rows have {found}")]
    Miscounted { what: Counter, counted: u64, found: u64 },
    #[error("{rows} rows have {entries} index entries")]
    ChangesMiscounted { rows: u64, entries: u64 },
    #[error("it leads to mailbox {mailbox}, which is not called that")]
    NameLeadsElsewhere { mailbox: MailboxId },
    #[error("its name {name:?} does not lead to it")]
    NameLost { name: String },
    #[error("its record and the list of pending deletions disagree")]
    DeletionsDisagree,
    #[error("it says something else than the rows behind UID {uid}")]
    BlockDiffers { uid: u64 },

    #[error("a row of that MODSEQ and UID has no entry in the index")]
    NoChangeEntry,
    #[error("the UID is not below UIDNEXT")]
    UidNotBelowNext,
    #[error("the MODSEQ is above the mailbox's HIGHESTMODSEQ")]
    ModSeqAboveHighest,
    #[error("the EmailNumber is not below the account's next one")]
    EmailNumberNotBelowNext,
    #[error("it names a UID or MODSEQ that was never given")]
    NeverGiven,
    #[error("it calls a UID expunged that has a row")]
    ExpungedHasRow,
    #[error("its message {number} does not exist")]
    NoMessage { number: EmailNumber },
    #[error("size or digest are not those of its message")]
    RowDiffers,

    #[error("its number is not below the account's next one")]
    NumberNotBelowNext,
    #[error("{rows} rows refer to it, recorded are {recorded}")]
    ReferencesMiscounted { rows: u64, recorded: u64 },
    #[error("rows are recorded of a missing message")]
    ReferencesOfNothing,
    #[error("it is listed as departed under snapshot {snapshot}, which was never taken")]
    DepartedUnderNothing { snapshot: u64 },
    #[error("it is listed as departed and does not exist")]
    DepartedMissing,
    #[error("it is listed as departed and has {rows} rows")]
    DepartedHasRows { rows: u64 },
    #[error("it is listed as departed {times} times")]
    DepartedTwice { times: u64 },
    #[error("what it notes of its latest snapshot is not below its next numbers")]
    SnapshotNotBelowNext,
    #[error("its record and the list of erased messages disagree")]
    ErasuresDisagree,
    #[error("it has a summary and no record")]
    SummaryAlone,
    #[error("it has no summary")]
    NoSummary,
    #[error("its summary has another size")]
    SummarySize,
    #[error("its record and its summary disagree on whether it was erased")]
    SummaryErasure,
    #[error("a block has other headers than its summary")]
    HeadersDiffer,
    #[error("its key is not 16 octets")]
    HeldKey,
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// Rows.
    Messages,
    /// Rows without \Seen.
    Unseen,
    /// Rows with \Deleted.
    Deleted,
    /// The sum of their sizes.
    Octets,
    /// The sum of what they are charged.
    ChargedOctets,
    /// The sum of what rows of the archive are charged.
    ArchiveOctets,
    /// Rows of the archive.
    ArchiveMessages,
}

impl std::fmt::Display for Counter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Messages => "messages",
            Self::Unseen => "messages without \\Seen",
            Self::Deleted => "messages with \\Deleted",
            Self::Octets => "octets",
            Self::ChargedOctets => "charged octets",
            Self::ArchiveOctets => "octets of the archive",
            Self::ArchiveMessages => "messages of the archive",
        })
    }
}
