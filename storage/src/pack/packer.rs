//! Moves staged chunks into packs, in the background.
//!
//! One step: gather staged chunks, oldest first, up to the size of a pack; put the pack; then, in
//! one batch, write the index rows and delete the staged rows. The batch expects every index
//! row and every staged row as they were read, so that a chunk which the collector took or
//! somebody else moved meanwhile makes the whole batch fail and nothing is half moved. The pack is
//! then named by no row and is removed at once.
//!
//! * A crash after the put leaves a pack that no row names, for the collector.
//! * Readers are never blocked: until the batch they read the staged row, afterwards the pack.
//! * Scans start where the last one ended, so that they do not crawl through the tombstones of
//!   what was packed before; every [`FULL_SCAN_CALLS`] calls, and after a restart, from the start,
//!   for chunks whose batch was committed late.
//!
//! Not here: merging small packs and rewriting half-dead ones (`collector`).

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;

use super::{
    format::PackBuilder,
    index::{
        CHUNK_INDEX, IndexRow, PACKS, PackRow, Place, STAGED_CHUNKS, expect_generation,
        staged_key_parts, stored_id_key,
    },
    store::PackId,
};
use crate::{
    catalog::engine::{Batch, Expected, Scan},
    error::StoreError,
    ids::StoredId,
    octets::{OctetStore, check::after},
};

/// Calls between two scans from the start.
pub const FULL_SCAN_CALLS: u32 = 64;
/// Chunks of one pack at most: bounds the batch.
const CHUNKS_MAX: usize = 16 << 10;
/// Staged rows read at a time.
const SCAN_ROWS: usize = 64;

/// What one step did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PackReport {
    /// Chunks that are in the new pack.
    pub chunks: u64,
    /// Octets of the new pack; 0 when none was made.
    pub pack_octets: u64,
    /// Staged rows that were removed because the index names another place.
    pub superseded: u64,
    /// Chunks that wait for company, because there are too few octets for a pack.
    pub waiting: u64,
}

impl PackReport {
    /// Says whether another call at once would find more to do.
    #[must_use]
    pub fn did_something(&self) -> bool {
        self.chunks > 0 || self.superseded > 0
    }
}

/// What the packer remembers between two calls.
#[derive(Debug, Default)]
pub(crate) struct PackerState {
    /// One step at a time.
    running: tokio::sync::Mutex<()>,
    scan_from: Mutex<Bytes>,
    calls: AtomicU32,
    patience_used: AtomicU32,
}

/// The chunks of one pack to be.
#[derive(Default)]
struct Gathered {
    builder: PackBuilder,
    moved: Vec<Moved>,
    superseded: Vec<(Bytes, StoredId, Option<Bytes>)>,
    /// The last staged key looked at.
    last: Bytes,
}

struct Moved {
    key: Bytes,
    stored: StoredId,
    row_before: Bytes,
    row: IndexRow,
}

impl OctetStore {
    /// Does one step of the packer: makes at most one pack. Call it every minute or so, and again
    /// at once while [`PackReport::did_something`].
    pub async fn pack_once(&self) -> Result<PackReport, StoreError> {
        let _running = self.packer.running.lock().await;
        let pack = PackId::random(&*self.random);
        let generation = self.generation().await?;
        let gathered = self.gather(pack).await?;
        let found = gathered.builder.chunks();
        if found == 0 && gathered.superseded.is_empty() {
            return Ok(PackReport::default());
        }
        if gathered.superseded.is_empty()
            && gathered.builder.octets() < self.config.pack_octets_min
            && found < CHUNKS_MAX
            && self.packer.patience_used.fetch_add(1, Ordering::Relaxed)
                < self.config.pack_patience_calls
        {
            return Ok(PackReport { waiting: found as u64, ..PackReport::default() });
        }
        self.packer.patience_used.store(0, Ordering::Relaxed);
        self.move_chunks(pack, generation, gathered).await
    }

    fn scan_start(&self) -> Bytes {
        let calls = self.packer.calls.fetch_add(1, Ordering::Relaxed);
        if calls.is_multiple_of(FULL_SCAN_CALLS) {
            return Bytes::new();
        }
        self.packer.scan_from.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn gather(&self, pack: PackId) -> Result<Gathered, StoreError> {
        let mut gathered = Gathered::default();
        let mut start = self.scan_start();
        loop {
            let scan = Scan {
                family: STAGED_CHUNKS,
                start: start.clone(),
                end: None,
                reverse: false,
                limit: SCAN_ROWS,
            };
            let entries = self.engine.scan(&scan).await?;
            let Some((last, _)) = entries.last() else { return Ok(gathered) };
            start = after(last);
            for (key, octets) in entries {
                if gathered.builder.octets() + octets.len() > self.config.pack_octets_max
                    || gathered.builder.chunks() >= CHUNKS_MAX
                {
                    return Ok(gathered);
                }
                self.gather_one(pack, key, &octets, &mut gathered).await?;
            }
        }
    }

    async fn gather_one(
        &self,
        pack: PackId,
        key: Bytes,
        octets: &[u8],
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        let Some((sequence, stored)) = staged_key_parts(&key) else {
            return Err(StoreError::Damaged {
                object: format!("staged_chunks key of {} octets", key.len()),
                detail: "it is not a sequence and a StoredId".into(),
            });
        };
        let row_before = self.engine.get(CHUNK_INDEX, &stored.0).await?;
        let row = row_before.as_ref().map(|octets| IndexRow::decode(octets, stored)).transpose()?;
        gathered.last = key.clone();
        match (row, row_before) {
            (Some(row), Some(row_before)) if row.place == (Place::Staged { sequence }) => {
                let entry = gathered.builder.add(stored, octets, row.plain_octets);
                let place = Place::Packed { pack, offset: entry.offset };
                let row = IndexRow { place, ..row };
                gathered.moved.push(Moved { key, stored, row_before, row });
            }
            (_, row_before) => gathered.superseded.push((key, stored, row_before)),
        }
        Ok(())
    }

    async fn move_chunks(
        &self,
        pack: PackId,
        generation: u64,
        gathered: Gathered,
    ) -> Result<PackReport, StoreError> {
        let Gathered { builder, moved, superseded, last } = gathered;
        let mut batch = Batch::default();
        let mut report = PackReport {
            chunks: moved.len() as u64,
            superseded: superseded.len() as u64,
            ..PackReport::default()
        };
        for (key, stored, row) in superseded {
            let expected = row.map_or(Expected::Absent, Expected::Value);
            batch.expect(CHUNK_INDEX, stored_id_key(stored), expected);
            batch.delete(STAGED_CHUNKS, key);
        }
        if !moved.is_empty() {
            let chunks = u32::try_from(moved.len()).unwrap_or(u32::MAX);
            let (octets, _) = builder.finish();
            let row = PackRow { pack_octets: octets.len() as u64, chunks };
            report.pack_octets = row.pack_octets;
            self.packs.put(pack, octets).await?;
            expect_generation(generation, &mut batch);
            batch.put(PACKS, pack.0.to_vec(), row.encode());
        }
        for Moved { key, stored, row_before, row } in moved {
            batch.expect(CHUNK_INDEX, stored_id_key(stored), Expected::Value(row_before));
            // The value under a staged key never changes: that it is there is all there is to know.
            batch.expect(STAGED_CHUNKS, key.clone(), Expected::Present);
            batch.put(CHUNK_INDEX, stored_id_key(stored), row.encode());
            batch.delete(STAGED_CHUNKS, key);
        }
        match self.engine.commit(batch).await {
            Ok(_) => {
                let mut from = self.packer.scan_from.lock().unwrap_or_else(PoisonError::into_inner);
                *from = after(&last);
                Ok(report)
            }
            Err(StoreError::Conflict) => {
                self.packs.delete(pack).await?;
                Ok(PackReport::default())
            }
            Err(error) => Err(error),
        }
    }
}
