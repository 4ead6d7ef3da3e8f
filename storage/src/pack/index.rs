//! The rows of the catalog that say where each chunk is.
//!
//! | family | key | value |
//! |---|---|---|
//! | `chunk_index` | StoredId (32) | [`IndexRow`] |
//! | `staged_chunks` | sequence (8), StoredId (32) | stored form of the chunk (`pack::stored`) |
//! | `packs` | PackId (16) | [`PackRow`] |
//! | `condemned` | StoredId (32) | written by the collector before it removes a chunk |
//! | `damaged_chunks` | StoredId (32) | the index row whose stored form was found damaged |
//! | `erased_chunks` | StoredId (32) | nothing: a message that was erased referred to the chunk |
//! | `pack_generations` | number (8) | [`GenerationRow`] |
//! | `doomed_packs` | instant in ms (8), PackId (16) | the collector's own |
//! | `backup_checkpoints` | instant in ms (8) | the back-up's own |
//!
//! * A chunk exists when, and only when, it has a `chunk_index` row; the row names the one place
//!   it is read from. Moving a chunk rewrites the row in the batch that makes the old place go.
//! * The sequence of a staged chunk only brings them into the order in which they came; two may
//!   have the same. The value under a staged key never changes.
//! * A batch that puts a row of `packs` expects the generation that was the newest before the
//!   pack was written ([`expect_generation`]). Generations are retired when the grace period after
//!   their end is over, and only then packs that no row names go: so a batch that comes too late
//!   fails, and never names a pack that is gone.
//! * A row of `packs` differs each time a batch puts it ([`PackRow::encode_use`]): the collector
//!   expects it as it was read, and so notices that a pack came into use again.
//! * A row of `backup_checkpoints` is committed before the state that the checkpoint keeps is
//!   fixed, and stays as long as the checkpoint. A pack doomed later than it is kept for it.
//!
//! Not here: who writes them (`octets::writer`, `pack::packer`), who removes them (`collector`).

use bytes::Bytes;

use super::{store::PackId, stored::STORED_OCTETS_MAX};
use crate::{
    catalog::engine::{Batch, Expected, Family},
    error::StoreError,
    ids::StoredId,
    record,
    sabotage::{PlantedBug, planted},
};

/// Where each chunk is.
pub const CHUNK_INDEX: Family = Family("chunk_index");
/// Stored forms that wait for the packer.
pub const STAGED_CHUNKS: Family = Family("staged_chunks");
/// The packs that rows of the index may name.
pub const PACKS: Family = Family("packs");
/// Chunks that the collector will remove unless somebody uses them again.
pub const CONDEMNED: Family = Family("condemned");
/// Chunks whose stored form was found damaged; a writer that meets one stores it anew.
pub const DAMAGED_CHUNKS: Family = Family("damaged_chunks");
/// Chunks of messages that were erased, until they are swept: their packs are rewritten then.
pub const ERASED_CHUNKS: Family = Family("erased_chunks");
/// The generations in which packs may still be named by a batch.
pub const PACK_GENERATIONS: Family = Family("pack_generations");
/// Packs that no row names any more, and that will be removed.
pub const DOOMED_PACKS: Family = Family("doomed_packs");
/// The instants at which retained back-up checkpoints were taken.
pub const BACKUP_CHECKPOINTS: Family = Family("backup_checkpoints");

const ROW_VERSION: u8 = 1;

/// The place of one chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// In the catalog, under this sequence.
    Staged {
        /// First half of its key in `staged_chunks`.
        sequence: u64,
    },
    /// In a pack.
    Packed {
        /// The pack.
        pack: PackId,
        /// First octet of the stored form in the pack.
        offset: u64,
    },
}

/// What the index knows of one chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IndexRow {
    /// Where it is.
    pub place: Place,
    /// Octets of the stored form.
    pub stored_octets: u32,
    /// Octets of the chunk.
    pub plain_octets: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct IndexFields {
    /// Empty for a staged chunk.
    #[prost(bytes = "bytes", tag = "1")]
    pack: Bytes,
    /// Offset in the pack, or sequence of the staged chunk.
    #[prost(uint64, tag = "2")]
    position: u64,
    #[prost(uint32, tag = "3")]
    stored_octets: u32,
    #[prost(uint32, tag = "4")]
    plain_octets: u32,
}

impl IndexRow {
    /// The row's octets.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (pack, position) = match self.place {
            Place::Staged { sequence } => (Bytes::new(), sequence),
            Place::Packed { pack, offset } => (Bytes::copy_from_slice(&pack.0), offset),
        };
        let fields = IndexFields {
            pack,
            position,
            stored_octets: self.stored_octets,
            plain_octets: self.plain_octets,
        };
        record::encode(ROW_VERSION, &fields).into()
    }

    /// Reads the row of `stored_id`.
    pub fn decode(octets: &[u8], stored_id: StoredId) -> Result<Self, StoreError> {
        let object = || format!("chunk_index row {stored_id}");
        let fields: IndexFields = record::decode(octets, ROW_VERSION, object)?;
        let place = if fields.pack.is_empty() {
            Place::Staged { sequence: fields.position }
        } else {
            let pack = PackId::from_octets(&fields.pack).ok_or_else(|| StoreError::Damaged {
                object: object(),
                detail: "the name of the pack is not 16 octets".into(),
            })?;
            Place::Packed { pack, offset: fields.position }
        };
        let IndexFields { stored_octets, plain_octets, .. } = fields;
        if stored_octets > STORED_OCTETS_MAX {
            return Err(StoreError::Damaged {
                object: object(),
                detail: format!("{stored_octets} octets are more than a stored form can have"),
            });
        }
        Ok(Self { place, stored_octets, plain_octets })
    }
}

/// What the catalog knows of one pack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PackRow {
    /// Octets of the object.
    pub pack_octets: u64,
    /// Chunks in it, live or not.
    pub chunks: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct PackFields {
    #[prost(uint64, tag = "1")]
    pack_octets: u64,
    #[prost(uint32, tag = "2")]
    chunks: u32,
    /// Tells this row from those that earlier batches put for the same pack.
    #[prost(uint64, tag = "3")]
    uses: u64,
}

impl PackRow {
    /// The row's octets.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.encode_use(0)
    }

    /// The row's octets, for a batch that may not be the first to put it: `uses` differs from
    /// batch to batch.
    #[must_use]
    pub fn encode_use(&self, uses: u64) -> Bytes {
        let fields = PackFields { pack_octets: self.pack_octets, chunks: self.chunks, uses };
        record::encode(ROW_VERSION, &fields).into()
    }

    /// Reads the row of `pack`.
    pub fn decode(octets: &[u8], pack: PackId) -> Result<Self, StoreError> {
        let fields: PackFields =
            record::decode(octets, ROW_VERSION, || format!("packs row {pack}"))?;
        Ok(Self { pack_octets: fields.pack_octets, chunks: fields.chunks })
    }
}

/// What the catalog knows of one generation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GenerationRow {
    /// When it began, in milliseconds since 1970, and so the one before ended; 0 for the first.
    pub since_millis: i64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct GenerationFields {
    #[prost(sint64, tag = "1")]
    since_millis: i64,
}

impl GenerationRow {
    /// The row's octets.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let fields = GenerationFields { since_millis: self.since_millis };
        record::encode(ROW_VERSION, &fields).into()
    }

    /// Reads the row of `generation`.
    pub fn decode(octets: &[u8], generation: u64) -> Result<Self, StoreError> {
        let object = || format!("pack_generations row {generation}");
        let fields: GenerationFields = record::decode(octets, ROW_VERSION, object)?;
        Ok(Self { since_millis: fields.since_millis })
    }
}

/// The key of a generation.
#[must_use]
pub fn generation_key(generation: u64) -> Bytes {
    Bytes::copy_from_slice(&generation.to_be_bytes())
}

/// The generation that a key is.
pub fn generation_of(key: &[u8]) -> Result<u64, StoreError> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Damaged {
        object: format!("pack_generations key of {} octets", key.len()),
        detail: "it is not a number of 8 octets".into(),
    })
}

/// Adds to a batch that names a pack what keeps it from coming too late: `generation` was the
/// newest before the pack was written.
pub fn expect_generation(generation: u64, batch: &mut Batch) {
    if !planted(PlantedBug::RetiredGenerationAccepted) {
        batch.expect(PACK_GENERATIONS, generation_key(generation), Expected::Present);
    }
}

/// The key of a staged chunk.
#[must_use]
pub fn staged_key(sequence: u64, stored_id: StoredId) -> Bytes {
    let mut key = Vec::with_capacity(40);
    key.extend_from_slice(&sequence.to_be_bytes());
    key.extend_from_slice(&stored_id.0);
    key.into()
}

/// Takes the key of a staged chunk apart; `None` when it is none.
#[must_use]
pub fn staged_key_parts(key: &[u8]) -> Option<(u64, StoredId)> {
    let (sequence, stored_id) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*sequence), stored_id_of(stored_id)?))
}

/// The StoredId that a key of 32 octets is.
#[must_use]
pub fn stored_id_of(key: &[u8]) -> Option<StoredId> {
    key.try_into().ok().map(StoredId)
}

/// The key of a chunk in `chunk_index` and `condemned`.
#[must_use]
pub fn stored_id_key(stored_id: StoredId) -> Bytes {
    Bytes::copy_from_slice(&stored_id.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_rows_survive_encoding() {
        let stored_id = StoredId([3; 32]);
        for place in [
            Place::Staged { sequence: 7 },
            Place::Packed { pack: PackId([4; 16]), offset: 1 << 40 },
        ] {
            let row = IndexRow { place, stored_octets: 10, plain_octets: 20 };
            assert_eq!(IndexRow::decode(&row.encode(), stored_id).unwrap(), row);
        }
        let place = Place::Staged { sequence: 7 };
        let row = IndexRow { place, stored_octets: STORED_OCTETS_MAX + 1, plain_octets: 20 };
        let refused = IndexRow::decode(&row.encode(), stored_id);
        assert!(matches!(refused, Err(StoreError::Damaged { .. })), "it would fill the memory");
        let row = PackRow { pack_octets: 1 << 33, chunks: 9 };
        assert_eq!(PackRow::decode(&row.encode(), PackId([0; 16])).unwrap(), row);
    }

    #[test]
    fn a_row_whose_pack_has_a_name_of_another_length_is_damaged() {
        for octets in [1, 15, 17, 32] {
            let fields = IndexFields { pack: vec![4; octets].into(), ..IndexFields::default() };
            let row = record::encode(ROW_VERSION, &fields);
            let refused = IndexRow::decode(&row, StoredId([3; 32]));
            assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{octets}: {refused:?}");
        }
    }

    #[test]
    fn a_key_of_another_length_is_no_chunks() {
        assert_eq!(stored_id_of(&[1; 32]), Some(StoredId([1; 32])));
        for octets in [0, 31, 33, 40] {
            assert_eq!(stored_id_of(&vec![1; octets]), None, "{octets}");
            assert_eq!(staged_key_parts(&vec![1; 8 + octets]), None, "{octets}");
        }
    }

    #[test]
    fn staged_keys_sort_by_sequence() {
        let key = staged_key(256, StoredId([1; 32]));
        assert!(staged_key(255, StoredId([9; 32])) < key);
        assert_eq!(staged_key_parts(&key), Some((256, StoredId([1; 32]))));
        assert_eq!(staged_key_parts(b"short"), None);
    }
}
