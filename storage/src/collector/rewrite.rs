//! Moves live chunks out of half-dead and small packs into new ones.
//!
//! * The order in the new packs is the order of the records that refer to the chunks first: by
//!   account, then by EmailNumber. So what is read together lies together.
//! * What only cold messages refer to goes into packs of its own under the colder prefix; whether it
//!   is still so is read again before it is moved.
//! * Each chunk is verified before it is moved. A damaged one stays where it is, its pack stays
//!   too, and both are reported.
//! * The batch expects each index row as it was planned. What changed meanwhile is left out.
//! * An old pack goes only when no index row names it any more.
//!
//! Memory: the list of chunks ([`CollectOptions::memory_octets_max`]), and twice the octets of one
//! pack.
//!
//! [`CollectOptions::memory_octets_max`]: super::CollectOptions::memory_octets_max

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    CollectPhase, Run,
    marks::prefix,
    packs::{Named, overhead},
    state::Condemned,
};
use crate::{
    catalog::{
        engine::{Batch, Expected},
        pages::Pages,
    },
    error::StoreError,
    ids::StoredId,
    octets::store::describe,
    pack::{
        format::PackBuilder,
        index::{
            CHUNK_INDEX, CONDEMNED, DAMAGED_CHUNKS, IndexRow, PACKS, PackRow, Place,
            expect_generation, stored_id_key,
        },
        repack::{Repack, repack_all},
        store::PackId,
    },
    sabotage::{PlantedBug, planted},
};

/// Chunks of one new pack at most: bounds the batch.
const CHUNKS_MAX: usize = 16 << 10;
/// Octets between two chunks that are read over rather than asked for twice.
const GAP_OCTETS_MAX: u64 = 64 << 10;
/// Octets of one read at most, unless a single chunk has more.
const READ_OCTETS_MAX: u64 = 4 << 20;
/// Records read at a time.
const PAGE: usize = 512;
/// Times that a batch is tried again without what changed meanwhile.
const ATTEMPTS_MAX: usize = 8;

/// Why a pack is rewritten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Why {
    HalfDead,
    Small,
    /// Much of it is cold.
    Cold,
}

/// A pack whose chunks are moved.
#[derive(Debug)]
pub(super) struct Victim {
    pub(super) named: Named,
    pub(super) why: Why,
    /// What is cold in it may go into a cold pack.
    pub(super) may_cool: bool,
}

/// A chunk that is moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving {
    pub(super) stored: StoredId,
    /// Index of its pack in [`Group::victims`].
    pub(super) victim: u32,
    pub(super) offset: u64,
    pub(super) stored_octets: u32,
    pub(super) plain_octets: u32,
    /// Number of the record that refers to it first.
    pub(super) order: u32,
    /// Whether it goes into a cold pack.
    pub(super) cold: bool,
}

/// Packs that are rewritten together.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) victims: Vec<Victim>,
    pub(super) chunks: Vec<Moving>,
}

impl Group {
    /// Octets of memory that the list, and finding its order, take.
    pub(super) fn memory_octets(&self) -> usize {
        self.chunks.len() * (size_of::<Moving>() + 32) + self.victims.len() * 256
    }

    fn pack(&self, moving: &Moving) -> Option<PackId> {
        self.victims.get(moving.victim as usize).map(|victim| victim.named.pack)
    }

    fn row(&self, moving: &Moving) -> Option<IndexRow> {
        let place = Place::Packed { pack: self.pack(moving)?, offset: moving.offset };
        let Moving { stored_octets, plain_octets, .. } = *moving;
        Some(IndexRow { place, stored_octets, plain_octets })
    }
}

impl Run<'_> {
    /// Moves everything of `group`, and removes the packs that are empty then.
    pub(super) async fn move_group(&mut self, mut group: Group) -> Result<(), StoreError> {
        if group.victims.is_empty() {
            return Ok(());
        }
        self.find_order(&mut group).await?;
        self.weigh_cold(&mut group);
        if self.options.dry_run {
            self.leave_out_swept(&mut group).await?;
        }
        self.leave_out_damaged(&mut group).await?;
        group.chunks.sort_unstable_by_key(|chunk| (chunk.cold, chunk.order, chunk.stored));
        let mut rest = group.chunks.as_slice();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(self.piece(rest));
            self.move_piece(&group, piece).await?;
            self.tell(CollectPhase::Packs);
            rest = later;
        }
        self.remove_emptied(&group).await
    }

    /// Leaves out, in a dry run, what a run would have swept by now: nothing refers to it, and its
    /// time has come.
    async fn leave_out_swept(&self, group: &mut Group) -> Result<(), StoreError> {
        let mut staying = Vec::with_capacity(group.chunks.len());
        for page in group.chunks.chunks(PAGE) {
            let keys = page.iter().map(|chunk| (CONDEMNED, stored_id_key(chunk.stored)));
            let rows = self.octets.engine.multi_get(&keys.collect::<Vec<_>>()).await?;
            for (chunk, condemned) in page.iter().zip(rows) {
                let object = || format!("condemned row {}", chunk.stored);
                let condemned = condemned.map(|octets| Condemned::decode(&octets, object));
                let due = condemned.transpose()?.is_some_and(|it| self.is_due(it.since));
                let swept = chunk.order == u32::MAX && (due || self.options.grace.is_zero());
                if !swept {
                    staying.push(*chunk);
                }
            }
        }
        group.chunks = staying;
        Ok(())
    }

    /// Leaves out, and reports, chunks that are known to be damaged.
    async fn leave_out_damaged(&mut self, group: &mut Group) -> Result<(), StoreError> {
        let mut sound = Vec::with_capacity(group.chunks.len());
        for page in group.chunks.chunks(PAGE) {
            let keys = page.iter().map(|chunk| (DAMAGED_CHUNKS, stored_id_key(chunk.stored)));
            let rows = self.octets.engine.multi_get(&keys.collect::<Vec<_>>()).await?;
            for (chunk, noted) in page.iter().zip(rows) {
                let row = group.row(chunk).filter(|row| noted == Some(row.encode()));
                match (row, group.pack(chunk)) {
                    (Some(_), Some(pack)) => {
                        self.report.damage(format!("chunk {} in {}", chunk.stored, pack.path()));
                        self.stuck.insert(pack);
                    }
                    _ => sound.push(*chunk),
                }
            }
        }
        group.chunks = sound;
        Ok(())
    }

    /// How many of `chunks` make one pack, cold or not.
    fn piece(&self, chunks: &[Moving]) -> usize {
        let mut octets = overhead(0);
        let cold = chunks.first().is_some_and(|chunk| chunk.cold);
        let fits = |chunk: &&Moving| {
            octets += u64::from(chunk.stored_octets) + overhead(1) - overhead(0);
            chunk.cold == cold && octets <= self.octets.config.pack_octets_max as u64
        };
        chunks.iter().take(CHUNKS_MAX).take_while(fits).count().max(1)
    }

    /// Leaves what is cold where the warm goes, unless there is enough of it for a pack, or it was
    /// planned for that. What lies in cold packs stays in cold ones.
    fn weigh_cold(&self, group: &mut Group) {
        let octets = |chunk: &Moving| u64::from(chunk.stored_octets);
        let cold: u64 = group.chunks.iter().filter(|chunk| chunk.cold).map(octets).sum();
        if cold < self.options.cold_octets_min {
            for chunk in &mut group.chunks {
                let victim = group.victims.get(chunk.victim as usize);
                chunk.cold &= victim
                    .is_some_and(|victim| victim.why == Why::Cold || victim.named.pack.is_cold());
            }
        }
    }

    /// Finds which record refers to each chunk first, and which chunks only cold messages refer to.
    async fn find_order(&self, group: &mut Group) -> Result<(), StoreError> {
        let Group { victims, chunks } = group;
        if chunks.is_empty() {
            return Ok(());
        }
        // For each chunk: the record, and whether something warm refers to it.
        let mut wanted: HashMap<u64, (u32, bool)> =
            chunks.iter().map(|chunk| (prefix(chunk.stored), (u32::MAX, false))).collect();
        let (mut missing, mut record) = (wanted.len(), 0_u32);
        let may_cool = victims.iter().any(|victim| victim.may_cool);
        let snapshot = self.octets.engine.snapshot().await?;
        let mut cold = self.cold_messages(&*snapshot);
        'families: for references in self.references {
            let mut pages = Pages::prefix(references.family, &[], PAGE);
            while let Some(page) = pages.next(&*snapshot).await? {
                let mut octets = 0;
                for (key, value) in &page {
                    octets += value.len() as u64;
                    let warm = !may_cool || !cold.has(references.family, key).await?;
                    for stored in (references.stored_ids)(key, value)? {
                        let Some((order, is_warm)) = wanted.get_mut(&prefix(stored)) else {
                            continue;
                        };
                        *is_warm |= warm;
                        if *order == u32::MAX {
                            *order = record;
                            missing -= 1;
                        }
                    }
                    record = record.saturating_add(1);
                }
                octets += cold.take_octets();
                self.budget.pay(octets, 0).await;
                if missing == 0 && !may_cool {
                    break 'families;
                }
            }
        }
        for chunk in chunks {
            let (order, warm) =
                wanted.get(&prefix(chunk.stored)).copied().unwrap_or((u32::MAX, true));
            let victim = victims.get(chunk.victim as usize);
            chunk.order = order;
            chunk.cold = order != u32::MAX && !warm && victim.is_some_and(|victim| victim.may_cool);
        }
        Ok(())
    }

    /// Writes one new pack, and lets the index name it.
    async fn move_piece(&mut self, group: &Group, piece: &[Moving]) -> Result<(), StoreError> {
        let generation = self.octets.generation().await?;
        let random = &*self.octets.random;
        let cold = piece.first().is_some_and(|chunk| chunk.cold);
        let pack = if cold { PackId::random_cold(random) } else { PackId::random(random) };
        let mut builder = PackBuilder::default();
        let mut moved = Vec::with_capacity(piece.len());
        for (moving, octets) in piece.iter().zip(self.read_piece(group, piece).await?) {
            let (Some(octets), Some(before)) = (octets, group.row(moving)) else { continue };
            let entry = builder.add(moving.stored, &octets, moving.plain_octets);
            let place = Place::Packed { pack, offset: entry.offset };
            let after = IndexRow { place, stored_octets: entry.stored_octets, ..before };
            moved.push((moving.stored, before, after));
        }
        if moved.is_empty() {
            return Ok(());
        }
        let chunks = u32::try_from(builder.chunks()).unwrap_or(u32::MAX);
        let (octets, _) = builder.finish();
        let row = PackRow { pack_octets: octets.len() as u64, chunks };
        if self.options.dry_run {
            self.wrote(pack, &moved, row.pack_octets);
            return Ok(());
        }
        if cold {
            self.octets.format.raise().await?;
        }
        if planted(PlantedBug::ColdBeforeDurable) && cold {
            self.name(pack, row, generation, &mut moved).await?;
        }
        self.octets.packs.put(pack, octets).await?;
        self.budget.pay(row.pack_octets, 1).await;
        if self.name(pack, row, generation, &mut moved).await? {
            self.wrote(pack, &moved, row.pack_octets);
            return Ok(());
        }
        // No row names it, and none will.
        self.octets.packs.delete(pack).await
    }

    fn wrote(&mut self, pack: PackId, moved: &[(StoredId, IndexRow, IndexRow)], octets: u64) {
        self.report.packs_written += 1;
        self.report.chunks_moved += moved.len() as u64;
        self.report.written_octets += octets;
        if pack.is_cold() {
            let was_warm =
                |row: &IndexRow| matches!(row.place, Place::Packed { pack, .. } if !pack.is_cold());
            let cooled = moved.iter().filter(|(_, before, _)| was_warm(before)).count();
            self.report.chunks_cooled += cooled as u64;
            self.report.cold_written_octets += octets;
        }
    }

    /// Commits the batch of a new pack; leaves out of `moved` what changed meanwhile. Says whether
    /// anything is named in the pack.
    async fn name(
        &mut self,
        pack: PackId,
        row: PackRow,
        generation: u64,
        moved: &mut Vec<(StoredId, IndexRow, IndexRow)>,
    ) -> Result<bool, StoreError> {
        for _ in 0..ATTEMPTS_MAX {
            let mut batch = Batch::default();
            expect_generation(generation, &mut batch);
            batch.put(PACKS, pack.0.to_vec(), row.encode());
            for (stored, before, after) in &*moved {
                let key = stored_id_key(*stored);
                batch.expect(CHUNK_INDEX, key.clone(), Expected::Value(before.encode()));
                batch.put(CHUNK_INDEX, key, after.encode());
            }
            if self.commit_or_leave(batch).await? {
                return Ok(true);
            }
            let keys = moved.iter().map(|(stored, ..)| (CHUNK_INDEX, stored_id_key(*stored)));
            let rows = self.octets.engine.multi_get(&keys.collect::<Vec<_>>()).await?;
            let mut rows = rows.into_iter();
            let planned = moved.len();
            moved.retain(|(_, before, _)| rows.next().flatten() == Some(before.encode()));
            self.report.conflicts += (planned - moved.len()) as u64;
            if moved.is_empty() {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// The stored forms of `piece`, verified; `None` for what is damaged or not there any more.
    async fn read_piece(
        &mut self,
        group: &Group,
        piece: &[Moving],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let mut found = vec![None; piece.len()];
        let mut by_place: Vec<usize> = (0..piece.len()).collect();
        by_place.sort_unstable_by_key(|&at| piece.get(at).map(|it| (it.victim, it.offset)));
        let mut rest = by_place.as_slice();
        while let Some(first) = rest.first().and_then(|&at| piece.get(at)) {
            let (run, later) = rest.split_at(run_length(rest, piece));
            let run: Vec<(usize, Moving)> =
                run.iter().filter_map(|&at| Some((at, *piece.get(at)?))).collect();
            self.read_run(group, first, &run, &mut found).await?;
            rest = later;
        }
        Ok(found)
    }

    /// Reads chunks that lie near each other in one pack.
    async fn read_run(
        &mut self,
        group: &Group,
        first: &Moving,
        run: &[(usize, Moving)],
        found: &mut [Option<Bytes>],
    ) -> Result<(), StoreError> {
        let Some(pack) = group.pack(first) else { return Ok(()) };
        let end = run.iter().map(|(_, chunk)| end(chunk)).max().unwrap_or(first.offset);
        let read = self.octets.packs.read(pack, first.offset..end).await?.unwrap_or_default();
        self.budget.pay(read.len() as u64, 1).await;
        let forms = run.iter().filter_map(|(_, chunk)| {
            let start = usize::try_from(chunk.offset - first.offset).ok()?;
            let place = Place::Packed { pack, offset: chunk.offset };
            let octets = start..start + chunk.stored_octets as usize;
            // A pack that ends early gives an empty form, which is damaged like any other.
            let octets = if octets.end <= read.len() { read.slice(octets) } else { Bytes::new() };
            let Moving { stored, plain_octets, .. } = *chunk;
            Some(Repack { stored, place, plain_octets, octets, level: self.level(group, chunk) })
        });
        let forms = repack_all(&self.octets.secret, forms.collect()).await?;
        for ((at, chunk), form) in run.iter().zip(forms) {
            match form {
                Ok(octets) => {
                    if let Some(found) = found.get_mut(*at) {
                        *found = Some(octets);
                    }
                }
                Err(StoreError::Damaged { .. }) => self.leave_damaged(group, chunk).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn leave_damaged(&mut self, group: &Group, chunk: &Moving) -> Result<(), StoreError> {
        let Some(row) = group.row(chunk) else { return Ok(()) };
        // A pack that another run removed is no damage: the chunk has moved.
        if self.octets.index_row(chunk.stored).await? == Some(row) {
            self.report.damage(describe(chunk.stored, row.place));
            self.stuck.extend(group.pack(chunk));
            if !self.options.dry_run {
                self.octets.note_damaged(chunk.stored, &row).await?;
            }
        }
        Ok(())
    }

    fn level(&self, group: &Group, chunk: &Moving) -> Option<i32> {
        let config = &self.octets.config;
        let victim = group.victims.get(chunk.victim as usize)?;
        if victim.named.pack.is_cold() {
            // It has been compressed as hard as it is worth.
            return None;
        }
        let level = match victim.why {
            _ if chunk.cold => self.options.cold_level,
            Why::Cold => return None,
            Why::HalfDead => config.cold_compression_level,
            Why::Small => config.pack_compression_level,
        };
        (level > config.compression_level).then_some(level)
    }

    /// Removes the packs of `group` that no index row names any more.
    async fn remove_emptied(&mut self, group: &Group) -> Result<(), StoreError> {
        let mut chunks: Vec<Vec<StoredId>> = vec![Vec::new(); group.victims.len()];
        for chunk in &group.chunks {
            if let Some(chunks) = chunks.get_mut(chunk.victim as usize) {
                chunks.push(chunk.stored);
            }
        }
        for (victim, chunks) in group.victims.iter().zip(chunks) {
            let named = &victim.named;
            let emptied = !self.stuck.contains(&named.pack)
                && (self.options.dry_run
                    || self.still_named(named.pack, &chunks).await?.is_empty());
            if emptied && self.doom(named).await? {
                match victim.why {
                    Why::HalfDead => self.report.packs_rewritten += 1,
                    Why::Small => self.report.packs_merged += 1,
                    Why::Cold => self.report.packs_cooled += 1,
                }
            }
        }
        Ok(())
    }
}

fn end(chunk: &Moving) -> u64 {
    chunk.offset.saturating_add(u64::from(chunk.stored_octets))
}

/// How many of `order`, from its first, are read at once.
fn run_length(order: &[usize], piece: &[Moving]) -> usize {
    let mut chunks = order.iter().filter_map(|&at| piece.get(at));
    let Some(first) = chunks.next() else { return order.len().min(1) };
    let mut read_to = end(first);
    let near = |chunk: &&Moving| {
        let near = chunk.victim == first.victim
            && chunk.offset.saturating_sub(read_to) <= GAP_OCTETS_MAX
            && end(chunk).saturating_sub(first.offset) <= READ_OCTETS_MAX;
        read_to = end(chunk);
        near
    };
    1 + chunks.take_while(near).count()
}
