//! Fetches chunks: from memory, from the local disk, from packs, each as seldom as it can be.
//!
//! * Readers who miss the same chunk at the same time wait for one of them (`pack::flights`).
//! * A reader whose range needs several chunks that are not in memory has them fetched together, also
//!   those behind the first window: their index rows in one look, those of one pack in one request where
//!   they lie near each other; at most
//!   [`read_ahead_octets_max`](super::OctetStoreConfig::read_ahead_octets_max) plain octets, and
//!   never a chunk that was not asked for. Others who miss one of them wait for its pack, and for no
//!   other. It is a help and no more: what fails there is read again, alone, by the read itself.
//! * A chunk that the collector has swept stays in no cache, so that octets which were erased are gone
//!   there too. The collector removes the index row, durably or not, and has the caches forget the
//!   chunk after that; a reader puts a chunk into a cache and looks the index row up after that, and
//!   has it forgotten when there is none. So, whatever comes between: either the reader put it before
//!   the collector had it forgotten, and then that took it out; or he put it after that, hence after
//!   the row went, and then he finds no row. What stays behind all the same: on disk, what a stop between
//!   the two steps of one of them left; in memory, what an operation that was given up left, and new
//!   chunks of a message that was taken in and then not kept (`octets::keeper`). Every run of the collector therefore looks up whatever the caches have (`collector::cached`).
//!   A chunk that was stored again meanwhile has a row, and the same octets.
//! * Whatever it came from, a chunk is verified against its digest. What the disk cache had wrong
//!   is forgotten there and read from the pack.
//!
//! Not here: where a chunk lies (`pack::index`), rebuilding (`octets::rebuild`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::join_all, stream};

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

/// Packs that one read ahead reads from at the same time.
const PACKS_AT_A_TIME: usize = 4;

/// Whether the reader of a chunk looks for it now, or will.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    Now,
    Ahead,
}

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
                if let Some(plain) = self.cached_on_disk(chunk, &row, Asked::Now).await? {
                    return Ok(plain);
                }
                if let Some(stored) = self.stored_form(chunk.stored, &row).await? {
                    return self.verified(chunk, &row, stored, Asked::Now).await;
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
        asked: Asked,
    ) -> Result<Option<Bytes>, StoreError> {
        let (Some(disk), Place::Packed { .. }) = (&self.disk, row.place) else { return Ok(None) };
        let Some(form) = disk.get(chunk.stored).await else { return Ok(None) };
        match self.kept_in_memory(chunk, row, form, asked).await {
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
        asked: Asked,
    ) -> Result<Bytes, StoreError> {
        let plain = self.kept_in_memory(chunk, row, form.clone(), asked).await?;
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
        asked: Asked,
    ) -> Result<Bytes, StoreError> {
        let plain = decoded(chunk, row, form).await?;
        match asked {
            Asked::Now => self.cache.put(chunk.stored, chunk.chunk, plain.clone()),
            Asked::Ahead => self.cache.put_ahead(chunk.stored, chunk.chunk, plain.clone()),
        }
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
    pub(super) async fn read_ahead(&self, message: &StoredMessage, range: &Range<u64>) {
        let wanted = self.wanted_ahead(message, range);
        if wanted.len() < 2 {
            return;
        }
        let Ok(rows) = self.index_rows(&wanted).await else { return };
        let mut packs: BTreeMap<PackId, Vec<(ChunkRef, IndexRow, Range<u64>)>> = BTreeMap::new();
        let mut staged = Vec::new();
        for (chunk, row) in wanted.into_iter().zip(rows) {
            match row.map(|row| (row, row.place)) {
                Some((row, Place::Packed { pack, offset })) => {
                    let range = offset..offset.saturating_add(u64::from(row.stored_octets));
                    packs.entry(pack).or_default().push((chunk, row, range));
                }
                Some((row, Place::Staged { .. })) => staged.push((chunk, row)),
                None => {}
            }
        }
        let of_packs =
            packs.into_iter().map(|(pack, chunks)| self.board_pack(pack, chunks).boxed());
        let of_stage = staged.into_iter().map(|(chunk, row)| self.board_staged(chunk, row).boxed());
        let all: Vec<_> = of_packs.chain(of_stage).collect();
        let mut landing = stream::iter(all).buffer_unordered(PACKS_AT_A_TIME);
        while landing.next().await.is_some() {}
    }

    /// The chunks that `range` needs and nobody has or fetches, each once; none when the first window
    /// is in memory.
    fn wanted_ahead(&self, message: &StoredMessage, range: &Range<u64>) -> Vec<ChunkRef> {
        let octets_max = self.config.read_ahead_octets_max.min(self.config.cache_octets_max / 2);
        let end = range.end.min(message.size());
        let recipe = message.recipe();
        let missed = |end: u64| {
            let needed = chunks_needed(recipe, &(range.start..end));
            let chunks = needed.into_iter().filter_map(|at| recipe.chunks.get(at as usize));
            chunks.filter(|chunk| self.cache.peek(chunk.stored, chunk.chunk).is_none())
        };
        let window_end = end.min(range.start.saturating_add(WINDOW_OCTETS));
        if octets_max == 0 || window_end <= range.start || missed(window_end).next().is_none() {
            return Vec::new();
        }
        let (mut octets, mut seen) = (0, BTreeSet::new());
        missed(end.min(range.start.saturating_add(octets_max as u64)))
            .filter(|chunk| !self.flights.is_under_way(chunk.chunk) && seen.insert(chunk.stored))
            .take_while(|chunk| {
                octets += chunk.plain_octets as usize;
                octets <= octets_max
            })
            .take(READ_AHEAD_CHUNKS_MAX)
            .copied()
            .collect()
    }

    /// Fetches chunks of one pack; whoever misses one of them meanwhile waits for this.
    async fn board_pack(&self, pack: PackId, chunks: Vec<(ChunkRef, IndexRow, Range<u64>)>) {
        let fetched = self.fetch_of_pack(pack, &chunks).shared();
        join_all(chunks.iter().map(|(chunk, ..)| {
            let fetched = fetched.clone();
            // What is missing there moved, or is damaged: he who needs it finds out alone.
            let landed = async move {
                fetched.await.get(&chunk.stored).cloned().ok_or_else(|| missing(chunk.stored))
            };
            self.flights.join(chunk.chunk, landed)
        }))
        .await;
    }

    async fn board_staged(&self, chunk: ChunkRef, row: IndexRow) {
        let landed = async {
            let form = self.stored_form(chunk.stored, &row).await?;
            let form = form.ok_or_else(|| missing(chunk.stored))?;
            self.kept_in_memory(&chunk, &row, form, Asked::Ahead).await
        };
        // As in `board_pack`.
        let _ = self.flights.join(chunk.chunk, landed).await;
    }

    /// The plain octets of those chunks of a pack that could be had.
    async fn fetch_of_pack(
        &self,
        pack: PackId,
        chunks: &[(ChunkRef, IndexRow, Range<u64>)],
    ) -> Arc<BTreeMap<StoredId, Bytes>> {
        let (mut plain, mut far) = (BTreeMap::new(), Vec::new());
        for wanted @ (chunk, row, _) in chunks {
            match self.cached_on_disk(chunk, row, Asked::Ahead).await {
                Ok(Some(octets)) => drop(plain.insert(chunk.stored, octets)),
                Ok(None) | Err(_) => far.push(wanted),
            }
        }
        let ranges: Vec<Range<u64>> = far.iter().map(|(_, _, range)| range.clone()).collect();
        let forms = if ranges.is_empty() {
            None
        } else {
            self.packs.read_ranges(pack, &ranges).await.ok().flatten()
        };
        for ((chunk, row, _), form) in far.into_iter().zip(forms.unwrap_or_default()) {
            if let Ok(octets) = self.verified(chunk, row, form, Asked::Ahead).await {
                plain.insert(chunk.stored, octets);
            }
        }
        Arc::new(plain)
    }
}
