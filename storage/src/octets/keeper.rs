//! Keeps the chunks of one message that the store does not have yet: small ones for the batch,
//! large ones in packs.
//!
//! Not here: how a message becomes chunks (`octets::splitter`), the batch (`octets::writer`).

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{
    assembler::ClosedChunk,
    recipe::ChunkRef,
    store::{ChunkSource, OctetStore, off_thread},
};
use crate::{
    error::StoreError,
    ids::StoredId,
    pack::{
        format::PackBuilder,
        index::{IndexRow, PackRow, Place},
        store::PackId,
        stored,
    },
    sabotage::{PlantedBug, planted},
};

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
    open_pack: OpenPack,
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

/// The pack that is being filled. It has its name from the start, so that index rows can be made
/// before it is written.
#[derive(Debug)]
struct OpenPack {
    id: PackId,
    builder: PackBuilder,
}

impl ChunkKeeper {
    pub(crate) fn new(store: Arc<OctetStore>) -> Self {
        let id = PackId::random(&*store.random);
        Self {
            store,
            chunks: Vec::new(),
            new: HashMap::new(),
            staged_octets: 0,
            open_pack: OpenPack { id, builder: PackBuilder::default() },
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

    /// The new chunks and packs.
    pub(crate) fn finish(self) -> Kept {
        Kept { new: self.new, packs: self.packs, generation: self.generation }
    }

    /// Names a chunk, and keeps it unless the store has it.
    pub(crate) async fn keep(&mut self, closed: ClosedChunk) -> Result<(), StoreError> {
        let ClosedChunk { position, plain } = closed;
        let chunk = stored::chunk_id(&plain);
        let stored = self.store.secret.stored_id(chunk);
        let plain_octets = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        let position = position as usize;
        if self.chunks.len() <= position {
            self.chunks.resize(position + 1, None);
        }
        self.chunks[position] = Some(ChunkRef { chunk, stored, plain_octets });
        if self.new.contains_key(&stored) || self.store.offers(stored).await? {
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
    pub(crate) async fn put_pack(&mut self) -> Result<(), StoreError> {
        if self.open_pack.builder.chunks() == 0 {
            return Ok(());
        }
        let next =
            OpenPack { id: PackId::random(&*self.store.random), builder: PackBuilder::default() };
        let OpenPack { id, builder } = std::mem::replace(&mut self.open_pack, next);
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
        let Some(new) = self.new.get(&chunk.stored) else {
            return self.store.shared_chunk(chunk).await;
        };
        let plain = self.store.new_chunk(chunk, &new.row, new.staged.as_ref()).await?;
        // The pack just written is gone: its generation was retired meanwhile.
        plain.ok_or(StoreError::Conflict)
    }
}
