//! The stored form of one chunk: what stands in a pack and in the catalog's staging family.
//!
//! ```text
//! octet 0      suite: 0 = not encrypted. 1 is reserved for AES-256-GCM. Others are unknown.
//! octets 1..   suite 0: one zstd frame (RFC 8878) of the plain octets, of any level
//! ```
//!
//! * Octets that do not shrink (pictures, archives) are zstd frames too: the encoder then writes raw
//!   blocks, which cost 3 octets per 128 KiB and no time. So there is no second, uncompressed
//!   form to test and to forget.
//! * Decompression never yields more than the plain length recorded beside the stored form, so a
//!   damaged or hostile frame cannot fill the memory.
//! * What is returned has the digest it is named by, or it is [`StoreError::Damaged`].
//!
//! A context of zstd is some hundred kilobytes of tables: as many as there are threads are kept for
//! the next call ([`Contexts`]), because making one takes longer than compressing a small chunk.
//!
//! Not here: where stored forms lie (`pack::index`, `pack::store`).

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};

use crate::{
    error::StoreError,
    ids::{ChunkId, StoredId},
};

/// Suite 0: compressed, not encrypted.
pub const SUITE_PLAIN: u8 = 0;

/// Plain octets of one chunk at most (4 MiB). The splitter stays far below; a longer record is
/// damage.
pub const PLAIN_OCTETS_MAX: u32 = 4 << 20;

/// Octets of a stored form at most: those of a chunk that does not shrink, and what zstd adds to
/// them, which is less than one in 256. A longer one is damage, and is not read.
pub const STORED_OCTETS_MAX: u32 = PLAIN_OCTETS_MAX + (PLAIN_OCTETS_MAX >> 8) + 64;

/// Names the plain octets of a chunk.
#[must_use]
pub fn chunk_id(plain: &[u8]) -> ChunkId {
    ChunkId(*blake3::hash(plain).as_bytes())
}

/// The secret under which one store names its chunks in packs and indexes, so that neither
/// tells whether the store holds a known file.
#[derive(Clone)]
pub struct StoreSecret([u8; 32]);

impl StoreSecret {
    /// Takes the 32 secret octets.
    #[must_use]
    pub fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// What all nodes of this store have in common, and no other store has; it tells nothing of the
    /// secret.
    #[must_use]
    pub fn lineage(&self) -> [u8; 16] {
        let mut lineage = [0; 16];
        blake3::Hasher::new_keyed(&self.0)
            .update(b"ceralacca-lineage")
            .finalize_xof()
            .fill(&mut lineage);
        lineage
    }

    /// The name of a chunk in this store: keyed BLAKE3 of its [`ChunkId`].
    #[must_use]
    pub fn stored_id(&self, chunk: ChunkId) -> StoredId {
        StoredId(*blake3::keyed_hash(&self.0, &chunk.0).as_bytes())
    }
}

impl std::fmt::Debug for StoreSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("StoreSecret(..)")
    }
}

/// Contexts kept for the next call, at most. More calls at a time make their own and drop it.
const CONTEXTS_MAX: usize = 16;
/// Above this level the tables have tens of megabytes, and are not kept.
const KEPT_LEVEL_MAX: i32 = 12;

/// Contexts of zstd that are not in use.
struct Contexts<T>(Mutex<Vec<T>>);

static COMPRESSORS: Contexts<Compressor<'static>> = Contexts(Mutex::new(Vec::new()));
static DECOMPRESSORS: Contexts<Decompressor<'static>> = Contexts(Mutex::new(Vec::new()));
/// Room to decompress into for a comparison.
static SCRATCH: Contexts<Vec<u8>> = Contexts(Mutex::new(Vec::new()));

impl<T> Contexts<T> {
    /// Does `work` with a context. One that failed is not used again.
    fn with<R>(
        &self,
        make: impl FnOnce() -> std::io::Result<T>,
        work: impl FnOnce(&mut T) -> std::io::Result<R>,
    ) -> std::io::Result<R> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut context = match kept {
            Some(context) => context,
            None => make()?,
        };
        let result = work(&mut context)?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < CONTEXTS_MAX {
            kept.push(context);
        }
        Ok(result)
    }
}

/// Compresses `plain` into its stored form. Fails only when memory does.
pub fn encode(plain: &[u8], level: i32) -> Result<Bytes, StoreError> {
    let mut stored = vec![SUITE_PLAIN; 1 + zstd::zstd_safe::compress_bound(plain.len())];
    let make = || Compressor::new(level);
    let compressed = if level > KEPT_LEVEL_MAX {
        make().and_then(|mut it| it.compress_to_buffer(plain, &mut stored[1..]))
    } else {
        COMPRESSORS.with(make, |compressor| {
            compressor.set_compression_level(level)?;
            compressor.compress_to_buffer(plain, &mut stored[1..])
        })
    };
    let octets = compressed.map_err(|error| StoreError::Engine {
        operation: "compress a chunk",
        source: Box::new(error),
    })?;
    stored.truncate(1 + octets);
    stored.shrink_to_fit();
    Ok(stored.into())
}

/// As [`encode`], and decompresses the result again: [`StoreError::Damaged`] when that does not give
/// `plain`, so that a fault of memory or compressor is found while the sender still has the octets.
pub fn encode_verified(plain: &[u8], level: i32) -> Result<Bytes, StoreError> {
    let stored = encode(plain, level)?;
    let same = SCRATCH.with(
        || Ok(Vec::new()),
        |scratch| {
            scratch.clear();
            scratch.reserve_exact(plain.len());
            DECOMPRESSORS.with(Decompressor::new, |decompressor| {
                decompressor.decompress_to_buffer(&stored[1..], scratch)
            })?;
            Ok(scratch.as_slice() == plain)
        },
    );
    let detail = match same {
        Ok(true) => return Ok(stored),
        Ok(false) => "it decompresses to other octets".to_owned(),
        Err(error) => format!("it cannot be decompressed: {error}"),
    };
    Err(StoreError::Damaged { object: "a chunk that was just compressed".to_owned(), detail })
}

/// Returns the plain octets of a stored form, which must be `plain_octets` long; the digest is
/// not looked at. `object` names it in errors.
fn decode(
    stored: &[u8],
    plain_octets: u32,
    object: &dyn Fn() -> String,
) -> Result<Bytes, StoreError> {
    let damaged = |detail: String| StoreError::Damaged { object: object(), detail };
    let Some((&suite, frame)) = stored.split_first() else {
        return Err(damaged("the stored form is empty".into()));
    };
    if suite != SUITE_PLAIN {
        return Err(damaged(format!("suite {suite} is not known")));
    }
    if plain_octets > PLAIN_OCTETS_MAX {
        return Err(damaged(format!("{plain_octets} octets are more than a chunk can have")));
    }
    let decompressed = DECOMPRESSORS.with(Decompressor::new, |decompressor| {
        decompressor.decompress(frame, plain_octets as usize)
    });
    let plain =
        decompressed.map_err(|error| damaged(format!("the zstd frame cannot be read: {error}")))?;
    if plain.len() != plain_octets as usize {
        return Err(damaged(format!("{} octets instead of {plain_octets}", plain.len())));
    }
    Ok(plain.into())
}

/// Returns the plain octets of `chunk`, or [`StoreError::Damaged`].
pub fn decode_chunk(
    stored: &[u8],
    plain_octets: u32,
    chunk: ChunkId,
    object: &dyn Fn() -> String,
) -> Result<Bytes, StoreError> {
    let plain = decode(stored, plain_octets, object)?;
    if chunk_id(&plain) != chunk {
        return Err(StoreError::Damaged {
            object: object(),
            detail: "the octets do not have the digest they are named by".into(),
        });
    }
    Ok(plain)
}

/// Verifies a stored form for which only the [`StoredId`] is known, as in a pack.
pub fn verify(
    stored: &[u8],
    plain_octets: u32,
    stored_id: StoredId,
    secret: &StoreSecret,
    object: &dyn Fn() -> String,
) -> Result<(), StoreError> {
    decode_stored(stored, plain_octets, stored_id, secret, object).map(|_| ())
}

/// Returns the plain octets of a stored form for which only the [`StoredId`] is known, or
/// [`StoreError::Damaged`].
pub fn decode_stored(
    stored: &[u8],
    plain_octets: u32,
    stored_id: StoredId,
    secret: &StoreSecret,
    object: &dyn Fn() -> String,
) -> Result<Bytes, StoreError> {
    let plain = decode(stored, plain_octets, object)?;
    if secret.stored_id(chunk_id(&plain)) != stored_id {
        return Err(StoreError::Damaged {
            object: object(),
            detail: "the octets do not have the digest they are named by".into(),
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stored_form_is_longer_than_the_longest() {
        let longest = zstd::zstd_safe::compress_bound(PLAIN_OCTETS_MAX as usize);
        assert!(longest < STORED_OCTETS_MAX as usize, "and the suite octet");
    }

    fn object() -> String {
        "chunk of the test".into()
    }

    #[test]
    fn every_changed_octet_of_a_stored_chunk_is_damage_never_other_octets() {
        let plain: Vec<u8> = (0..2_000_u32).flat_map(|number| (number / 7).to_be_bytes()).collect();
        let id = chunk_id(&plain);
        let stored = encode(&plain, 3).unwrap();
        let length = u32::try_from(plain.len()).unwrap();
        assert!(stored.len() < plain.len() / 2);
        assert_eq!(decode_chunk(&stored, length, id, &object).unwrap(), plain);
        for position in 0..stored.len() {
            let mut changed = stored.to_vec();
            changed[position] ^= 0x41;
            match decode_chunk(&changed, length, id, &object) {
                // Some octets of a zstd frame do not matter; what comes out is still right.
                Ok(octets) => assert_eq!(octets, plain),
                Err(error) => assert!(matches!(error, StoreError::Damaged { .. })),
            }
        }
        for cut in 0..stored.len() {
            assert!(decode_chunk(&stored[..cut], length, id, &object).is_err());
        }
    }

    #[test]
    fn a_frame_that_expands_beyond_its_recorded_length_is_refused() {
        let bomb = encode(&vec![0; 3 << 20], 3).unwrap();
        assert!(bomb.len() < 1_000);
        let id = chunk_id(&[0; 10]);
        assert!(matches!(decode_chunk(&bomb, 10, id, &object), Err(StoreError::Damaged { .. })));
        assert!(decode_chunk(&bomb, u32::MAX, id, &object).is_err());
    }

    #[test]
    fn random_octets_cost_less_than_one_percent() {
        let mut plain = vec![0; 1 << 20];
        trust::random::RandomSource::fill(&trust::random::SeededRandom::new(7), &mut plain);
        assert!(encode(&plain, 3).unwrap().len() < plain.len() + plain.len() / 100);
    }

    #[test]
    fn two_stores_name_one_chunk_differently() {
        let chunk = chunk_id(b"octets");
        let name = |secret| StoreSecret::new([secret; 32]).stored_id(chunk);
        assert_eq!(name(1), name(1));
        assert_ne!(name(1), name(2));
        assert_ne!(name(1).0, chunk.0);
    }
}
