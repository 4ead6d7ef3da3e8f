//! Held messages: octets owned by a record of a floor above, not by a mailbox.
//!
//! A submitted message belongs to its transmission before, and after, it has rows; a queue entry
//! owns the message it is to send. The owner chooses a [`HeldId`] and keeps it in its own record.
//! A held message is delivered by [`HeldMessage::to_staged`] and an append, which shares its chunks.

use std::sync::Arc;

use bytes::Bytes;
use trust::{clock::UnixMillis, digest::Sha256Digest};

use crate::{
    account::read,
    catalog::{
        engine::{Batch, Expected, Reader},
        keys,
        records::{self, HeldRecord},
    },
    error::StoreError,
    octets::{Erased, ErasureReason, Kept, StagedMessage, StoredMessage},
    pack::index::{ERASED_CHUNKS, stored_id_key},
    summary::{Envelope, Summary},
};

/// Names a held message. The owner takes it from its random source and never uses it twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HeldId(pub [u8; 16]);

impl std::fmt::Display for HeldId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(formatter, "{octet:02x}"))
    }
}

/// A message that a floor above owns.
#[derive(Clone, Debug)]
pub struct HeldMessage {
    stored: StoredMessage,
    summary: Arc<Summary>,
}

impl HeldMessage {
    /// What it is rebuilt from; read it through the octet store.
    pub fn stored(&self) -> &StoredMessage {
        &self.stored
    }

    /// What was parsed once.
    pub fn summary(&self) -> &Arc<Summary> {
        &self.summary
    }

    /// Octets of the message.
    pub fn size(&self) -> u64 {
        self.stored.size()
    }

    /// SHA-256 of the message.
    pub fn digest(&self) -> Sha256Digest {
        self.stored.digest()
    }

    /// The message for an append, or to be held by another owner.
    #[must_use]
    pub fn to_staged(&self) -> StagedMessage {
        StagedMessage::restage(self.stored.clone(), Arc::clone(&self.summary))
    }
}

fn key(id: HeldId) -> Bytes {
    Bytes::copy_from_slice(&id.0)
}

pub(crate) fn hold(id: HeldId, message: &StagedMessage, batch: &mut Batch) {
    message.add_to(batch);
    let record = HeldRecord {
        message: message.stored().encode().into(),
        summary: message.summary().encode().into(),
    };
    batch.expect(keys::HELD_MESSAGES, key(id), Expected::Absent);
    batch.put(keys::HELD_MESSAGES, key(id), records::encode(&record));
}

/// Adds to `batch` that the message which `id` owns is erased at `at`. Nothing to do when `id` owns
/// nothing, or was erased before: false.
pub(crate) async fn erase(
    reader: &(impl Reader + ?Sized),
    id: HeldId,
    at: UnixMillis,
    reason: ErasureReason,
    envelope: &Envelope,
    batch: &mut Batch,
) -> Result<bool, StoreError> {
    let Some(value) = reader.get(keys::HELD_MESSAGES, &key(id)).await? else { return Ok(false) };
    let record: HeldRecord = records::decode(keys::HELD_MESSAGES, &key(id), &value)?;
    let name = || format!("held message {id}");
    let Kept::Message(stored) = Kept::decode(&record.message, name)? else { return Ok(false) };
    let erased = Erased { size: stored.size(), digest: stored.digest(), at, reason };
    let record = HeldRecord {
        message: erased.encode().into(),
        summary: Summary::of_erased(erased.size, envelope.clone()).encode().into(),
    };
    batch.expect(keys::HELD_MESSAGES, key(id), Expected::Value(value));
    batch.put(keys::HELD_MESSAGES, key(id), records::encode(&record));
    for chunk in stored.stored_ids() {
        batch.put(ERASED_CHUNKS, stored_id_key(chunk), Bytes::new());
    }
    Ok(true)
}

pub(crate) fn release(id: HeldId, batch: &mut Batch) {
    batch.delete(keys::HELD_MESSAGES, key(id));
}

pub(crate) async fn get(
    reader: &(impl Reader + ?Sized),
    id: HeldId,
) -> Result<Option<HeldMessage>, StoreError> {
    let record = read::<HeldRecord>(reader, keys::HELD_MESSAGES, &key(id)).await?;
    record.map(|record| decode(id, &record)).transpose()
}

/// The message in `record`, which stands under `id`.
pub(crate) fn decode(id: HeldId, record: &HeldRecord) -> Result<HeldMessage, StoreError> {
    let name = || format!("held message {id}");
    let stored = StoredMessage::decode(&record.message, name)?;
    let summary = Arc::new(Summary::decode(&record.summary, name)?);
    Ok(HeldMessage { stored, summary })
}
