//! Moves staged chunks into packs, in the background.
//!
//! One step: gather staged chunks, oldest first, up to the size of a pack; put the pack; then, in
//! one batch, write the index rows and delete the staged rows. The batch expects every index
//! row and every staged row as they were read, so that a chunk which the collector took or
//! somebody else moved meanwhile makes the whole batch fail and nothing is half moved. The pack is
//! then named by no row and is removed at once.
//!
//! * Every chunk is verified before it is moved, and compressed again at the level of packs. A
//!   damaged one stays staged, and is remembered, so that the next message with the same octets
//!   brings it back.
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
    repack::{Repack, repack_all},
    store::PackId,
};
use crate::{
    catalog::{
        engine::{Batch, Entries, Expected, Scan},
        pages::Pages,
    },
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
    /// Chunks that were left where they are, because they are damaged.
    pub damaged: u64,
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
    damaged: u64,
    /// The last staged key looked at.
    last: Bytes,
}

struct Moved {
    key: Bytes,
    stored: StoredId,
    row_before: Bytes,
    row: IndexRow,
}

fn staged_parts(key: &[u8]) -> Result<(u64, StoredId), StoreError> {
    staged_key_parts(key).ok_or_else(|| StoreError::Damaged {
        object: format!("staged_chunks key of {} octets", key.len()),
        detail: "it is not a sequence and a StoredId".into(),
    })
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
            return Ok(PackReport { damaged: gathered.damaged, ..PackReport::default() });
        }
        if gathered.superseded.is_empty()
            && gathered.builder.octets() < self.config.pack_octets_min
            && found < CHUNKS_MAX
            && self.packer.patience_used.fetch_add(1, Ordering::Relaxed)
                < self.config.pack_patience_calls
        {
            let (waiting, damaged) = (found as u64, gathered.damaged);
            return Ok(PackReport { waiting, damaged, ..PackReport::default() });
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
        let scan = Scan::prefix(STAGED_CHUNKS, &[], SCAN_ROWS);
        let mut pages = Pages::new(Scan { start: self.scan_start(), ..scan });
        while let Some(entries) = pages.next(&*self.engine).await? {
            if !self.gather_page(pack, entries, &mut gathered).await? {
                break;
            }
        }
        Ok(gathered)
    }

    /// Takes staged chunks into the pack; says whether there is room for more.
    async fn gather_page(
        &self,
        pack: PackId,
        mut entries: Entries,
        gathered: &mut Gathered,
    ) -> Result<bool, StoreError> {
        let found = entries.len();
        let fits = self.fitting(&entries, &gathered.builder);
        entries.truncate(fits);
        let staged = entries.iter().map(|(key, _)| staged_parts(key));
        let staged = staged.collect::<Result<Vec<_>, _>>()?;
        let keys = staged.iter().map(|(_, stored)| (CHUNK_INDEX, stored_id_key(*stored)));
        let rows = self.engine.multi_get(&keys.collect::<Vec<_>>()).await?;
        let level = Some(self.config.pack_compression_level);
        let level = level.filter(|level| *level > self.config.compression_level);
        let (mut moving, mut forms) = (Vec::new(), Vec::new());
        for (((key, octets), (sequence, stored)), row_before) in
            entries.into_iter().zip(staged).zip(rows)
        {
            let row = row_before.as_ref().map(|octets| IndexRow::decode(octets, stored));
            gathered.last = key.clone();
            match (row.transpose()?, row_before) {
                (Some(row), Some(row_before)) if row.place == (Place::Staged { sequence }) => {
                    let (place, plain_octets) = (row.place, row.plain_octets);
                    forms.push(Repack { stored, place, plain_octets, octets, level });
                    moving.push(Moved { key, stored, row_before, row });
                }
                (_, row_before) => gathered.superseded.push((key, stored, row_before)),
            }
        }
        let forms = repack_all(&self.secret, forms).await?;
        for (moved, form) in moving.into_iter().zip(forms) {
            self.take_in(pack, moved, form, gathered).await?;
        }
        Ok(fits == found)
    }

    /// How many of the next staged chunks the pack has room for.
    fn fitting(&self, entries: &Entries, builder: &PackBuilder) -> usize {
        let mut octets = builder.octets();
        let room = CHUNKS_MAX.saturating_sub(builder.chunks());
        let fits = |(_, form): &&(Bytes, Bytes)| {
            octets += form.len();
            octets <= self.config.pack_octets_max
        };
        entries.iter().take(room).take_while(fits).count()
    }

    async fn take_in(
        &self,
        pack: PackId,
        mut moved: Moved,
        form: Result<Bytes, StoreError>,
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        match form {
            Ok(octets) => {
                let plain_octets = moved.row.plain_octets;
                let entry = gathered.builder.add(moved.stored, &octets, plain_octets);
                let place = Place::Packed { pack, offset: entry.offset };
                moved.row = IndexRow { place, stored_octets: entry.stored_octets, plain_octets };
                gathered.moved.push(moved);
                Ok(())
            }
            Err(StoreError::Damaged { .. }) => {
                gathered.damaged += 1;
                self.note_damaged(moved.stored, &moved.row).await
            }
            Err(error) => Err(error),
        }
    }

    async fn move_chunks(
        &self,
        pack: PackId,
        generation: u64,
        gathered: Gathered,
    ) -> Result<PackReport, StoreError> {
        let Gathered { builder, moved, superseded, damaged, last } = gathered;
        let mut batch = Batch::default();
        let mut report = PackReport {
            chunks: moved.len() as u64,
            superseded: superseded.len() as u64,
            damaged,
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
