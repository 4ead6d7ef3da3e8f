//! Fetches chunks: from memory, from the local disk, from packs, each as seldom as it can be.
//!
//! * Readers who miss the same chunk at the same time wait for one of them (`pack::flights`).
//! * A reader who asks for more of a message than one window has the chunks behind it fetched with
//!   the first, those of one pack in one request where they lie near each other; at most
//!   [`read_ahead_octets_max`](super::OctetStoreConfig::read_ahead_octets_max) plain octets, and
//!   never a chunk that was not asked for.
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
    store::{OctetStore, decoded, missing},
};
use crate::{
    error::StoreError,
    ids::StoredId,
    pack::{
        index::{IndexRow, Place},
        store::PackId,
    },
    sabotage::{PlantedBug, planted},
};

/// Chunks that one read ahead fetches at most.
const READ_AHEAD_CHUNKS_MAX: usize = 256;

impl OctetStore {
    /// The plain octets of a chunk, verified.
    pub(crate) async fn chunk(&self, chunk: &ChunkRef) -> Result<Bytes, StoreError> {
        if let Some(octets) = self.cache.get(chunk.chunk) {
            return Ok(octets);
        }
        self.flights.join(chunk.chunk, self.fetch(chunk)).await
    }

    async fn fetch(&self, chunk: &ChunkRef) -> Result<Bytes, StoreError> {
        // Another may have landed between the look into the cache and the flight.
        if let Some(octets) = self.cache.get(chunk.chunk) {
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
            disk.put(chunk.stored, form);
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
        self.cache.put(chunk.chunk, plain.clone());
        Ok(plain)
    }

    /// Forgets what the caches have of a chunk, which must not be kept any longer.
    pub async fn forget_cached(&self, stored: StoredId) {
        if let Some(disk) = &self.disk {
            disk.remove(stored).await;
        }
    }

    /// Fetches with the chunks of the first window those that the rest of `range` needs, into
    /// memory. What cannot be fetched here is left to the read itself, which says why.
    pub(super) async fn read_ahead(
        &self,
        message: &StoredMessage,
        range: &Range<u64>,
    ) -> Result<(), StoreError> {
        let octets_max = self.config.read_ahead_octets_max.min(self.config.cache_octets_max / 2);
        let end = range.end.min(message.size());
        let window = range.start..end.min(range.start.saturating_add(WINDOW_OCTETS));
        if octets_max == 0 || window.is_empty() || window.end == end {
            return Ok(());
        }
        let recipe = message.recipe();
        let chunk = |position: u32| recipe.chunks.get(position as usize);
        let missed = |chunk: &&ChunkRef| self.cache.get(chunk.chunk).is_none();
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
            self.fetch(first).await
        };
        self.flights.join(first.chunk, fetch).await.map(drop)
    }

    /// Fetches chunks into memory, those of one pack in one request.
    async fn fetch_together(&self, wanted: &[ChunkRef]) -> Result<(), StoreError> {
        let mut packs: BTreeMap<PackId, Vec<(ChunkRef, IndexRow, Range<u64>)>> = BTreeMap::new();
        for chunk in wanted {
            let Some(row) = self.index_row(chunk.stored).await? else { continue };
            let Place::Packed { pack, offset } = row.place else { continue };
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
                match self.verified(chunk, row, form).await {
                    Ok(_) | Err(StoreError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
