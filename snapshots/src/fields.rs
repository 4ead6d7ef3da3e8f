//! Values of this floor's families: a version octet, then protocol-buffers fields.
//!
//! Every family is at version 1. A value of a later version was written by a newer program and is
//! refused as that; anything else that cannot be read is damaged.
//!
//! Not here: layouts that are hashed or signed (`octets`).

use prost::Message;
use storage::{
    catalog::{engine::Family, keys::object},
    error::StoreError,
};

const VERSION: u8 = 1;

/// The value that holds `fields`.
pub(crate) fn encode(fields: &impl Message) -> Vec<u8> {
    let mut octets = vec![VERSION];
    // Fails only for want of room, and a vector makes room.
    let _ = fields.encode(&mut octets);
    octets
}

/// The fields of the value `octets` under `key`.
pub(crate) fn decode<M: Message + Default>(
    family: Family,
    key: &[u8],
    octets: &[u8],
) -> Result<M, StoreError> {
    match octets.split_first() {
        Some((&VERSION, fields)) => {
            M::decode(fields).map_err(|error| damaged(family, key, &error.to_string()))
        }
        Some((&version, _)) if version > VERSION => Err(StoreError::TooNew {
            object: object(family, key),
            found: u32::from(version),
            known: u32::from(VERSION),
        }),
        _ => Err(damaged(family, key, "the record has no known version")),
    }
}

/// Says that what stands under `key` cannot be what was written there.
pub(crate) fn damaged(family: Family, key: &[u8], detail: &str) -> StoreError {
    StoreError::Damaged { object: object(family, key), detail: detail.to_owned() }
}
