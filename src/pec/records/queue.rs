//! Records of the outgoing queue, and the keys of its order.
//!
//! A row of `outgoing_queue` is a message on its way to one domain. Beside it stands a row of
//! `outgoing_order`, without octets, whose key says when its turn comes: lane, sender class,
//! instant, QueueId. So the queue is read destination by destination and sender by sender, each in
//! the order of time, however long it is. Invariants:
//!
//! * The two rows are written and removed in one batch, by [`write_queued`] and nothing else.
//! * A row that an operator holds has no row in the order: nobody's turn comes to it.
//!
//! A start of the queue makes the order agree again with what stands in `outgoing_queue`.

use bytes::Bytes;
use prost::Message;
use storage::{
    catalog::engine::{Batch, Expected, Family},
    error::StoreError,
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{OUTGOING_QUEUE, QueueId, encode};

/// When which row of the queue is due, by destination and sender.
pub const OUTGOING_ORDER: Family = Family("outgoing_order");
/// Destinations that do not answer, and until when they are left alone.
pub const OUTGOING_DESTINATIONS: Family = Family("outgoing_destinations");
/// Policies of receiving domains (RFC 8461), as they were last fetched.
pub const RECEIVING_POLICIES: Family = Family("receiving_policies");

/// What a queued message is, for what happens when it cannot be sent.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
pub enum QueueKind {
    /// A receipt or notice: a refusal is journalled and ends there.
    Notification = 0,
    /// A transport envelope: a refusal becomes a notice to the sender.
    TransportEnvelope = 1,
    /// A delivery status notification, from the null reverse path: a refusal ends there.
    StatusNotification = 2,
}

/// How much of the message a report returns (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, prost::Enumeration)]
#[repr(i32)]
pub enum ReturnedPart {
    /// The sender did not say.
    Unspecified = 0,
    /// All of it.
    Full = 1,
    /// Its header.
    Headers = 2,
}

/// A message on its way to another server.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct QueueRecord {
    /// What it is.
    #[prost(enumeration = "QueueKind", tag = "1")]
    pub kind: i32,
    /// The recipients' domain, in lower case: one queue record has one destination.
    #[prost(string, tag = "2")]
    pub domain: String,
    /// The reverse path; empty for the null one.
    #[prost(string, tag = "3")]
    pub reverse_path: String,
    /// The recipients that still wait.
    #[prost(message, repeated, tag = "4")]
    pub recipients: Vec<QueueRecipient>,
    /// The message, as a held message.
    #[prost(bytes = "vec", tag = "5")]
    pub message: Vec<u8>,
    /// When it was queued, in milliseconds since the epoch.
    #[prost(int64, tag = "6")]
    pub queued_millis: i64,
    /// When the next attempt is due.
    #[prost(int64, tag = "7")]
    pub next_attempt_millis: i64,
    /// Attempts so far.
    #[prost(uint32, tag = "8")]
    pub attempts: u32,
    /// The last answer or error, for people.
    #[prost(string, tag = "9")]
    pub last_error: String,
    /// The transmission, for a transport envelope.
    #[prost(bytes = "vec", tag = "10")]
    pub transmission: Vec<u8>,
    /// Whose messages take turns with others': see [`sender_class`].
    #[prost(fixed64, tag = "11")]
    pub sender_class: u64,
    /// The recipients are outside certified mail: failures are told by RFC 3464.
    #[prost(bool, tag = "12")]
    pub ordinary: bool,
    /// Since when an operator holds it, in milliseconds since the epoch; 0 when nobody does.
    #[prost(int64, tag = "13")]
    pub held_millis: i64,
    /// What the operator said.
    #[prost(string, tag = "14")]
    pub held_why: String,
    /// The sender's own name for the transaction (RFC 3461 §4.4).
    #[prost(string, optional, tag = "15")]
    pub envelope_id: Option<String>,
    /// How much of the message a report returns.
    #[prost(enumeration = "ReturnedPart", tag = "16")]
    pub returned: i32,
    /// TLS of the last connection that was had, for people.
    #[prost(string, tag = "17")]
    pub tls: String,
    /// The server that gave the last answer.
    #[prost(string, tag = "18")]
    pub last_server: String,
    /// When an operator gave it up, in milliseconds since the epoch; 0 when nobody has. It is not
    /// sent any more: its recipients count as refused.
    #[prost(int64, tag = "19")]
    pub dropped_millis: i64,
}

/// A recipient in the queue.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct QueueRecipient {
    /// The forward path.
    #[prost(string, tag = "1")]
    pub address: String,
    /// Its index in the transmission.
    #[prost(uint32, tag = "2")]
    pub index: u32,
    /// What the sender wants to hear: [`protocols::smtp::grammar::Notify::to_number`].
    #[prost(uint32, tag = "3")]
    pub notify: u32,
    /// Whom the first sender named: type, semicolon, address (RFC 3461 §4.2).
    #[prost(string, optional, tag = "4")]
    pub original_recipient: Option<String>,
    /// The sender has been told that it is late.
    #[prost(bool, tag = "5")]
    pub delay_told: bool,
}

/// What a sender asks about one recipient (RFC 3461 §4.1, §4.2).
#[derive(Clone, Eq, PartialEq, Message)]
pub struct RecipientAsked {
    /// What he wants to hear: [`protocols::smtp::grammar::Notify::to_number`].
    #[prost(uint32, tag = "1")]
    pub notify: u32,
    /// Whom the first sender named: type, semicolon, address.
    #[prost(string, optional, tag = "2")]
    pub original_recipient: Option<String>,
}

/// A destination that does not answer.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct DestinationRecord {
    /// The domain.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Attempts without success, one after the other.
    #[prost(uint32, tag = "2")]
    pub failures: u32,
    /// Since when, in milliseconds since the epoch.
    #[prost(int64, tag = "3")]
    pub since_millis: i64,
    /// When the next attempt is due.
    #[prost(int64, tag = "4")]
    pub next_attempt_millis: i64,
    /// Why, for people.
    #[prost(string, tag = "5")]
    pub last_error: String,
    /// A policy on TLS was not satisfied.
    #[prost(bool, tag = "6")]
    pub policy: bool,
}

/// What a receiving domain asks of those who send to it (RFC 8461 §3.2).
#[derive(Clone, Eq, PartialEq, Message)]
pub struct PolicyRecord {
    /// The domain.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// The id in the TXT record when it was fetched.
    #[prost(string, tag = "2")]
    pub id: String,
    /// The policy as it was fetched.
    #[prost(string, tag = "3")]
    pub text: String,
    /// When it was fetched, in milliseconds since the epoch.
    #[prost(int64, tag = "4")]
    pub fetched_millis: i64,
}

/// Names a destination: the first 16 octets of the SHA-256 of the domain.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LaneId(pub [u8; 16]);

impl LaneId {
    /// The lane of what goes nowhere any more.
    pub const NOWHERE: Self = Self([0; 16]);

    /// The lane of `domain`, in lower case.
    pub fn of(domain: &str) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&Sha256Digest::of(domain.as_bytes()).0[..16]);
        Self(id)
    }

    /// As a key.
    pub fn key(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

/// The class of whoever `who` names: the first 8 octets of its SHA-256, in lower case. Classes take
/// turns, so that nobody's mass of messages stands before another's single one.
pub fn sender_class(who: &str) -> u64 {
    let mut octets = [0; 8];
    octets.copy_from_slice(&Sha256Digest::of(who.to_ascii_lowercase().as_bytes()).0[..8]);
    u64::from_be_bytes(octets)
}

impl QueueRecord {
    /// Whether an operator holds it.
    pub fn is_held(&self) -> bool {
        self.held_millis != 0
    }

    /// Whether an operator has given it up.
    pub fn is_dropped(&self) -> bool {
        self.dropped_millis != 0
    }

    /// When its turn comes; never while it is held. What was given up waits for no destination.
    pub fn due(&self, id: QueueId) -> Option<Due> {
        let lane = if self.is_dropped() { LaneId::NOWHERE } else { LaneId::of(&self.domain) };
        let at = UnixMillis(self.next_attempt_millis);
        (!self.is_held()).then_some(Due { lane, class: self.sender_class, at, id })
    }
}

/// A row of the queue and when its turn comes: a key of `outgoing_order`, 48 octets.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Due {
    /// The destination.
    pub lane: LaneId,
    /// The sender's class.
    pub class: u64,
    /// When the row is due.
    pub at: UnixMillis,
    /// The row.
    pub id: QueueId,
}

impl Due {
    /// The octets: lane, class, milliseconds, QueueId.
    pub fn octets(&self) -> Bytes {
        let mut key = Vec::with_capacity(48);
        key.extend_from_slice(&self.lane.0);
        key.extend_from_slice(&self.class.to_be_bytes());
        // Instants before 1970 would sort last: there are none.
        key.extend_from_slice(&self.at.0.max(0).to_be_bytes());
        key.extend_from_slice(&self.id.0);
        key.into()
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] when it has not 48 octets.
    pub fn read(key: &[u8]) -> Result<Self, StoreError> {
        let parts = || {
            let (lane, rest) = key.split_first_chunk::<16>()?;
            let (class, rest) = rest.split_first_chunk::<8>()?;
            let (at, rest) = rest.split_first_chunk::<8>()?;
            let id = <[u8; 16]>::try_from(rest).ok()?;
            Some(Self {
                lane: LaneId(*lane),
                class: u64::from_be_bytes(*class),
                at: UnixMillis(i64::from_be_bytes(*at)),
                id: QueueId(id),
            })
        };
        parts().ok_or_else(|| StoreError::Damaged {
            object: format!("{}/{}", OUTGOING_ORDER.0, hex::encode(key)),
            detail: format!("48 octets expected, {} found", key.len()),
        })
    }

    /// What every key of one sender in one lane begins with.
    pub fn prefix(lane: LaneId, class: u64) -> Vec<u8> {
        [lane.0.as_slice(), &class.to_be_bytes()].concat()
    }
}

/// Adds to `batch` that the row `id` of the queue, which stood there as `before` (its record and
/// octets), stands there as `after`; either may be nothing.
pub fn write_queued(
    batch: &mut Batch,
    id: QueueId,
    before: Option<(&QueueRecord, Bytes)>,
    after: Option<&QueueRecord>,
) {
    let order = |record: &QueueRecord| record.due(id);
    let old = before.as_ref().and_then(|(record, _)| order(record));
    let new = after.and_then(order);
    if let Some((_, value)) = before {
        batch.expect(OUTGOING_QUEUE, id.key(), Expected::Value(value));
    }
    match after {
        Some(record) => batch.put(OUTGOING_QUEUE, id.key(), encode(record)),
        None => batch.delete(OUTGOING_QUEUE, id.key()),
    };
    if let Some(old) = old.filter(|old| Some(*old) != new) {
        batch.delete(OUTGOING_ORDER, old.octets());
    }
    if let Some(new) = new {
        batch.put(OUTGOING_ORDER, new.octets(), Bytes::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_by_lane_then_sender_then_time() {
        let key = |lane: u8, class, at, id: u8| Due {
            lane: LaneId([lane; 16]),
            class,
            at: UnixMillis(at),
            id: QueueId([id; 16]),
        };
        let keys = [key(1, 1, 5, 9), key(1, 1, 6, 1), key(1, 2, 0, 1), key(2, 0, 0, 0)];
        let octets: Vec<Bytes> = keys.iter().map(Due::octets).collect();
        assert!(octets.is_sorted());
        for (key, octets) in keys.iter().zip(&octets) {
            assert_eq!(Due::read(octets).expect("a key"), *key);
            assert!(octets.starts_with(&Due::prefix(key.lane, key.class)));
        }
        assert!(Due::read(&[0; 47]).is_err());
    }

    #[test]
    fn a_held_row_has_no_turn_and_a_moved_one_has_one() {
        let id = QueueId([3; 16]);
        let waiting = QueueRecord {
            domain: "one.example".to_owned(),
            next_attempt_millis: 7,
            ..QueueRecord::default()
        };
        let held = QueueRecord { held_millis: 8, ..waiting.clone() };
        let later = QueueRecord { next_attempt_millis: 9, ..waiting.clone() };
        let changes = |before: Option<&QueueRecord>, after: Option<&QueueRecord>| {
            let mut batch = Batch::default();
            write_queued(&mut batch, id, before.map(|record| (record, encode(record))), after);
            let family = |family: Family| family == OUTGOING_ORDER;
            let put = batch.put.iter().filter(|(of, ..)| family(*of)).count();
            (put, batch.delete.iter().filter(|(of, _)| family(*of)).count())
        };
        assert_eq!(changes(None, Some(&waiting)), (1, 0));
        assert_eq!(changes(Some(&waiting), Some(&waiting)), (1, 0));
        assert_eq!(changes(Some(&waiting), Some(&later)), (1, 1));
        assert_eq!(changes(Some(&waiting), Some(&held)), (0, 1));
        assert_eq!(changes(Some(&held), Some(&waiting)), (1, 0));
        assert_eq!(changes(Some(&waiting), None), (0, 1));
        assert_eq!(changes(Some(&held), None), (0, 0));
    }
}
