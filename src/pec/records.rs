//! What the PEC engine keeps in the catalog, and under which keys.
//!
//! Every value is one version octet, then a prost message; fields are only ever added. Keys are
//! fixed-width and big-endian. The families:
//!
//! | family | key | value |
//! |---|---|---|
//! | `transmissions` | TransmissionId | [`TransmissionRecord`] |
//! | `transmission_identifiers` | PEC msgid | TransmissionId |
//! | `transmission_recipients` | TransmissionId, u32 index | [`RecipientRecord`] |
//! | `transmission_work` | TransmissionId | sender class, octets (u64 each): the acceptance point still owes something |
//! | `incoming_messages` | IncomingId | [`IncomingRecord`] |
//! | `incoming_work` | IncomingId | sender class, octets (u64 each): the incoming point still owes something |
//! | `incoming_seen` | SHA-256, see [`seen_key`] | instant |
//! | `time_limits` | instant (i64), TransmissionId, u32 index: [`Deadline`](super::time_limits::Deadline) | which time it is (u8), when it began (i64) |
//! | `delivery_work` | source (17 octets), u32 index | [`DeliveryRecord`] |
//! | `outgoing_queue` | QueueId | [`QueueRecord`] |
//! | `outgoing_order` | lane, sender class, instant, QueueId: [`Due`] | empty |
//! | `outgoing_destinations` | [`LaneId`] | [`DestinationRecord`] |
//! | `receiving_policies` | [`LaneId`] | [`PolicyRecord`] |
//! | `journal` | node (u64), sequence (u64) | [`JournalRecord`] |
//! | `held_for_operator` | duty (u8), key in its family | [`HeldRecord`](crate::backup::held::HeldRecord) |
//! | `sendings` | AccountId (u64) | [`SendingRecord`](super::sending::SendingRecord) |
//! | `quarantine` | QuarantineId | [`QuarantineRecord`](super::quarantine::QuarantineRecord) |
//!
//! A work row is written in the batch that creates the duty and removed in the batch that fulfils
//! it, so that after a crash a scan of the work families finds exactly what is left to do.

use bytes::Bytes;
use prost::Message;
use storage::{catalog::engine::Family, error::StoreError, held::HeldId};
use trust::{clock::UnixMillis, random::RandomSource};

mod queue;
mod seen;

pub use queue::{
    DestinationRecord, Due, LaneId, OUTGOING_DESTINATIONS, OUTGOING_ORDER, PolicyRecord, QueueKind,
    QueueRecipient, QueueRecord, RECEIVING_POLICIES, RecipientAsked, ReturnedPart, sender_class,
    write_queued,
};
pub use seen::{KnownBy, Seen, recognised_by, seen_key};

/// One submitted message and all that follows from it.
pub const TRANSMISSIONS: Family = Family("transmissions");
/// PEC msgid to transmission.
pub const TRANSMISSION_IDENTIFIERS: Family = Family("transmission_identifiers");
/// What is known of each recipient of a transmission.
pub const TRANSMISSION_RECIPIENTS: Family = Family("transmission_recipients");
/// Transmissions whose acceptance is not finished.
pub const TRANSMISSION_WORK: Family = Family("transmission_work");
/// Messages taken in from other servers.
pub const INCOMING_MESSAGES: Family = Family("incoming_messages");
/// Incoming messages that are not yet distributed.
pub const INCOMING_WORK: Family = Family("incoming_work");
/// What was delivered before, so that a repeat is recognised.
pub const INCOMING_SEEN: Family = Family("incoming_seen");
/// Deliveries to mailboxes, and receipts owed for them.
pub const DELIVERY_WORK: Family = Family("delivery_work");
/// When a sender is to be told that nothing was heard of a recipient.
pub const TIME_LIMITS: Family = Family("time_limits");
/// Messages to other servers.
pub const OUTGOING_QUEUE: Family = Family("outgoing_queue");
/// The provider's log of operations (RFC 6109 §2.3).
pub const JOURNAL: Family = Family("journal");

/// Duties that a restore found unfinished; see [`crate::backup::held`].
pub const HELD_FOR_OPERATOR: Family = Family("held_for_operator");

/// Every family of the engine, for opening the store.
pub const FAMILIES: [Family; 24] = [
    TRANSMISSIONS,
    TRANSMISSION_IDENTIFIERS,
    TRANSMISSION_RECIPIENTS,
    TRANSMISSION_WORK,
    INCOMING_MESSAGES,
    INCOMING_WORK,
    INCOMING_SEEN,
    DELIVERY_WORK,
    TIME_LIMITS,
    OUTGOING_QUEUE,
    OUTGOING_ORDER,
    OUTGOING_DESTINATIONS,
    RECEIVING_POLICIES,
    JOURNAL,
    HELD_FOR_OPERATOR,
    super::sending::SENDINGS,
    super::journal::head::JOURNAL_HEADS,
    super::journal::head::JOURNAL_SEALS,
    super::journal::head::JOURNAL_LEAVES,
    super::journal::head::JOURNAL_PIECES,
    super::journal::head::JOURNAL_INDEX,
    super::artefacts::TRANSMISSION_ARTEFACTS,
    super::artefacts::TRANSMISSION_INDEX,
    super::quarantine::QUARANTINE,
];

/// The version this program writes and the newest it reads.
const RECORD_VERSION: u8 = 1;

/// Encodes a record: version octet, then the prost message.
pub fn encode(record: &impl Message) -> Bytes {
    let mut octets = Vec::with_capacity(1 + record.encoded_len());
    octets.push(RECORD_VERSION);
    octets.extend_from_slice(&record.encode_to_vec());
    octets.into()
}

/// Decodes a record that stands in `family` under `key`.
///
/// # Errors
///
/// [`StoreError::TooNew`] for a later version, [`StoreError::Damaged`] for anything else that
/// cannot be read.
pub fn decode<R: Message + Default>(
    family: Family,
    key: &[u8],
    octets: &[u8],
) -> Result<R, StoreError> {
    let object = || format!("{}/{}", family.0, hex::encode(key));
    match octets.split_first() {
        Some((&RECORD_VERSION, message)) => R::decode(message)
            .map_err(|error| StoreError::Damaged { object: object(), detail: error.to_string() }),
        Some((&version, _)) if version > RECORD_VERSION => Err(StoreError::TooNew {
            object: object(),
            found: u32::from(version),
            known: u32::from(RECORD_VERSION),
        }),
        _ => Err(StoreError::Damaged { object: object(), detail: "no record version".to_owned() }),
    }
}

macro_rules! time_ordered_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Draws a new one: 48 bits of milliseconds, then 80 random bits.
            pub fn draw(now: UnixMillis, random: &dyn RandomSource) -> Self {
                let mut octets = [0; 16];
                random.fill(&mut octets[6..]);
                octets[..6].copy_from_slice(&now.0.to_be_bytes()[2..]);
                Self(octets)
            }

            /// Reads one from a key or a record.
            pub fn from_octets(family: Family, octets: &[u8]) -> Result<Self, StoreError> {
                octets.try_into().map(Self).map_err(|_| StoreError::Damaged {
                    object: format!("{}/{}", family.0, hex::encode(octets)),
                    detail: format!("16 octets expected, {} found", octets.len()),
                })
            }

            /// The id as a key.
            pub fn key(self) -> Bytes {
                Bytes::copy_from_slice(&self.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&hex::encode(self.0))
            }
        }
    };
}

pub(super) use time_ordered_id;

time_ordered_id! {
    /// A transmission; ascending with time.
    TransmissionId
}
time_ordered_id! {
    /// A message taken in at the incoming point.
    IncomingId
}
time_ordered_id! {
    /// A message in the outgoing queue.
    QueueId
}

/// Draws the name of a held message.
pub fn draw_held_id(now: UnixMillis, random: &dyn RandomSource) -> HeldId {
    HeldId(QueueId::draw(now, random).0)
}

/// Reads a held message's name from a record; `None` when the record has none.
pub fn held_id(octets: &[u8]) -> Option<HeldId> {
    octets.try_into().ok().map(HeldId)
}

/// The key of a recipient row, or of a delivery: its owner and its index.
pub fn indexed_key(owner: &[u8], index: u32) -> Bytes {
    let mut key = Vec::with_capacity(owner.len() + 4);
    key.extend_from_slice(owner);
    key.extend_from_slice(&index.to_be_bytes());
    key.into()
}

/// Where a transmission stands.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
pub enum TransmissionState {
    /// Durable; neither receipt nor envelope exist yet.
    Submitted = 0,
    /// The formal checks failed; the notice is owed.
    Refused = 1,
    /// The acceptance receipt is in the sender's mailbox, the envelope on its way.
    Accepted = 2,
    /// The non-acceptance notice is in the sender's mailbox.
    Rejected = 3,
}

/// A submitted message.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct TransmissionRecord {
    /// The PEC msgid, without angle brackets (RFC 6109 §2.2.1).
    #[prost(string, tag = "1")]
    pub identifier: String,
    /// The one instant of the transmission (RFC 6109 §4.1), in milliseconds since the epoch.
    #[prost(int64, tag = "2")]
    pub instant_millis: i64,
    /// Where it stands.
    #[prost(enumeration = "TransmissionState", tag = "3")]
    pub state: i32,
    /// The sender's account.
    #[prost(uint64, tag = "4")]
    pub account_id: u64,
    /// The reverse path: the address that gets every receipt (RFC 6109 §2.1).
    #[prost(string, tag = "5")]
    pub sender: String,
    /// The original, its Message-ID replaced, as a held message; empty for one with a virus.
    #[prost(bytes = "vec", tag = "6")]
    pub original: Vec<u8>,
    /// The transport envelope as a held message, once accepted.
    #[prost(bytes = "vec", tag = "7")]
    pub envelope: Vec<u8>,
    /// The client's Message-ID with its brackets, when it set one.
    #[prost(string, optional, tag = "8")]
    pub client_message_id: Option<String>,
    /// The subject, decoded, as receipts quote it.
    #[prost(string, tag = "9")]
    pub subject: String,
    /// Why the formal checks failed: the sentence of the notice.
    #[prost(string, optional, tag = "10")]
    pub fault: Option<String>,
    /// Recipients, in the order of the forward path.
    #[prost(uint32, tag = "11")]
    pub recipients: u32,
    /// The sender's own name for the transaction (RFC 3461 §4.4).
    #[prost(string, optional, tag = "20")]
    pub envelope_id: Option<String>,
    /// How much of the message a report returns.
    #[prost(enumeration = "ReturnedPart", tag = "21")]
    pub returned: i32,
    /// The virus that was found in it; the message is in quarantine then.
    #[prost(string, optional, tag = "30")]
    pub threat: Option<String>,
}

/// Where one recipient of a transmission stands.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
pub enum RecipientState {
    /// Nothing has left yet.
    Submitted = 0,
    /// The transmission was accepted; the envelope is queued or being delivered here.
    Accepted = 1,
    /// The recipient's server has taken the envelope over SMTP.
    Relayed = 2,
    /// The recipient's provider has issued its take-charge receipt.
    TakenInCharge = 3,
    /// The delivery receipt is in the sender's mailbox.
    Delivered = 4,
    /// A non-delivery notice is in the sender's mailbox.
    Failed = 5,
    /// The transmission was not accepted.
    Rejected = 6,
    /// Nothing was heard within 24 hours, and the sender was told so (RFC 6109 §3.1.6).
    Expired = 7,
    /// The recipient's provider has found a virus, and the sender was told so (RFC 6109 §3.2.4).
    Infected = 8,
}

/// One recipient of a transmission.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct RecipientRecord {
    /// The forward path.
    #[prost(string, tag = "1")]
    pub address: String,
    /// Whether some provider manages the domain: "certificato", else "esterno".
    #[prost(bool, tag = "2")]
    pub certified: bool,
    /// Where it stands.
    #[prost(enumeration = "RecipientState", tag = "3")]
    pub state: i32,
    /// When it came there, in milliseconds since the epoch.
    #[prost(int64, tag = "4")]
    pub changed_millis: i64,
    /// When the sender was told that nothing was heard within 12 hours; 0 = he was not.
    #[prost(int64, tag = "5")]
    pub warned_millis: i64,
    /// What the sender wants to hear: [`protocols::smtp::grammar::Notify::to_number`].
    #[prost(uint32, tag = "20")]
    pub notify: u32,
    /// Whom the first sender named: type, semicolon, address (RFC 3461 §4.2).
    #[prost(string, optional, tag = "21")]
    pub original_recipient: Option<String>,
}

impl RecipientRecord {
    /// Whether the recipient may come to `next`: forward only. What his provider has certified as
    /// delivered stays so, and it may say so after a notice that it would not arrive (RFC 6109
    /// §3.1.6).
    pub fn may_become(&self, next: RecipientState) -> bool {
        match (self.state(), next) {
            // What was never sent cannot have arrived anywhere.
            // Of one that failed the sender was told: one notice for a recipient is enough.
            (RecipientState::Delivered | RecipientState::Rejected, _)
            | (RecipientState::Failed, RecipientState::Infected) => false,
            // A receipt that comes late is passed on, and true.
            (
                RecipientState::Failed | RecipientState::Expired | RecipientState::Infected,
                RecipientState::Delivered,
            ) => true,
            (now, next) => now < next,
        }
    }
}

/// What kind of message the incoming point has taken.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
pub enum IncomingKind {
    /// Ordinary mail, or anything not certified: goes on inside an anomaly envelope.
    Anomaly = 0,
    /// A valid transport envelope.
    TransportEnvelope = 1,
    /// A valid receipt or notice.
    Notification = 2,
}

/// Why a message goes on inside an anomaly envelope.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
pub enum AnomalyKind {
    /// No provider has signed it.
    OrdinaryMail = 0,
    /// Its signature is not valid, or not a provider's.
    InvalidSignature = 1,
    /// A provider has signed it, but its form is not that of certified mail.
    Malformed = 2,
}

/// A message taken in from another server.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct IncomingRecord {
    /// What it is.
    #[prost(enumeration = "IncomingKind", tag = "1")]
    pub kind: i32,
    /// When it was taken, in milliseconds since the epoch.
    #[prost(int64, tag = "2")]
    pub instant_millis: i64,
    /// The reverse path.
    #[prost(string, tag = "3")]
    pub reverse_path: String,
    /// The forward paths of this provider.
    #[prost(string, repeated, tag = "4")]
    pub recipients: Vec<String>,
    /// The message as received, as a held message.
    #[prost(bytes = "vec", tag = "5")]
    pub message: Vec<u8>,
    /// SHA-256 of the signer's certificate; empty without a valid signature.
    #[prost(bytes = "vec", tag = "6")]
    pub signer: Vec<u8>,
    /// SHA-256 of the signed entity; of the whole message when there is none.
    #[prost(bytes = "vec", tag = "7")]
    pub entity_digest: Vec<u8>,
    /// The Message-ID as it stands in the header.
    #[prost(bytes = "vec", tag = "8")]
    pub message_id: Vec<u8>,
    /// The mailReceipt address of the signer's provider.
    #[prost(string, tag = "9")]
    pub mail_receipt: String,
    /// Why it is an anomaly, for the journal.
    #[prost(string, tag = "10")]
    pub reason: String,
    /// The name of the signer's provider, as the directory has it.
    #[prost(string, tag = "11")]
    pub provider: String,
    /// Why it is an anomaly, for the anomaly envelope.
    #[prost(enumeration = "AnomalyKind", tag = "12")]
    pub anomaly: i32,
    /// The value of the Authentication-Results field of the anomaly envelope, folded; empty when
    /// nothing was checked.
    #[prost(string, tag = "13")]
    pub authentication_results: String,
    /// The sender's own name for the transaction (RFC 3461 §4.4).
    #[prost(string, optional, tag = "20")]
    pub envelope_id: Option<String>,
    /// How much of the message a report returns.
    #[prost(enumeration = "ReturnedPart", tag = "21")]
    pub returned: i32,
    /// What the sender asks about each of the recipients, in their order; when it is shorter,
    /// nothing about the others.
    #[prost(message, repeated, tag = "22")]
    pub asked: Vec<RecipientAsked>,
    /// The message in quarantine, where its octets are sealed, when a virus was found in it.
    #[prost(bytes = "vec", tag = "30")]
    pub quarantine: Vec<u8>,
    /// The value of the X-Spam-Status field of the anomaly envelope; empty when nothing was asked.
    #[prost(string, tag = "31")]
    pub spam_status: String,
    /// The recipients whose mailboxes take no ordinary mail, which this is.
    #[prost(string, repeated, tag = "32")]
    pub refusing: Vec<String>,
    /// The recipients for whom the receipt or notice, which this is, comes because of nothing that they sent:
    /// they get it as far as they have room.
    #[prost(string, repeated, tag = "33")]
    pub not_owed: Vec<String>,
}

/// What a delivery is to put into a mailbox, and whether a receipt follows.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
pub enum DeliveryStage {
    /// The message is not in the mailbox yet.
    Pending = 0,
    /// It is in the mailbox; the delivery receipt is owed.
    ReceiptOwed = 1,
    /// It cannot be delivered; the non-delivery notice is owed.
    NoticeOwed = 2,
    /// It has a virus and goes to no mailbox; the notice of that to the sender's provider is owed.
    VirusNoticeOwed = 3,
}

/// Why a message cannot be put into a mailbox.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
pub enum DeliveryFaultKind {
    /// There is no such mailbox, or it is closed.
    UnknownMailbox = 0,
    /// The mailbox is full.
    MailboxFull = 1,
    /// The mailbox is blocked.
    MailboxBlocked = 2,
    /// The mailbox takes no ordinary mail, and the message is that.
    CertifiedMailOnly = 3,
}

/// One recipient of one message at the delivery point.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct DeliveryRecord {
    /// What kind of message it is.
    #[prost(enumeration = "IncomingKind", tag = "1")]
    pub kind: i32,
    /// How far it has come.
    #[prost(enumeration = "DeliveryStage", tag = "2")]
    pub stage: i32,
    /// The message to deliver, as a held message.
    #[prost(bytes = "vec", tag = "3")]
    pub message: Vec<u8>,
    /// The recipient.
    #[prost(string, tag = "4")]
    pub recipient: String,
    /// The key in `incoming_seen` that this delivery takes.
    #[prost(bytes = "vec", tag = "5")]
    pub seen_key: Vec<u8>,
    /// When the message came into the mailbox, or failed to, or came in with a virus: the instant of the
    /// receipt or notice.
    #[prost(int64, tag = "6")]
    pub instant_millis: i64,
    /// Why it failed, once it has; or why it will, when that was known before.
    #[prost(enumeration = "DeliveryFaultKind", tag = "7")]
    pub fault: i32,
    /// The transmission of this provider that the message belongs to, if any.
    #[prost(bytes = "vec", tag = "9")]
    pub transmission: Vec<u8>,
    /// Its recipient's index.
    #[prost(uint32, tag = "10")]
    pub transmission_index: u32,
    /// The recipient gets the receipt or notice, which this is, only if he has room.
    #[prost(bool, tag = "11")]
    pub not_owed: bool,
    /// The message in quarantine whose sealed octets `message` names, when it has a virus.
    #[prost(bytes = "vec", tag = "30")]
    pub quarantine: Vec<u8>,
}

/// One line of the provider's log: the fields that RFC 6109 §2.3 asks for.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct JournalRecord {
    /// When, in milliseconds since the epoch.
    #[prost(int64, tag = "1")]
    pub instant_millis: i64,
    /// What happened; see [`super::journal::JournalEvent`].
    #[prost(string, tag = "2")]
    pub event: String,
    /// The PEC msgid.
    #[prost(string, tag = "3")]
    pub identifier: String,
    /// The client's Message-ID, or the Message-ID of a message from outside.
    #[prost(string, tag = "4")]
    pub message_id: String,
    /// The sender of the original.
    #[prost(string, tag = "5")]
    pub sender: String,
    /// The recipients concerned.
    #[prost(string, repeated, tag = "6")]
    pub recipients: Vec<String>,
    /// The subject of the original.
    #[prost(string, tag = "7")]
    pub subject: String,
    /// Message-IDs of the messages generated with this event.
    #[prost(string, repeated, tag = "8")]
    pub related: Vec<String>,
    /// The sending provider.
    #[prost(string, tag = "9")]
    pub provider: String,
    /// What else is worth keeping: an SMTP answer, a reason.
    #[prost(string, tag = "10")]
    pub detail: String,
}

#[cfg(test)]
mod tests;
