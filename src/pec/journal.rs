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
    facts::quotable,
    records::{JOURNAL, JournalRecord, encode},
};

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JournalEvent {
    /// A holder's message was taken at the access point.
    Submission,
    /// The acceptance receipt was issued.
    Acceptance,
    /// The non-acceptance notice was issued.
    NonAcceptance,
    /// The transport envelope was made.
    TransportEnvelope,
    /// A message was handed to another server.
    Relayed,
    /// Another server refused a message for good, or the queue's time is over.
    RelayFailed,
    /// A message came in from another server.
    Incoming,
    /// The same message came again and was recognised.
    Repeat,
    /// The take-charge receipt was issued.
    TakeCharge,
    /// A message was wrapped in an anomaly envelope.
    AnomalyEnvelope,
    /// A message came into a mailbox.
    Delivery,
    /// The delivery receipt was issued.
    DeliveryReceipt,
    /// The non-delivery notice was issued.
    NonDelivery,
    /// A sender was told that nothing was heard of a recipient in time; the detail says which time.
    TimeLimit,
    /// A delivery status notification was issued; the detail says of what.
    StatusNotification,
    /// A message could not be delivered and no notice is due.
    Undeliverable,
    /// A virus was found in a message, which is in quarantine now; the detail names both.
    Quarantined,
    /// The notice of non-acceptance for a virus was issued.
    VirusNonAcceptance,
    /// The sender's provider was told of a virus.
    VirusDetection,
    /// A sender was told that a virus kept his message from a recipient.
    VirusNonDelivery,
    /// An operator looked at a message in quarantine; the detail says who and why.
    QuarantineOpened,
    /// The time of a message in quarantine is over.
    QuarantineDisposed,
    /// A holder was told that his mailbox fills.
    SpaceNotice,
    /// A message was erased; the detail says why and at whose word.
    Erasure,
    /// The store was restored from a back-up; the numbers between are those of the lost time.
    Restored,
    /// An operator released a duty that a restore had held.
    Released,
    /// An operator keeps a queued message from being sent.
    QueueHeld,
    /// An operator lets a held message be sent again.
    QueueReleased,
    /// An operator gave a queued message up; the detail says why.
    QueueDropped,
    /// Records of the journal were disposed of after their time; the detail says which.
    Disposed,
}

impl JournalEvent {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 24] = [
        Self::Submission,
        Self::Acceptance,
        Self::NonAcceptance,
        Self::TransportEnvelope,
        Self::Relayed,
        Self::RelayFailed,
        Self::Incoming,
        Self::Repeat,
        Self::TakeCharge,
        Self::AnomalyEnvelope,
        Self::Delivery,
        Self::DeliveryReceipt,
        Self::NonDelivery,
        Self::TimeLimit,
        Self::StatusNotification,
        Self::Undeliverable,
        Self::SpaceNotice,
        Self::Erasure,
        Self::Restored,
        Self::Released,
        Self::QueueHeld,
        Self::QueueReleased,
        Self::QueueDropped,
        Self::Disposed,
    ];

    /// The word that stands in the journal.
    pub fn word(self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::Acceptance => "acceptance-receipt",
            Self::NonAcceptance => "non-acceptance-notice",
            Self::TransportEnvelope => "transport-envelope",
            Self::Relayed => "relayed",
            Self::RelayFailed => "relay-failed",
            Self::Incoming => "incoming",
            Self::Repeat => "repeat",
            Self::TakeCharge => "take-charge-receipt",
            Self::AnomalyEnvelope => "anomaly-envelope",
            Self::Delivery => "delivery",
            Self::DeliveryReceipt => "delivery-receipt",
            Self::NonDelivery => "non-delivery-notice",
            Self::TimeLimit => "time-limit-notice",
            Self::StatusNotification => "status-notification",
            Self::Undeliverable => "undeliverable",
            Self::Quarantined => "quarantined",
            Self::VirusNonAcceptance => "virus-non-acceptance-notice",
            Self::VirusDetection => "virus-detection-notice",
            Self::VirusNonDelivery => "virus-non-delivery-notice",
            Self::QuarantineOpened => "quarantine-opened",
            Self::QuarantineDisposed => "quarantine-disposed",
            Self::SpaceNotice => "space-notice",
            Self::Erasure => "erasure",
            Self::Restored => "restored",
            Self::Released => "released",
            Self::QueueHeld => "queue-held",
            Self::QueueReleased => "queue-released",
            Self::QueueDropped => "queue-dropped",
            Self::Disposed => "disposed",
        }
    }
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
    // Both come from headers, and stand in a record for each recipient.
    record.subject = quotable(record.subject);
    record.message_id = quotable(record.message_id);
    event.word().clone_into(&mut record.event);
    batch.append_numbered(JOURNAL, node.to_be_bytes().to_vec(), encode(&record));
}
