//! Keeps the chunks of one message that the store does not have yet: small ones for the batch,
//! large ones in packs.
//!
//! * A stored form is decompressed again, and compared with the plain octets, before it counts:
//!   what the compressor made is what the chunk's name stands for.
//! * A chunk that the store has already is read from there when the message is verified. The plain
//!   octets of new ones stay in memory for that, up to [`PLAIN_OCTETS_KEPT_MAX`]; beyond that they
//!   are read back from the pack they went to.
//!
//! Not here: how a message becomes chunks (`octets::splitter`), the batch (`octets::writer`).

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{
    assembler::{CHUNK_OCTETS_MAX, ClosedChunk},
    recipe::ChunkRef,
    store::{ChunkSource, OctetStore, off_thread},
};
use crate::{
    error::StoreError,
    ids::{ChunkId, StoredId},
    pack::{
        format::PackBuilder,
        index::{CHUNK_INDEX, IndexRow, PackRow, Place, stored_id_key},
        store::PackId,
        stored,
    },
    sabotage::{PlantedBug, planted},
};

/// Plain octets of new chunks that are kept in memory until the message is verified.
const PLAIN_OCTETS_KEPT_MAX: usize = (1 << 20) + (256 << 10);

/// A chunk that the store did not have.
#[derive(Clone, Debug)]
pub(crate) struct NewChunk {
    pub(crate) row: IndexRow,
    /// The stored form of a staged chunk; `None` when it is in a pack.
    pub(crate) staged: Option<Bytes>,
}

/// Names and keeps the chunks of one message.
#[derive(Debug)]
pub(crate) struct ChunkKeeper {
    store: Arc<OctetStore>,
    chunks: Vec<Option<ChunkRef>>,
    new: HashMap<StoredId, NewChunk>,
    staged_octets: usize,
    /// Plain octets of new chunks.
    plain: HashMap<StoredId, (ChunkId, Bytes)>,
    plain_octets: usize,
    open_pack: Option<OpenPack>,
    packs: Vec<(PackId, PackRow)>,
    /// The newest generation before the first of `packs` was written.
    generation: Option<u64>,
}

/// What was kept of one message, for its batch.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) new: HashMap<StoredId, NewChunk>,
    pub(crate) packs: Vec<(PackId, PackRow)>,
    pub(crate) generation: Option<u64>,
}

/// The pack that is being filled. It has its name from its first chunk on, so that index rows can be
/// made before it is written.
#[derive(Debug)]
struct OpenPack {
    id: PackId,
    builder: PackBuilder,
}

impl ChunkKeeper {
    pub(crate) fn new(store: Arc<OctetStore>) -> Self {
        Self {
            store,
            chunks: Vec::new(),
            new: HashMap::new(),
            staged_octets: 0,
            plain: HashMap::new(),
            plain_octets: 0,
            open_pack: None,
            packs: Vec::new(),
            generation: None,
        }
    }

    /// The recipe's table of chunks. Every position was given out by the splitter, and every
    /// chunk that it closed was kept.
    pub(crate) fn chunks(&self) -> Result<Vec<ChunkRef>, StoreError> {
        let chunks: Option<Vec<ChunkRef>> = self.chunks.iter().copied().collect();
        chunks.ok_or_else(|| StoreError::Damaged {
            object: "the message being received".into(),
            detail: "the splitter left a chunk open".into(),
        })
    }

    /// What was kept. Small new chunks go to the cache: mail is read soon after it came, and envelope
    /// and receipt share what the message brought.
    pub(crate) fn finish(self) -> Kept {
        let staged =
            |stored: &StoredId| self.new.get(stored).is_some_and(|new| new.staged.is_some());
        for (stored, (chunk, plain)) in &self.plain {
            if staged(stored) {
                self.store.cache.put(*stored, *chunk, plain.clone());
            }
        }
        Kept { new: self.new, packs: self.packs, generation: self.generation }
    }

    /// Names chunks, and keeps those that the store does not have.
    pub(crate) async fn keep(&mut self, closed: Vec<ClosedChunk>) -> Result<(), StoreError> {
        let mut unknown = Vec::with_capacity(closed.len());
        for ClosedChunk { position, plain } in closed {
            let chunk = self.name(position as usize, &plain);
            if !self.new.contains_key(&chunk.stored) {
                unknown.push((chunk, plain));
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let key = |chunk: &ChunkRef| (CHUNK_INDEX, stored_id_key(chunk.stored));
        let keys: Vec<_> = unknown.iter().map(|(chunk, _)| key(chunk)).collect();
        let rows = self.store.engine.multi_get(&keys).await?;
        for ((chunk, plain), row) in unknown.into_iter().zip(rows) {
            // The same chunk may stand twice among those that were looked up.
            let known = self.new.contains_key(&chunk.stored)
                || row.is_some() && self.store.offers(chunk.stored).await?;
            if !known {
                self.keep_new(chunk, plain).await?;
            }
        }
        Ok(())
    }

    fn name(&mut self, position: usize, plain: &[u8]) -> ChunkRef {
        let chunk = stored::chunk_id(plain);
        let stored = self.store.secret.stored_id(chunk);
        let plain_octets = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        let chunk = ChunkRef { chunk, stored, plain_octets };
        if self.chunks.len() <= position {
            self.chunks.resize(position + 1, None);
        }
        self.chunks[position] = Some(chunk);
        chunk
    }

    async fn keep_new(&mut self, chunk: ChunkRef, mut plain: Vec<u8>) -> Result<(), StoreError> {
        let ChunkRef { chunk: id, stored, plain_octets } = chunk;
        let level = self.store.config.compression_level;
        plain.shrink_to_fit();
        let plain = Bytes::from(plain);
        let kept = plain.clone();
        let octets =
            off_thread(plain.len(), move || stored::encode_verified(&plain, level)).await?;
        if self.plain_octets + kept.len() <= PLAIN_OCTETS_KEPT_MAX {
            self.plain_octets += kept.len();
            self.plain.insert(stored, (id, kept));
        }
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
        let OpenPack { id, builder } = self.open_pack.get_or_insert_with(|| OpenPack {
            id: PackId::random(&*self.store.random),
            // What follows a full pack is likely to fill the next one: it is given all its room at
            // once, so that it does not grow by copies.
            builder: if self.packs.is_empty() {
                PackBuilder::default()
            } else {
                PackBuilder::with_room(self.store.config.writer_pack_octets_max + CHUNK_OCTETS_MAX)
            },
        });
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

    /// Writes the open pack, when there is one.
    pub(crate) async fn put_pack(&mut self) -> Result<(), StoreError> {
        let Some(OpenPack { id, builder }) = self.open_pack.take() else { return Ok(()) };
        let chunks = u32::try_from(builder.chunks()).unwrap_or(u32::MAX);
        let (octets, _) = builder.finish();
        let row = PackRow { pack_octets: octets.len() as u64, chunks };
        if self.generation.is_none() {
            self.generation = Some(self.store.generation().await?);
        }
        if planted(PlantedBug::RowBeforeChunk) {
            let packs = self.store.packs.clone();
            drop(tokio::spawn(async move { packs.put(id, octets).await }));
        } else {
            self.store.packs.put(id, octets).await?;
        }
        self.packs.push((id, row));
        Ok(())
    }
}

/// Chunks as they will be read once the batch is applied.
#[async_trait::async_trait]
impl ChunkSource for ChunkKeeper {
    async fn plain(&self, chunk: &ChunkRef) -> Result<Bytes, StoreError> {
        if let Some((_, plain)) = self.plain.get(&chunk.stored) {
            return Ok(plain.clone());
        }
        let Some(new) = self.new.get(&chunk.stored) else {
            return self.store.shared_chunk(chunk).await;
        };
        let plain = self.store.new_chunk(chunk, &new.row, new.staged.as_ref()).await?;
        // The pack just written is gone: its generation was retired meanwhile.
        plain.ok_or(StoreError::Conflict)
    }
}
