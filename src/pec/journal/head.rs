//! Where the sealing of the journal stands, and the families in which its seals are.
//!
//! | family | key | value |
//! |---|---|---|
//! | `journal_heads` | node (u64) | [`JournalHead`] |
//! | `journal_seals` | node (u64), number (u64) | a [`Seal`], its own octets |
//! | `journal_leaves` | node (u64), number of the seal (u64) | the leaves of its records, 32 octets each |
//! | `journal_pieces` | node (u64), number (u64) | [`PieceRecord`](super::piece::PieceRecord) |
//! | `journal_index` | node (u64), term (16 octets), sequence (u64) | empty: [`super::index`] |
//!
//! Every batch of the sealer, of the daily pieces and of the disposal expects the head that it was
//! computed from, and puts the next: whatever is tried twice, or by two processes, is done once. The
//! engine's own batches, which write the records, know nothing of it: no head is on their way.

use bytes::Bytes;
use prost::Message;
use storage::{
    catalog::{
        engine::{Batch, Expected, Family, Reader},
        keys,
    },
    error::StoreError,
};
use trust::digest::Sha256Digest;

use super::seal::{NOTHING, Seal};
use crate::pec::records::{decode, encode};

/// One head for each node.
pub const JOURNAL_HEADS: Family = Family("journal_heads");
/// Seals.
pub const JOURNAL_SEALS: Family = Family("journal_seals");
/// What the trees of seals stand on.
pub const JOURNAL_LEAVES: Family = Family("journal_leaves");
/// The pieces that were signed and stamped, one for each day.
pub const JOURNAL_PIECES: Family = Family("journal_pieces");
/// Records by whom and what they are about.
pub const JOURNAL_INDEX: Family = Family("journal_index");

/// How far the journal of a node is sealed, saved and disposed of.
#[derive(Clone, Eq, PartialEq, Message)]
pub struct JournalHead {
    /// Number of the last seal; 0 = none.
    #[prost(uint64, tag = "1")]
    pub seals: u64,
    /// The last sealed record; 0 = none.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// The hash of the last seal.
    #[prost(bytes = "vec", tag = "3")]
    pub seal: Vec<u8>,
    /// When it was made, in milliseconds since the epoch.
    #[prost(int64, tag = "4")]
    pub sealed_millis: i64,
    /// When the period began that has no piece yet.
    #[prost(int64, tag = "5")]
    pub period_millis: i64,
    /// Number of the last piece; 0 = none.
    #[prost(uint64, tag = "6")]
    pub pieces: u64,
    /// SHA-256 of its statement.
    #[prost(bytes = "vec", tag = "7")]
    pub statement: Vec<u8>,
    /// The last seal that stands in a piece.
    #[prost(uint64, tag = "8")]
    pub piece_seals: u64,
    /// The last record that stands in a piece.
    #[prost(uint64, tag = "9")]
    pub piece_sequence: u64,
    /// The last piece whose objects are all there.
    #[prost(uint64, tag = "10")]
    pub stored: u64,
    /// The store's epoch in which `stored` was last known.
    #[prost(uint32, tag = "11")]
    pub epoch: u32,
    /// Seals up to this one are disposed of; scans begin behind it.
    #[prost(uint64, tag = "12")]
    pub disposed_seals: u64,
    /// Records up to this one are disposed of.
    #[prost(uint64, tag = "13")]
    pub disposed_sequence: u64,
    /// Pieces up to this one are disposed of.
    #[prost(uint64, tag = "14")]
    pub disposed_pieces: u64,
    /// The hash of the last seal that was disposed of.
    #[prost(bytes = "vec", tag = "15")]
    pub disposed_seal: Vec<u8>,
    /// SHA-256 of the last statement that was disposed of.
    #[prost(bytes = "vec", tag = "16")]
    pub disposed_statement: Vec<u8>,
    /// The piece whose disposal has begun; 0 = none.
    #[prost(uint64, tag = "17")]
    pub disposing: u64,
}

/// A digest in a record; [`NOTHING`] for none.
pub(super) fn digest(octets: &[u8]) -> Sha256Digest {
    octets.try_into().map_or(NOTHING, Sha256Digest)
}

/// A head as it stands, with the octets that the next batch expects.
#[derive(Clone, Debug)]
pub struct Head {
    /// The node.
    pub node: u64,
    /// What it says.
    pub record: JournalHead,
    found: Option<Bytes>,
}

impl Head {
    /// Reads the head of `node`; the default when nothing was sealed yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], [`StoreError::TooNew`], and what the engine says.
    pub async fn read(reader: &(impl Reader + ?Sized), node: u64) -> Result<Self, StoreError> {
        let key = node.to_be_bytes();
        let found = reader.get(JOURNAL_HEADS, &key).await?;
        let record = match &found {
            None => JournalHead::default(),
            Some(octets) => decode(JOURNAL_HEADS, &key, octets)?,
        };
        Ok(Self { node, record, found })
    }

    /// Whether the journal was ever looked at.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.found.is_none()
    }

    /// Adds to `batch` that this head becomes `next`.
    pub(super) fn advance(&self, batch: &mut Batch, next: &JournalHead) {
        let key = self.node.to_be_bytes().to_vec();
        let expected = self.found.clone().map_or(Expected::Absent, Expected::Value);
        batch.expect(JOURNAL_HEADS, key.clone(), expected);
        batch.put(JOURNAL_HEADS, key, encode(next));
    }
}

/// The key of something numbered of a node: a record, a seal, a piece.
#[must_use]
pub fn numbered(node: u64, number: u64) -> Bytes {
    [node.to_be_bytes(), number.to_be_bytes()].concat().into()
}

/// The number in such a key.
///
/// # Errors
///
/// [`StoreError::Damaged`].
pub fn number_of(family: Family, key: &[u8]) -> Result<u64, StoreError> {
    let number = key.get(8..).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes);
    number.ok_or_else(|| StoreError::Damaged {
        object: keys::object(family, key),
        detail: "the key has no number".to_owned(),
    })
}

/// Reads the seal `number` of `node`.
///
/// # Errors
///
/// As [`Head::read`].
pub async fn seal(
    reader: &(impl Reader + ?Sized),
    node: u64,
    number: u64,
) -> Result<Option<Seal>, StoreError> {
    let key = numbered(node, number);
    let Some(octets) = reader.get(JOURNAL_SEALS, &key).await? else { return Ok(None) };
    Seal::read(&octets, || keys::object(JOURNAL_SEALS, &key)).map(Some)
}

/// Reads the leaves of the seal `number`; empty when they are not there or no leaves.
///
/// # Errors
///
/// What the engine says.
pub async fn leaves(
    reader: &(impl Reader + ?Sized),
    node: u64,
    number: u64,
) -> Result<Vec<Sha256Digest>, StoreError> {
    let octets = reader.get(JOURNAL_LEAVES, &numbered(node, number)).await?.unwrap_or_default();
    Ok(octets.chunks(32).map(digest).collect())
}
