//! Takes in one message in a streaming pass.
//!
//! ```text
//! write* → splitter → closed chunks → in the store already? ── yes → named in the recipe
//!                                                          └─ no ── small → staged in memory
//!                                                                 └ large → pack, put when full
//! finish → last pack put → message rebuilt and compared → StagedMessage → a batch
//! ```
//!
//! * Octets first, row second: packs are durable before [`MessageWriter::finish`] returns; small
//!   chunks, and the index rows of all, become durable in the batch that makes the row
//!   ([`StagedMessage::add_to`]). A batch that is never committed leaves packs that no row
//!   names, for the collector.
//! * `finish` rebuilds the message from the stored forms and compares size and SHA-256.
//! * Memory, whatever the size of the message: 64 KiB of input, two open chunks of 1 MiB, one pack
//!   of [`writer_pack_octets_max`], [`staged_octets_max`] of staged chunks, and the recipe (some
//!   50 octets per 4 KiB part at worst). A [`StagedMessage`] keeps the staged chunks only.
//!
//! [`writer_pack_octets_max`]: super::OctetStoreConfig::writer_pack_octets_max
//! [`staged_octets_max`]: super::OctetStoreConfig::staged_octets_max

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use trust::digest::{Sha256Digest, Sha256Hasher};

use super::{
    assembler::ClosedChunk,
    message::StoredMessage,
    recipe::{ChunkRef, Recipe},
    splitter::Splitter,
    store::{ChunkSource, OctetStore, describe, off_thread, verify},
};
use crate::{
    catalog::engine::Batch,
    error::StoreError,
    ids::StoredId,
    pack::{
        format::PackBuilder,
        index::{
            CHUNK_INDEX, IndexRow, PACKS, PackRow, Place, STAGED_CHUNKS, staged_key, stored_id_key,
        },
        store::PackId,
        stored,
    },
    summary::Summary,
};

/// Octets taken in at a time.
const INPUT_OCTETS: usize = 64 << 10;

/// A chunk that the store did not have.
#[derive(Clone, Debug)]
struct NewChunk {
    row: IndexRow,
    /// The stored form of a staged chunk; `None` when it is in a pack.
    staged: Option<Bytes>,
}

/// Takes in one message. Dropping it leaves nothing but, for large messages, unnamed packs.
#[derive(Debug)]
pub struct MessageWriter {
    store: Arc<OctetStore>,
    splitter: Splitter,
    hasher: Sha256Hasher,
    size: u64,
    chunks: Vec<Option<ChunkRef>>,
    new: HashMap<StoredId, NewChunk>,
    staged_octets: usize,
    open_pack: OpenPack,
    packs: Vec<(PackId, PackRow)>,
}

/// The pack that is being filled. It has its name from the start, so that index rows can be made
/// before it is written.
#[derive(Debug)]
struct OpenPack {
    id: PackId,
    builder: PackBuilder,
}

/// A message that is ready to be made durable by a batch, any number of times.
#[derive(Clone, Debug)]
pub struct StagedMessage {
    stored: Arc<StoredMessage>,
    summary: Arc<Summary>,
    new: Arc<HashMap<StoredId, NewChunk>>,
    packs: Arc<Vec<(PackId, PackRow)>>,
}

impl MessageWriter {
    pub(crate) fn new(store: Arc<OctetStore>) -> Self {
        let id = PackId::random(&*store.random);
        Self {
            splitter: Splitter::default(),
            store,
            hasher: Sha256Hasher::default(),
            size: 0,
            chunks: Vec::new(),
            new: HashMap::new(),
            staged_octets: 0,
            open_pack: OpenPack { id, builder: PackBuilder::default() },
            packs: Vec::new(),
        }
    }

    /// Octets taken in so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes in the next octets. After an error the writer can only be dropped.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        for octets in octets.chunks(INPUT_OCTETS) {
            self.size += octets.len() as u64;
            self.hasher.update(octets);
            self.splitter.push(octets);
            for chunk in self.splitter.take_closed() {
                self.keep(chunk).await?;
            }
        }
        Ok(())
    }

    /// Ends the message, verifies that it can be rebuilt, and returns it ready for a batch. What
    /// was too large to stage is durable.
    pub async fn finish(mut self) -> Result<StagedMessage, StoreError> {
        let (closed, segments) = std::mem::take(&mut self.splitter).finish();
        for chunk in closed {
            self.keep(chunk).await?;
        }
        self.put_pack().await?;
        // Every position was given out by the splitter, and every chunk it closed was kept.
        let chunks: Option<Vec<ChunkRef>> = self.chunks.iter().copied().collect();
        let chunks = chunks.ok_or_else(|| StoreError::Damaged {
            object: "the message being received".into(),
            detail: "the splitter left a chunk open".into(),
        })?;
        let digest = std::mem::take(&mut self.hasher).finish();
        let stored = StoredMessage::new(self.size, digest, Recipe { chunks, segments });
        verify(&stored, &self).await?;
        let summary = Summary { size: self.size, ..Summary::default() };
        Ok(StagedMessage {
            stored: Arc::new(stored),
            summary: Arc::new(summary),
            new: Arc::new(self.new),
            packs: Arc::new(self.packs),
        })
    }

    /// Names a chunk, and keeps it unless the store has it.
    async fn keep(&mut self, closed: ClosedChunk) -> Result<(), StoreError> {
        let ClosedChunk { position, plain } = closed;
        let chunk = stored::chunk_id(&plain);
        let stored = self.store.secret.stored_id(chunk);
        let plain_octets = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        let position = position as usize;
        if self.chunks.len() <= position {
            self.chunks.resize(position + 1, None);
        }
        self.chunks[position] = Some(ChunkRef { chunk, stored, plain_octets });
        if self.new.contains_key(&stored) || self.store.index_row(stored).await?.is_some() {
            return Ok(());
        }
        let level = self.store.config.compression_level;
        let octets = off_thread(plain.len(), move || stored::encode(&plain, level)).await?;
        let small = plain_octets as usize <= self.store.config.small_chunk_octets_max;
        if small && self.staged_octets + octets.len() <= self.store.config.staged_octets_max {
            self.stage(stored, octets, plain_octets);
            return Ok(());
        }
        self.add_to_pack(stored, &octets, plain_octets).await
    }

    fn stage(&mut self, stored: StoredId, octets: Bytes, plain_octets: u32) {
        self.staged_octets += octets.len();
        let row = IndexRow {
            place: Place::Staged { sequence: self.store.next_sequence() },
            stored_octets: u32::try_from(octets.len()).unwrap_or(u32::MAX),
            plain_octets,
        };
        self.new.insert(stored, NewChunk { row, staged: Some(octets) });
    }

    async fn add_to_pack(
        &mut self,
        stored: StoredId,
        octets: &[u8],
        plain_octets: u32,
    ) -> Result<(), StoreError> {
        let OpenPack { id, builder } = &mut self.open_pack;
        let entry = builder.add(stored, octets, plain_octets);
        let row = IndexRow {
            place: Place::Packed { pack: *id, offset: entry.offset },
            stored_octets: entry.stored_octets,
            plain_octets,
        };
        self.new.insert(stored, NewChunk { row, staged: None });
        if builder.octets() >= self.store.config.writer_pack_octets_max {
            self.put_pack().await?;
        }
        Ok(())
    }

    /// Writes the open pack, when there is anything in it.
    async fn put_pack(&mut self) -> Result<(), StoreError> {
        if self.open_pack.builder.chunks() == 0 {
            return Ok(());
        }
        let next =
            OpenPack { id: PackId::random(&*self.store.random), builder: PackBuilder::default() };
        let OpenPack { id, builder } = std::mem::replace(&mut self.open_pack, next);
        let chunks = u32::try_from(builder.chunks()).unwrap_or(u32::MAX);
        let (octets, _) = builder.finish();
        let row = PackRow { pack_octets: octets.len() as u64, chunks };
        self.store.packs.put(id, octets).await?;
        self.packs.push((id, row));
        Ok(())
    }
}

/// Chunks as they will be read once the batch is applied.
#[async_trait::async_trait]
impl ChunkSource for MessageWriter {
    async fn plain(&self, chunk: &ChunkRef) -> Result<Bytes, StoreError> {
        let Some(new) = self.new.get(&chunk.stored) else {
            return self.store.chunk(chunk).await;
        };
        let plain = self.store.new_chunk(chunk, &new.row, new.staged.as_ref()).await?;
        plain.ok_or_else(|| StoreError::Damaged {
            object: describe(chunk.stored, new.row.place),
            detail: "the pack just written is gone".into(),
        })
    }
}

impl StagedMessage {
    /// Makes a message whose octets are durable already ready for another batch.
    #[must_use]
    pub fn restage(stored: StoredMessage, summary: Arc<Summary>) -> Self {
        Self { stored: Arc::new(stored), summary, new: Arc::default(), packs: Arc::default() }
    }

    /// The message, as it is kept under its key.
    #[must_use]
    pub fn stored(&self) -> &StoredMessage {
        &self.stored
    }

    /// What was parsed from it.
    #[must_use]
    pub fn summary(&self) -> &Arc<Summary> {
        &self.summary
    }

    /// Octets of the message.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stored.size()
    }

    /// SHA-256 of the message.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        self.stored.digest()
    }

    /// Adds to `batch` what makes the octets durable: staged chunks, index rows, rows of packs.
    /// Chunks that were in the store already are expected to be there still, and are not
    /// condemned any more. The batch that makes the row must be this one.
    pub fn add_to(&self, batch: &mut Batch) {
        for (stored, new) in &*self.new {
            batch.put(CHUNK_INDEX, stored_id_key(*stored), new.row.encode());
            if let (Place::Staged { sequence }, Some(octets)) = (new.row.place, &new.staged) {
                batch.put(STAGED_CHUNKS, staged_key(sequence, *stored), octets.clone());
            }
        }
        for (id, row) in &*self.packs {
            batch.put(PACKS, id.0.to_vec(), row.encode());
        }
        let known = self.stored.stored_ids().filter(|stored| !self.new.contains_key(stored));
        OctetStore::keep_chunks(known, batch);
    }
}
