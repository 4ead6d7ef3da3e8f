//! Fetches chunks: from memory, from the local disk, from packs, each as seldom as it can be.
//!
//! * Readers who miss the same chunk at the same time wait for one of them (`pack::flights`).
//! * A reader whose range needs several chunks that are not in memory has them fetched together, also
//!   those behind the first window: their index rows in one look, those of one pack in one request where
//!   they lie near each other; at most
//!   [`read_ahead_octets_max`](super::OctetStoreConfig::read_ahead_octets_max) plain octets, and
//!   never a chunk that was not asked for.
//! * A chunk that the collector has swept stays in no cache, so that octets which were erased are gone
//!   there too. The collector removes the index row, durably or not, and has the caches forget the
//!   chunk after that; a reader puts a chunk into a cache and looks the index row up after that, and
//!   has it forgotten when there is none. So, whatever comes between: either the reader put it before
//!   the collector had it forgotten, and then that took it out; or he put it after that, hence after
//!   the row went, and then he finds no row. Only a stop between the two steps of one of them leaves a
//!   chunk behind: on disk, since memory goes with the process, or with an operation that was given
//!   up. Every run of the collector therefore looks up whatever the caches have (`collector::cached`).
//!   A chunk that was stored again meanwhile has a row, and the same octets.
//! * Whatever it came from, a chunk is verified against its digest. What the disk cache had wrong
//!   is forgotten there and read from the pack.
//!
//! Not here: where a chunk lies (`pack::index`), rebuilding (`octets::rebuild`).

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;

use super::{
    message::StoredMessage,
    rebuild::{WINDOW_OCTETS, chunks_needed},
    recipe::ChunkRef,
    store::{EngineHandle, OctetStore, decoded, missing},
};
use crate::{
    error::StoreError,
    ids::StoredId,
    pack::{
        index::{CHUNK_INDEX, IndexRow, Place},
        store::PackId,
    },
    sabotage::{PlantedBug, planted},
};

/// Chunks that one read ahead fetches at most.
const READ_AHEAD_CHUNKS_MAX: usize = 256;

/// Whether the index is known to lead to a chunk.
async fn is_indexed(engine: &EngineHandle, stored: StoredId) -> bool {
    matches!(engine.get(CHUNK_INDEX, &stored.0).await, Ok(Some(_)))
}

impl OctetStore {
    /// The plain octets of a chunk, verified.
    pub(crate) async fn chunk(&self, chunk: &ChunkRef) -> Result<Bytes, StoreError> {
        if let Some(octets) = self.cached(chunk) {
            return Ok(octets);
        }
        self.flights.join(chunk.chunk, self.fetch(chunk)).await
    }

    async fn fetch(&self, chunk: &ChunkRef) -> Result<Bytes, StoreError> {
        // Another may have landed between the look into the cache and the flight.
        if let Some(octets) = self.cached(chunk) {
            return Ok(octets);
        }
        let mut before = None;
        loop {
            let row = self.index_row(chunk.stored).await?;
            let given_up = before.is_some() && planted(PlantedBug::ReaderIgnoresMove);
            if row.is_none() || row == before || given_up {
                return Err(missing(chunk.stored));
            }
            if let Some(row) = row {
                if let Some(plain) = self.cached_on_disk(chunk, &row).await? {
                    return Ok(plain);
                }
                if let Some(stored) = self.stored_form(chunk.stored, &row).await? {
                    return self.verified(chunk, &row, stored).await;
                }
            }
            before = row;
        }
    }

    /// The plain octets of a chunk, when they are in memory.
    fn cached(&self, chunk: &ChunkRef) -> Option<Bytes> {
        self.cache.get(chunk.stored, chunk.chunk)
    }

    /// The plain octets of a packed chunk, when the disk cache has them right.
    async fn cached_on_disk(
        &self,
        chunk: &ChunkRef,
        row: &IndexRow,
    ) -> Result<Option<Bytes>, StoreError> {
        let (Some(disk), Place::Packed { .. }) = (&self.disk, row.place) else { return Ok(None) };
        let Some(form) = disk.get(chunk.stored).await else { return Ok(None) };
        match self.kept_in_memory(chunk, row, form).await {
            Err(StoreError::Damaged { .. }) => {
                disk.remove(chunk.stored).await;
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }

    /// Verifies a stored form that was just read, and keeps it where it is read from sooner.
    pub(super) async fn verified(
        &self,
        chunk: &ChunkRef,
        row: &IndexRow,
        form: Bytes,
    ) -> Result<Bytes, StoreError> {
        let plain = self.kept_in_memory(chunk, row, form.clone()).await?;
        if let (Some(disk), Place::Packed { .. }) = (&self.disk, row.place) {
            let (engine, stored) = (self.engine.clone(), chunk.stored);
            disk.put(stored, form, async move { is_indexed(&engine, stored).await });
        }
        Ok(plain)
    }

    async fn kept_in_memory(
        &self,
        chunk: &ChunkRef,
        row: &IndexRow,
        form: Bytes,
    ) -> Result<Bytes, StoreError> {
        let plain = decoded(chunk, row, form).await?;
        self.cache.put(chunk.stored, chunk.chunk, plain.clone());
        if !is_indexed(&self.engine, chunk.stored).await {
            self.forget_cached(chunk.stored).await;
        }
        Ok(plain)
    }

    /// Forgets what the caches have of a chunk, which must not be kept any longer.
    pub async fn forget_cached(&self, stored: StoredId) {
        self.cache.remove(stored);
        if let Some(disk) = &self.disk {
            disk.remove(stored).await;
        }
    }

    /// At most `limit` of the chunks that a cache has, ascending, from the first after `after`. A
    /// chunk that comes into a cache meanwhile may be left out.
    pub(crate) fn cached_page(&self, after: Option<StoredId>, limit: usize) -> Vec<StoredId> {
        let mut page = self.cache.page(after, limit);
        if let Some(disk) = &self.disk {
            page.extend(disk.page(after, limit));
        }
        page.sort_unstable();
        page.dedup();
        page.truncate(limit);
        page
    }

    /// Waits until what was read is in the disk cache.
    pub async fn settle_caches(&self) {
        if let Some(disk) = &self.disk {
            disk.settle().await;
        }
    }

    /// Fetches what `range` needs into memory, when that is more than one chunk and one of the first
    /// window is not there. What cannot be fetched here is left to the read itself, which says why.
    pub(super) async fn read_ahead(
        &self,
        message: &StoredMessage,
        range: &Range<u64>,
    ) -> Result<(), StoreError> {
        let octets_max = self.config.read_ahead_octets_max.min(self.config.cache_octets_max / 2);
        let end = range.end.min(message.size());
        let window = range.start..end.min(range.start.saturating_add(WINDOW_OCTETS));
        if octets_max == 0 || window.is_empty() {
            return Ok(());
        }
        let recipe = message.recipe();
        let chunk = |position: u32| recipe.chunks.get(position as usize);
        let missed = |chunk: &&ChunkRef| self.cache.peek(chunk.stored, chunk.chunk).is_none();
        let Some(first) = chunks_needed(recipe, &window).into_iter().filter_map(chunk).find(missed)
        else {
            return Ok(());
        };
        let ahead = range.start..end.min(range.start.saturating_add(octets_max as u64));
        let mut octets = 0;
        let wanted: Vec<ChunkRef> = chunks_needed(recipe, &ahead)
            .into_iter()
            .filter_map(chunk)
            .filter(missed)
            .take_while(|chunk| {
                octets += chunk.plain_octets as usize;
                octets <= octets_max
            })
            .take(READ_AHEAD_CHUNKS_MAX)
            .copied()
            .collect();
        if wanted.len() < 2 {
            return Ok(());
        }
        // Those who read the same message wait for the first chunk, and find the rest.
        let fetch = async {
            self.fetch_together(&wanted).await?;
            match self.cache.peek(first.stored, first.chunk) {
                Some(octets) => Ok(octets),
                None => self.fetch(first).await,
            }
        };
        self.flights.join(first.chunk, fetch).await.map(drop)
    }

    /// Fetches chunks into memory, those of one pack in one request.
    async fn fetch_together(&self, wanted: &[ChunkRef]) -> Result<(), StoreError> {
        let mut packs: BTreeMap<PackId, Vec<(ChunkRef, IndexRow, Range<u64>)>> = BTreeMap::new();
        for (chunk, row) in wanted.iter().zip(self.index_rows(wanted).await?) {
            let Some(row) = row else { continue };
            let Place::Packed { pack, offset } = row.place else {
                if let Some(form) = self.stored_form(chunk.stored, &row).await? {
                    self.keep_ahead(chunk, &row, form).await?;
                }
                continue;
            };
            if self.cached_on_disk(chunk, &row).await?.is_some() {
                continue;
            }
            let range = offset..offset.saturating_add(u64::from(row.stored_octets));
            packs.entry(pack).or_default().push((*chunk, row, range));
        }
        for (pack, chunks) in packs {
            let ranges: Vec<Range<u64>> =
                chunks.iter().map(|(_, _, range)| range.clone()).collect();
            // The packer may have moved them: they are looked up again one by one.
            let Some(forms) = self.packs.read_ranges(pack, &ranges).await? else { continue };
            for ((chunk, row, _), form) in chunks.iter().zip(forms) {
                self.keep_ahead(chunk, row, form).await?;
            }
        }
        Ok(())
    }

    /// Keeps a chunk for the reader who is about to look for it. That it is damaged he finds himself.
    async fn keep_ahead(
        &self,
        chunk: &ChunkRef,
        row: &IndexRow,
        form: Bytes,
    ) -> Result<(), StoreError> {
        match self.verified(chunk, row, form).await {
            Ok(_) => self.cache.note_ahead(chunk.stored),
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
