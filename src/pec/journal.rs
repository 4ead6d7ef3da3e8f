//! The provider's log of operations (RFC 6109 §2.3).
//!
//! Invariants:
//!
//! * A record is written in the same batch as the change it tells of, never before or after.
//! * Records are numbered without gaps by the engine of the catalog, under this node's prefix.
//! * A record is never changed; it goes after 30 months at least, with a record that says so.
//!
//! | room | what |
//! |---|---|
//! | [`seal`] | a seal: a Merkle tree over records, chained |
//! | [`head`] | how far everything is; families and keys |
//! | [`sealer`], [`index`] | every minute: seals what is new, and makes it findable |
//! | [`piece`], [`keeper`] | every day: one piece, signed, time-stamped, in the object store too |
//! | [`disposal`] | what is over its time |
//! | [`search`], [`verify`] | reading it, and proving it |
//!
//! Not here: the commands (`control::operations::journal`).

pub mod disposal;
pub mod head;
pub mod index;
pub mod keeper;
pub mod piece;
pub mod seal;
pub mod sealer;
pub mod search;
pub mod verify;

use storage::catalog::engine::Batch;
use trust::clock::UnixMillis;

use super::{
    facts::{quotable, shortened},
    records::{JOURNAL, JournalRecord, encode},
};

/// Declares the events with the words that stand in the journal, once.
macro_rules! events {
    ($($(#[$doc:meta])* $event:ident = $word:literal,)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum JournalEvent {
            $($(#[$doc])* $event,)*
        }

        impl JournalEvent {
            /// All of them, in the order in which they are declared.
            pub const ALL: &[Self] = &[$(Self::$event),*];

            /// The word that stands in the journal.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$event => $word,)*
                }
            }
        }
    };
}

events! {
    /// A holder's message was taken at the access point.
    Submission = "submission",
    /// The acceptance receipt was issued.
    Acceptance = "acceptance-receipt",
    /// The non-acceptance notice was issued.
    NonAcceptance = "non-acceptance-notice",
    /// The transport envelope was made.
    TransportEnvelope = "transport-envelope",
    /// A message was handed to another server.
    Relayed = "relayed",
    /// Another server refused a message for good, or the queue's time is over.
    RelayFailed = "relay-failed",
    /// A message came in from another server.
    Incoming = "incoming",
    /// The same message came again and was recognised.
    Repeat = "repeat",
    /// The take-charge receipt was issued.
    TakeCharge = "take-charge-receipt",
    /// A message was wrapped in an anomaly envelope.
    AnomalyEnvelope = "anomaly-envelope",
    /// A message came into a mailbox.
    Delivery = "delivery",
    /// The delivery receipt was issued.
    DeliveryReceipt = "delivery-receipt",
    /// The non-delivery notice was issued.
    NonDelivery = "non-delivery-notice",
    /// A sender was told that nothing was heard of a recipient in time; the detail says which time.
    TimeLimit = "time-limit-notice",
    /// A delivery status notification was issued; the detail says of what.
    StatusNotification = "status-notification",
    /// A message could not be delivered and no notice is due.
    Undeliverable = "undeliverable",
    /// A virus was found in a message, which is in quarantine now; the detail names both.
    Quarantined = "quarantined",
    /// The notice of non-acceptance for a virus was issued.
    VirusNonAcceptance = "virus-non-acceptance-notice",
    /// The sender's provider was told of a virus.
    VirusDetection = "virus-detection-notice",
    /// A sender was told that a virus kept his message from a recipient.
    VirusNonDelivery = "virus-non-delivery-notice",
    /// An operator looked at a message in quarantine; the detail says who and why.
    QuarantineOpened = "quarantine-opened",
    /// The time of a message in quarantine is over.
    QuarantineDisposed = "quarantine-disposed",
    /// A holder was told that his mailbox fills.
    SpaceNotice = "space-notice",
    /// A message was erased; the detail says why and at whose word.
    Erasure = "erasure",
    /// The store was restored from a back-up; the numbers between are those of the lost time.
    Restored = "restored",
    /// An operator released a duty that a restore had held.
    Released = "released",
    /// An operator keeps a queued message from being sent.
    QueueHeld = "queue-held",
    /// An operator lets a held message be sent again.
    QueueReleased = "queue-released",
    /// An operator gave a queued message up; the detail says why.
    QueueDropped = "queue-dropped",
    /// An operator lets an account read a service account.
    Shared = "account-shared",
    /// An operator ends that.
    Unshared = "account-unshared",
    /// An operator holds snapshots of an account; the detail says which, and why.
    SnapshotsHeld = "snapshots-held",
    /// An operator ends such a hold; the detail says of which.
    SnapshotsReleased = "snapshots-released",
    /// An operator changed when snapshots of an account are taken and how long they stay.
    SnapshotSettings = "snapshot-settings",
    /// An operator reads a snapshot of an account, or compares or searches them; the detail says which.
    SnapshotRead = "snapshot-read",
    /// An operator takes messages of a snapshot out of the store; the detail says which.
    SnapshotExported = "snapshot-exported",
    /// An operator brings messages of a snapshot back into an account, ends that or lets it go on; the
    /// detail says which.
    SnapshotRestored = "snapshot-restored",
    /// An operator makes a proof of a snapshot; the detail says of what.
    SnapshotProved = "snapshot-proved",
    /// An operator takes out a snapshot that cannot be read; the detail says which.
    SnapshotForgotten = "snapshot-forgotten",
    /// An operator gave an account other archive rules; the detail has them.
    ArchiveRules = "archive-rules",
    /// An operator takes messages of an account out of its archive; the detail says which.
    ArchiveRestored = "archive-restored",
    /// Records of the journal were disposed of after their time; the detail says which.
    Disposed = "disposed",
}

/// The most characters of a sender: an address is shorter (RFC 5321 §4.5.3.1.3).
const SENDER_CHARACTERS_MAX: usize = 320;

/// The most characters of a detail.
const DETAIL_CHARACTERS_MAX: usize = 4_000;

/// Cuts what others have written and what stands in a record for each recipient.
fn bounded(mut record: JournalRecord) -> JournalRecord {
    record.subject = quotable(record.subject);
    record.message_id = quotable(record.message_id);
    record.sender = shortened(record.sender, SENDER_CHARACTERS_MAX);
    record.detail = shortened(record.detail, DETAIL_CHARACTERS_MAX);
    record
}

/// Adds `record` to `batch` as what happened at `instant` on `node`.
pub fn write(
    batch: &mut Batch,
    node: u64,
    instant: UnixMillis,
    event: JournalEvent,
    mut record: JournalRecord,
) {
    record.instant_millis = instant.0;
    let mut record = bounded(record);
    event.word().clone_into(&mut record.event);
    batch.append_numbered(JOURNAL, node.to_be_bytes().to_vec(), encode(&record));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_written_is_cut_in_every_record() {
        let long = || "à".repeat(1_000_000);
        let record = JournalRecord {
            subject: long(),
            message_id: long(),
            sender: long(),
            detail: long(),
            ..JournalRecord::default()
        };
        assert!(encode(&bounded(record)).len() < 16_000);
        let sender = "anna@pec.alfa.example".to_owned();
        let record = JournalRecord { sender, ..JournalRecord::default() };
        assert_eq!(bounded(record.clone()), record);
    }
}
