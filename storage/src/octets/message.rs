//! The record kept under a message's key: its size, its digest, its recipe.
//!
//! ```text
//! framed record (`record`) of version 1, fields:
//! 1  uint64  octets of the message
//! 2  bytes   SHA-256 of the message
//! 3  bytes   StoredIds of its chunks, 32 octets each: always clear, for the collector
//! 4  uint32  how field 5 is sealed: 0 = clear. 1 is reserved for the account's key
//! 5  bytes   recipe (`octets::recipe`), fields:
//!            1 bytes   ChunkIds, 32 octets each, in the order of the StoredIds
//!            2 uint32* plain octets of each chunk
//!            3 message* segments: 1 uint32 chunk, 2 uint32 offset, 3 uint32 octets;
//!              or 4 message base64: 1 uint32 line length (0 = unbroken), 2 bool lines end in a
//!              bare LF, 3 bool the last group is not padded, 4 message* encoded segments
//!
//! of version 2, an erased message: fields 1 and 2, and
//! 6  message tombstone: 1 sint64 when it was erased, 2 uint32 category of the reason
//! ```
//!
//! A message that was erased keeps size and digest, so that its rows stay right, and nothing from
//! which an octet of it could be found. Programs that know only version 1 refuse it as too new.
//!
//! Not here: whose message it is; the summary, which is a record of its own.

use prost::Message as _;
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::recipe::{Recipe, RecipeFields};
use crate::{error::StoreError, ids::StoredId, record};

const VERSION: u8 = 1;
/// Of an erased message.
const ERASED_VERSION: u8 = 2;
const SEALING_CLEAR: u32 = 0;

/// A message in the store: what is needed to read it, and to prove that it was read right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredMessage {
    size: u64,
    digest: Sha256Digest,
    recipe: Recipe,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct MessageFields {
    #[prost(uint64, tag = "1")]
    size: u64,
    #[prost(bytes = "vec", tag = "2")]
    digest: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    stored_ids: Vec<u8>,
    #[prost(uint32, tag = "4")]
    sealing: u32,
    #[prost(bytes = "vec", tag = "5")]
    recipe: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    tombstone: Option<TombstoneFields>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct TombstoneFields {
    #[prost(sint64, tag = "1")]
    at: i64,
    #[prost(uint32, tag = "2")]
    reason: u32,
}

/// Why a message was erased. The journal of the floor above has the whole story.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ErasureReason {
    /// An order of a court or of the data protection authority.
    Authority,
    /// The right to erasure of the person concerned (Regulation (EU) 2016/679 art. 17).
    DataSubject,
    /// Anything else.
    Other,
}

impl ErasureReason {
    fn number(self) -> u32 {
        match self {
            Self::Authority => 1,
            Self::DataSubject => 2,
            Self::Other => 3,
        }
    }

    /// Categories that a newer program wrote count as other ones.
    fn of_number(number: u32) -> Self {
        match number {
            1 => Self::Authority,
            2 => Self::DataSubject,
            _ => Self::Other,
        }
    }
}

/// What is left of a message that was erased.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Erased {
    /// Octets that the message had.
    pub size: u64,
    /// SHA-256 that it had.
    pub digest: Sha256Digest,
    /// When it was erased.
    pub at: UnixMillis,
    /// Why.
    pub reason: ErasureReason,
}

impl Erased {
    /// The record's octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let tombstone = TombstoneFields { at: self.at.0, reason: self.reason.number() };
        let fields = MessageFields {
            size: self.size,
            digest: self.digest.0.to_vec(),
            tombstone: Some(tombstone),
            ..MessageFields::default()
        };
        record::encode(ERASED_VERSION, &fields)
    }
}

/// What stands under a message's key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kept {
    /// The message.
    Message(StoredMessage),
    /// What its erasure left.
    Erased(Erased),
}

impl Kept {
    /// Reads a record; `object` names it in errors ("message 7 of account 3").
    pub fn decode(octets: &[u8], object: impl Fn() -> String) -> Result<Self, StoreError> {
        let damaged = |detail: String| StoreError::Damaged { object: object(), detail };
        let fields = decode_fields(octets, &object)?;
        let digest = fields.digest.as_slice().try_into().map(Sha256Digest);
        let digest = digest.map_err(|_| damaged("its digest is not 32 octets".into()))?;
        if octets.first() == Some(&ERASED_VERSION) {
            let tombstone =
                fields.tombstone.ok_or_else(|| damaged("it has no tombstone".into()))?;
            if !fields.stored_ids.is_empty() || !fields.recipe.is_empty() {
                return Err(damaged("it is erased and has a recipe".into()));
            }
            let (at, reason) =
                (UnixMillis(tombstone.at), ErasureReason::of_number(tombstone.reason));
            return Ok(Self::Erased(Erased { size: fields.size, digest, at, reason }));
        }
        if fields.sealing != SEALING_CLEAR {
            return Err(damaged(format!("its recipe is sealed in way {}", fields.sealing)));
        }
        let stored =
            stored_ids_of(&fields).ok_or_else(|| damaged("its StoredIds are cut".into()))?;
        let recipe = RecipeFields::decode(fields.recipe.as_slice())
            .map_err(|error| damaged(error.to_string()))?;
        let recipe = Recipe::from_fields(recipe, &stored, fields.size)
            .map_err(|detail| damaged(detail.into()))?;
        Ok(Self::Message(StoredMessage { size: fields.size, digest, recipe }))
    }
}

impl StoredMessage {
    /// Puts a message together; the writer has verified that the recipe rebuilds it.
    pub(crate) fn new(size: u64, digest: Sha256Digest, recipe: Recipe) -> Self {
        Self { size, digest, recipe }
    }

    /// Octets of the message (RFC822.SIZE).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// SHA-256 of the message.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// How the message is rebuilt.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The chunks it needs; a chunk may stand here more than once.
    pub fn stored_ids(&self) -> impl Iterator<Item = StoredId> {
        self.recipe.chunks.iter().map(|chunk| chunk.stored)
    }

    /// The record's octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let fields = MessageFields {
            size: self.size,
            digest: self.digest.0.to_vec(),
            stored_ids: self.stored_ids().flat_map(|stored| stored.0).collect(),
            sealing: SEALING_CLEAR,
            recipe: self.recipe.to_fields().encode_to_vec(),
            tombstone: None,
        };
        record::encode(VERSION, &fields)
    }

    /// Reads a record; `object` names it in errors ("message 7 of account 3").
    /// [`StoreError::Erased`] when the message was erased.
    pub fn decode(octets: &[u8], object: impl Fn() -> String) -> Result<Self, StoreError> {
        match Kept::decode(octets, &object)? {
            Kept::Message(message) => Ok(message),
            Kept::Erased(Erased { at, .. }) => Err(StoreError::Erased { object: object(), at }),
        }
    }

    /// Reads only size and digest of a message, erased or not; the recipe may be sealed.
    pub(crate) fn decode_identity(
        octets: &[u8],
        object: impl Fn() -> String,
    ) -> Result<(u64, Sha256Digest), StoreError> {
        let fields = decode_fields(octets, &object)?;
        let digest = fields.digest.as_slice().try_into().map(Sha256Digest);
        let digest = digest.map_err(|_| StoreError::Damaged {
            object: object(),
            detail: "its digest is not 32 octets".into(),
        })?;
        Ok((fields.size, digest))
    }

    /// Reads only the chunks a record refers to, as the collector does; the recipe may be sealed.
    /// An erased message refers to none.
    pub fn decode_stored_ids(
        octets: &[u8],
        object: impl Fn() -> String,
    ) -> Result<Vec<StoredId>, StoreError> {
        let fields = decode_fields(octets, &object)?;
        stored_ids_of(&fields).ok_or_else(|| StoreError::Damaged {
            object: object(),
            detail: "its StoredIds are cut".into(),
        })
    }
}

fn decode_fields(octets: &[u8], object: &impl Fn() -> String) -> Result<MessageFields, StoreError> {
    record::decode(octets, ERASED_VERSION, || format!("the recipe of {}", object()))
}

fn stored_ids_of(fields: &MessageFields) -> Option<Vec<StoredId>> {
    let (ids, rest) = fields.stored_ids.as_chunks::<32>();
    rest.is_empty().then(|| ids.iter().map(|id| StoredId(*id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::ChunkId,
        octets::recipe::{Base64Form, ChunkRef, LineEnding, Piece, Segment},
    };

    fn sample() -> StoredMessage {
        let chunk = |number: u8, plain_octets| ChunkRef {
            chunk: ChunkId([number; 32]),
            stored: StoredId([number + 100; 32]),
            plain_octets,
        };
        let form = Base64Form { line_length: 76, line_ending: LineEnding::Lf, padded: false };
        let plain = vec![Segment::Raw(Piece { chunk: 1, offset: 0, octets: 5_000 })];
        let recipe = Recipe {
            chunks: vec![chunk(1, 100), chunk(2, 5_000)],
            segments: vec![
                Segment::Raw(Piece { chunk: 0, offset: 0, octets: 60 }),
                Segment::Base64 { form, plain_octets: 5_000, plain },
                Segment::Raw(Piece { chunk: 0, offset: 60, octets: 40 }),
            ],
        };
        let size = 100 + form.encoded_octets(5_000);
        StoredMessage::new(size, Sha256Digest::of(b"the message"), recipe)
    }

    #[test]
    fn the_record_survives_and_names_its_chunks() {
        let message = sample();
        let octets = message.encode();
        assert_eq!(StoredMessage::decode(&octets, || "it".into()).unwrap(), message);
        let stored: Vec<StoredId> = message.stored_ids().collect();
        assert_eq!(StoredMessage::decode_stored_ids(&octets, || "it".into()).unwrap(), stored);
    }

    #[test]
    fn an_erased_message_keeps_size_digest_and_reason_and_refers_to_nothing() {
        let digest = Sha256Digest::of(b"the message");
        for reason in [ErasureReason::Authority, ErasureReason::DataSubject, ErasureReason::Other] {
            let erased = Erased { size: 77, digest, at: UnixMillis(-5), reason };
            let octets = erased.encode();
            let name = || "message 7 of account 3".to_owned();
            assert_eq!(Kept::decode(&octets, name).unwrap(), Kept::Erased(erased));
            assert_eq!(StoredMessage::decode_stored_ids(&octets, name).unwrap(), []);
            assert_eq!(StoredMessage::decode_identity(&octets, name).unwrap(), (77, digest));
            let error = StoredMessage::decode(&octets, name).unwrap_err();
            assert!(matches!(error, StoreError::Erased { at: UnixMillis(-5), .. }));
            assert!(error.to_string().starts_with("message 7 of account 3 was erased"));
        }
    }

    #[test]
    fn a_changed_record_is_damage() {
        let octets = sample().encode();
        for position in 1..octets.len() {
            let mut changed = octets.clone();
            changed[position] ^= 4;
            let decoded = StoredMessage::decode(&changed, || "message 7 of account 3".into());
            let Err(StoreError::Damaged { object, .. }) = decoded else { panic!("{position}") };
            assert!(object.contains("message 7 of account 3"));
        }
    }

    #[test]
    fn a_recipe_that_contradicts_itself_is_damage() {
        for change in [
            |message: &mut StoredMessage| message.size += 1,
            |message: &mut StoredMessage| message.recipe.chunks[0].plain_octets = 99,
            |message: &mut StoredMessage| {
                message.recipe.segments[0] =
                    Segment::Raw(Piece { chunk: 9, offset: 0, octets: 60 });
            },
        ] {
            let mut message = sample();
            change(&mut message);
            let decoded = StoredMessage::decode(&message.encode(), || "it".into());
            assert!(matches!(decoded, Err(StoreError::Damaged { .. })));
        }
    }
}
