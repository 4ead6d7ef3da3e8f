//! What a message that comes in is known again by.
//!
//! * No key of what is taken in or delivered as an anomaly is a key that certified mail has or ever had: whoever
//!   has an envelope can bring a malformed copy of it before it comes, and the envelope must not pass for a
//!   repeat then.
//!
//! Not here: when something counts as a repeat (`incoming_point`, `delivery_point`).

use bytes::Bytes;
use trust::digest::Sha256Hasher;

use super::{IncomingId, IncomingKind};

/// What a key in `incoming_seen` remembers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seen<'a> {
    /// The incoming point took the message for this recipient.
    Taken(&'a str),
    /// The delivery point delivered it to him, or found that it cannot.
    Delivered(&'a str),
    /// It has a virus and is in quarantine, whoever it was for.
    Quarantined,
}

/// What a message is told from others by, beside signer, octets and recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KnownBy<'a> {
    /// Nothing: what is signed says which message it is.
    Entity,
    /// Its Message-ID, or another name.
    Name(&'a [u8]),
    /// Its Message-ID, as an anomaly that a provider has signed.
    Anomaly(&'a [u8]),
}

/// The part that keys of signed anomalies have before the Message-ID.
const ANOMALY: &[u8] = b"anomaly";

/// The key under which a message is remembered: SHA-256 over the word `taken`, `delivered` or
/// `quarantined`, the signer certificate's SHA-256, the Message-ID, the SHA-256 of the signed entity, and the
/// recipient in lower case, each preceded by its length as a u64. What is in quarantine has neither Message-ID
/// nor recipient: nobody has signed those. Certified mail has no part for a Message-ID at all
/// ([`recognised_by`]), an anomaly with a signer the word `anomaly` before it.
///
/// Ordinary mail has no signer and no signed entity: the whole message stands for the entity. The
/// word keeps the two points apart: what the one has taken the other has still to deliver.
pub fn seen_key(
    signer: &[u8],
    known_by: KnownBy<'_>,
    entity_digest: &[u8],
    seen: Seen<'_>,
) -> Bytes {
    let (word, recipient) = match seen {
        Seen::Taken(recipient) => ("taken", recipient),
        Seen::Delivered(recipient) => ("delivered", recipient),
        Seen::Quarantined => ("quarantined", ""),
    };
    let (kind, name) = match known_by {
        KnownBy::Entity => (None, None),
        KnownBy::Name(name) => (None, Some(name)),
        KnownBy::Anomaly(name) => (Some(ANOMALY), Some(name)),
    };
    let recipient = recipient.to_ascii_lowercase();
    let mut hasher = Sha256Hasher::default();
    let parts = [Some(word.as_bytes()), Some(signer), kind, name, Some(entity_digest)];
    for part in parts.into_iter().flatten().chain([recipient.as_bytes()]) {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    Bytes::copy_from_slice(&hasher.finish().0)
}

/// What a message that came in is told from others by, beside signer and octets: its Message-ID, but for
/// certified mail. Its identifier is among what is signed; the field above it is not, and whoever has such a
/// message can write there what he likes.
///
/// What nobody has signed and has no Message-ID is only itself: what a device sends every night with the same
/// octets is another message every night.
pub fn recognised_by<'a>(
    kind: IncomingKind,
    signer: &[u8],
    message_id: &'a [u8],
    id: &'a IncomingId,
) -> KnownBy<'a> {
    match kind {
        IncomingKind::TransportEnvelope | IncomingKind::Notification => KnownBy::Entity,
        IncomingKind::Anomaly if !signer.is_empty() => KnownBy::Anomaly(message_id),
        IncomingKind::Anomaly if message_id.is_empty() => KnownBy::Name(&id.0),
        IncomingKind::Anomaly => KnownBy::Name(message_id),
    }
}
