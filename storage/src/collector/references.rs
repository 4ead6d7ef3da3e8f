//! Who refers to chunks: the families of the catalog, and how a record of each names them.
//!
//! A family that is not here does not keep its chunks. A record that cannot be read ends the run:
//! what it refers to is not known, so nothing may be removed.

use crate::{
    catalog::{
        engine::Family,
        keys::{self, object},
        records::{self, HeldRecord},
    },
    error::StoreError,
    ids::StoredId,
    octets::StoredMessage,
};

/// Reads the chunks that a record refers to, from its key and its value.
pub type ReadStoredIds = fn(&[u8], &[u8]) -> Result<Vec<StoredId>, StoreError>;

/// A family whose records refer to chunks.
#[derive(Clone, Copy, Debug)]
pub struct References {
    /// The family.
    pub family: Family,
    /// The chunks that the record under a key refers to, from key and value.
    pub stored_ids: ReadStoredIds,
}

/// The families of this floor. They are read in this order, which is the order in which chunks
/// lie in rewritten packs: by account, then by EmailNumber.
pub(crate) const OWN: [References; 2] = [
    References { family: keys::MESSAGES, stored_ids: of_message },
    References { family: keys::HELD_MESSAGES, stored_ids: of_held_message },
];

fn of_message(key: &[u8], value: &[u8]) -> Result<Vec<StoredId>, StoreError> {
    StoredMessage::decode_stored_ids(value, || object(keys::MESSAGES, key))
}

fn of_held_message(key: &[u8], value: &[u8]) -> Result<Vec<StoredId>, StoreError> {
    let record: HeldRecord = records::decode(keys::HELD_MESSAGES, key, value)?;
    StoredMessage::decode_stored_ids(&record.message, || object(keys::HELD_MESSAGES, key))
}
