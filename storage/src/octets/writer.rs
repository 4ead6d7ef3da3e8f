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
//! * `finish` rebuilds the message from its chunks and compares it with what was received: octet by
//!   octet up to 256 KiB, by size and SHA-256 beyond that. Stored forms were compared with their
//!   chunks when they were made (`octets::keeper`).
//! * Memory, whatever the size of the message: 64 KiB of input, two open chunks of 1 MiB, 1.25 MiB of
//!   plain chunks, one pack of [`writer_pack_octets_max`], [`staged_octets_max`] of staged chunks,
//!   and the recipe (some 50 octets per 4 KiB part at worst). A [`StagedMessage`] keeps the staged
//!   chunks only.
//!
//! [`writer_pack_octets_max`]: super::OctetStoreConfig::writer_pack_octets_max
//! [`staged_octets_max`]: super::OctetStoreConfig::staged_octets_max

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use trust::digest::{Sha256Digest, Sha256Hasher};

use super::{
    keeper::{ChunkKeeper, Kept, NewChunk},
    message::StoredMessage,
    recipe::Recipe,
    splitter::Splitter,
    store::{OctetStore, verify},
};
use crate::{
    catalog::engine::Batch,
    error::StoreError,
    ids::StoredId,
    mime::{
        summary::SummaryBuilder,
        walker::{WalkLimits, Walker},
    },
    pack::{
        index::{
            CHUNK_INDEX, CONDEMNED, PACKS, PackRow, Place, STAGED_CHUNKS, expect_generation,
            staged_key, stored_id_key,
        },
        store::PackId,
    },
    sabotage::{PlantedBug, planted},
    summary::Summary,
};

/// Octets taken in at a time.
const INPUT_OCTETS: usize = 64 << 10;

/// Octets of a message that are kept as they came until it has been verified.
const RECEIVED_OCTETS_MAX: usize = 256 << 10;

/// Takes in one message. Dropping it leaves nothing but, for large messages, unnamed packs.
#[derive(Debug)]
pub struct MessageWriter {
    walker: Walker<(Splitter, SummaryBuilder)>,
    hasher: Sha256Hasher,
    size: u64,
    /// The whole message so far; `None` once it was too large.
    received: Option<Vec<u8>>,
    keeper: ChunkKeeper,
}

/// A message that is ready to be made durable by a batch, any number of times.
#[derive(Clone, Debug)]
pub struct StagedMessage {
    stored: Arc<StoredMessage>,
    summary: Arc<Summary>,
    new: Arc<HashMap<StoredId, NewChunk>>,
    packs: Arc<Vec<(PackId, PackRow)>>,
    /// The newest generation before the first of `packs` was written.
    generation: Option<u64>,
    /// Batches made with `packs`.
    uses: Arc<AtomicU64>,
}

impl MessageWriter {
    pub(crate) fn new(store: Arc<OctetStore>) -> Self {
        let limits = WalkLimits {
            header_octets_max: store.config.header_octets_max,
            depth_max: store.config.depth_max,
            parts_max: store.config.parts_max,
        };
        Self {
            walker: Walker::new((Splitter::new(limits), SummaryBuilder::default()), limits),
            hasher: Sha256Hasher::default(),
            size: 0,
            received: Some(Vec::new()),
            keeper: ChunkKeeper::new(store),
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
            if let Some(received) = &mut self.received {
                if received.len() + octets.len() > RECEIVED_OCTETS_MAX {
                    self.received = None;
                } else {
                    received.extend_from_slice(octets);
                }
            }
            self.walker.push(octets);
            let closed = self.walker.visitor().0.take_closed();
            if !closed.is_empty() {
                self.keeper.keep(closed).await?;
            }
        }
        Ok(())
    }

    /// Ends the message, verifies that it can be rebuilt, and returns it ready for a batch. What
    /// was too large to stage is durable.
    pub async fn finish(self) -> Result<StagedMessage, StoreError> {
        let Self { walker, hasher, size, received, mut keeper } = self;
        let (splitter, summary) = walker.finish();
        let (closed, segments) = splitter.finish();
        keeper.keep(closed).await?;
        keeper.put_pack().await?;
        let recipe = Recipe { chunks: keeper.chunks()?, segments };
        let stored = StoredMessage::new(size, hasher.finish(), recipe);
        if !planted(PlantedBug::RowBeforeChunk) {
            verify(&stored, &keeper, received.as_deref()).await?;
        }
        let Kept { new, packs, generation } = keeper.finish();
        Ok(StagedMessage {
            stored: Arc::new(stored),
            summary: Arc::new(summary.finish()),
            new: Arc::new(new),
            packs: Arc::new(packs),
            generation,
            uses: Arc::default(),
        })
    }
}

impl StagedMessage {
    /// Makes a message whose octets are durable already ready for another batch.
    #[must_use]
    pub fn restage(stored: StoredMessage, summary: Arc<Summary>) -> Self {
        Self {
            stored: Arc::new(stored),
            summary,
            new: Arc::default(),
            packs: Arc::default(),
            generation: None,
            uses: Arc::default(),
        }
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
    /// The batch that makes the row must be this one. Whenever it is committed, nothing that it
    /// names can be lost:
    ///
    /// * Chunks that were in the store already are expected to be there still.
    /// * None of its chunks is condemned any more. That holds for new ones too: somebody else may
    ///   have stored the same chunk meanwhile, and the collector may have condemned that one.
    /// * The generation of its packs is expected: when it was retired, they may be gone.
    pub fn add_to(&self, batch: &mut Batch) {
        for (stored, new) in &*self.new {
            batch.put(CHUNK_INDEX, stored_id_key(*stored), new.row.encode());
            if let (Place::Staged { sequence }, Some(octets)) = (new.row.place, &new.staged) {
                batch.put(STAGED_CHUNKS, staged_key(sequence, *stored), octets.clone());
            }
            if !planted(PlantedBug::NewChunkKeepsCondemnation) {
                batch.delete(CONDEMNED, stored_id_key(*stored));
            }
        }
        if let Some(generation) = self.generation {
            expect_generation(generation, batch);
            let uses = self.uses.fetch_add(1, Ordering::Relaxed);
            for (id, row) in &*self.packs {
                batch.put(PACKS, id.0.to_vec(), row.encode_use(uses));
            }
        }
        let known = self.stored.stored_ids().filter(|stored| !self.new.contains_key(stored));
        OctetStore::keep_chunks(known, batch);
    }
}
