//! Marking, condemning, sweeping: one pass over what refers to chunks for each partition.

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    CollectPhase, Run,
    marks::{Mark, Marked, Marks},
    state::{Condemned, Position},
};
use crate::{
    catalog::{
        engine::{Batch, Durability, Expected, Reader, Scan},
        pages::Pages,
    },
    error::StoreError,
    ids::StoredId,
    pack::{
        index::{
            CHUNK_INDEX, CONDEMNED, DAMAGED_CHUNKS, IndexRow, Place, STAGED_CHUNKS, staged_key,
            stored_id_key, stored_id_of,
        },
        store::PackId,
    },
    sabotage::{PlantedBug, planted},
};

/// Rows read at a time.
const PAGE: usize = 512;
/// Times that a batch is tried again without what changed meanwhile.
const ATTEMPTS_MAX: usize = 8;

/// The chunks that stay, for each pack.
#[derive(Debug, Default)]
pub(super) struct Live {
    packs: HashMap<PackId, PackLive>,
}

/// What is live in one pack.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PackLive {
    pub(super) chunks: u32,
    pub(super) octets: u64,
    /// The part of `octets` that only cold messages refer to.
    pub(super) cold_octets: u64,
}

impl Live {
    fn add(&mut self, row: &IndexRow, mark: Option<Mark>) {
        if let Place::Packed { pack, .. } = row.place {
            let live = self.packs.entry(pack).or_default();
            live.chunks = live.chunks.saturating_add(1);
            live.octets += u64::from(row.stored_octets);
            if mark == Some(Mark::Cold) {
                live.cold_octets += u64::from(row.stored_octets);
            }
        }
    }

    pub(super) fn of(&self, pack: PackId) -> PackLive {
        self.packs.get(&pack).copied().unwrap_or_default()
    }
}

/// A chunk as the index has it.
#[derive(Debug)]
pub(super) struct Indexed {
    pub(super) stored: StoredId,
    octets: Bytes,
    pub(super) row: IndexRow,
}

/// What one page of the index asks for.
#[derive(Debug, Default)]
struct Verdicts {
    /// Chunks to sweep, each with its condemnation.
    sweep: Vec<(Indexed, Bytes)>,
    condemn: Vec<StoredId>,
    spare: Vec<(StoredId, Bytes)>,
}

impl Run<'_> {
    /// Condemns and sweeps, from the partition that begins with the prefix `next`. What is live is
    /// only known when that is the first.
    ///
    /// Without a grace period a second pass sweeps what the first condemned.
    pub(super) async fn collect_chunks(
        &mut self,
        second: bool,
        next: u64,
    ) -> Result<Option<Live>, StoreError> {
        let live = self.pass(second, next).await?;
        let two_passes = self.options.grace.is_zero() && !self.options.dry_run;
        if second || !two_passes || self.report.chunks_condemned == 0 {
            return Ok(live);
        }
        self.pass(true, 0).await
    }

    async fn pass(&mut self, second: bool, mut next: u64) -> Result<Option<Live>, StoreError> {
        let whole = next == 0;
        let mut live = Live::default();
        (self.report.chunks, self.report.chunks_kept, self.report.kept_octets) = (0, 0, 0);
        loop {
            self.save(Position::Chunks { second, next }).await?;
            let snapshot = self.octets.engine.snapshot().await?;
            let marked = self.mark(&*snapshot, next).await?;
            self.judge(&*snapshot, &marked, &mut live).await?;
            match marked.last.checked_add(1) {
                Some(first) => next = first,
                None => return Ok(whole.then_some(live)),
            }
        }
    }

    /// Marks what the partition that begins with `first` has.
    async fn mark(&mut self, snapshot: &dyn Reader, first: u64) -> Result<Marked, StoreError> {
        let mut marks = Marks::new(first, self.options.memory_octets_max);
        self.report.passes += 1;
        let mut cold = self.cold_messages(snapshot);
        for references in self.references {
            let mut pages = Pages::prefix(references.family, &[], PAGE);
            while let Some(page) = pages.next(snapshot).await? {
                let mut octets = 0;
                for (key, value) in &page {
                    octets += value.len() as u64;
                    let is_cold = cold.has(references.family, key).await?;
                    for stored in (references.stored_ids)(key, value)? {
                        marks.mark(stored, is_cold);
                    }
                }
                octets += cold.take_octets();
                self.budget.pay(octets, 0).await;
                self.tell(CollectPhase::Marking);
            }
        }
        Ok(marks.finish())
    }

    /// Decides over every chunk of the partition.
    async fn judge(
        &mut self,
        snapshot: &dyn Reader,
        marked: &Marked,
        live: &mut Live,
    ) -> Result<(), StoreError> {
        let end = marked.last.checked_add(1);
        let mut pages = Pages::new(Scan {
            start: Bytes::copy_from_slice(&marked.first.to_be_bytes()),
            end: end.map(|end| Bytes::copy_from_slice(&end.to_be_bytes())),
            ..Scan::prefix(CHUNK_INDEX, &[], PAGE)
        });
        while let Some(page) = pages.next(snapshot).await? {
            let octets = page.iter().map(|(key, row)| (key.len() + row.len()) as u64).sum();
            let keys: Vec<_> = page.iter().map(|(key, _)| (CONDEMNED, key.clone())).collect();
            let condemned = snapshot.multi_get(&keys).await?;
            let mut verdicts = Verdicts::default();
            for ((key, octets), condemned) in page.into_iter().zip(condemned) {
                let indexed = indexed(&key, octets)?;
                self.judge_one(indexed, condemned, marked, live, &mut verdicts)?;
            }
            self.carry_out(verdicts, live).await?;
            self.budget.pay(octets, 0).await;
            self.tell(CollectPhase::Sweeping);
        }
        Ok(())
    }

    fn judge_one(
        &mut self,
        indexed: Indexed,
        condemned: Option<Bytes>,
        marked: &Marked,
        live: &mut Live,
        verdicts: &mut Verdicts,
    ) -> Result<(), StoreError> {
        self.report.chunks += 1;
        let stored = indexed.stored;
        let mark = marked.find(stored);
        match (mark, condemned) {
            (Some(_), None) => self.keep(&indexed.row, mark, live),
            (Some(_), Some(condemned)) => {
                verdicts.spare.push((stored, condemned));
                self.keep(&indexed.row, mark, live);
            }
            (None, None) => {
                verdicts.condemn.push(stored);
                if self.options.dry_run && self.options.grace.is_zero() {
                    verdicts.sweep.push((indexed, Bytes::new()));
                } else {
                    self.keep(&indexed.row, mark, live);
                }
            }
            (None, Some(octets)) => {
                let condemned = Condemned::decode(&octets, || format!("condemned row {stored}"))?;
                if self.is_due(condemned.since) {
                    verdicts.sweep.push((indexed, octets));
                } else {
                    self.keep(&indexed.row, mark, live);
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, row: &IndexRow, mark: Option<Mark>, live: &mut Live) {
        self.report.chunks_kept += 1;
        self.report.kept_octets += u64::from(row.stored_octets);
        live.add(row, mark);
    }

    async fn carry_out(&mut self, verdicts: Verdicts, live: &mut Live) -> Result<(), StoreError> {
        let Verdicts { sweep, condemn, spare } = verdicts;
        self.report.chunks_condemned += condemn.len() as u64;
        self.report.chunks_spared += spare.len() as u64;
        let condemned = Condemned { since: self.now(), run: self.number }.encode();
        let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
        for stored in condemn {
            batch.put(CONDEMNED, stored_id_key(stored), condemned.clone());
        }
        if !batch.put.is_empty() {
            self.commit_unless_dry(batch).await?;
        }
        for (stored, condemned) in spare {
            let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
            batch.expect(CONDEMNED, stored_id_key(stored), Expected::Value(condemned));
            batch.delete(CONDEMNED, stored_id_key(stored));
            self.commit_or_leave(batch).await?;
        }
        self.sweep(sweep, live).await
    }

    /// Removes chunks, each only as it was read: the batch fails when one of them is in use again or
    /// was moved, and is tried again without those.
    async fn sweep(
        &mut self,
        mut chunks: Vec<(Indexed, Bytes)>,
        live: &mut Live,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS_MAX {
            if chunks.is_empty() {
                return Ok(());
            }
            let mut batch = sweep_batch(&chunks);
            self.owe_purge(&mut batch);
            self.mark_packs(&chunks, &mut batch).await?;
            if self.commit_or_leave(batch).await? {
                self.report.chunks_swept += chunks.len() as u64;
                let octets = |(chunk, _): &(Indexed, Bytes)| u64::from(chunk.row.stored_octets);
                self.report.swept_octets += chunks.iter().map(octets).sum::<u64>();
                if !self.options.dry_run {
                    for (chunk, _) in &chunks {
                        self.octets.forget_cached(chunk.stored).await;
                    }
                }
                return Ok(());
            }
            let (mut same, mut changed) = (Vec::new(), Vec::new());
            for (chunk, condemned) in chunks {
                let key = stored_id_key(chunk.stored);
                let keys = [(CHUNK_INDEX, key.clone()), (CONDEMNED, key)];
                let now = self.octets.engine.multi_get(&keys).await?;
                let as_read = [Some(chunk.octets.clone()), Some(condemned.clone())];
                if now == as_read { &mut same } else { &mut changed }.push((chunk, condemned));
            }
            self.report.conflicts += changed.len() as u64;
            for (chunk, _) in changed {
                self.keep(&chunk.row, None, live);
            }
            chunks = same;
        }
        for (chunk, _) in chunks {
            self.keep(&chunk.row, None, live);
        }
        Ok(())
    }

    /// Commits what may come too late; says whether it was applied. A dry run only says so.
    pub(super) async fn commit_or_leave(&self, batch: Batch) -> Result<bool, StoreError> {
        if self.options.dry_run {
            return Ok(true);
        }
        match self.octets.engine.commit(batch).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Counts what is live by the index alone: for a run that did not begin at the first partition.
    /// It does not know what is cold, and so leaves that to a later run.
    pub(super) async fn count_live(&self) -> Result<Live, StoreError> {
        let mut live = Live::default();
        let snapshot = self.octets.engine.snapshot().await?;
        let mut pages = Pages::prefix(CHUNK_INDEX, &[], PAGE);
        while let Some(page) = pages.next(&*snapshot).await? {
            let octets = page.iter().map(|(key, row)| (key.len() + row.len()) as u64).sum();
            for (key, octets) in page {
                live.add(&indexed(&key, octets)?.row, None);
            }
            self.budget.pay(octets, 0).await;
        }
        Ok(live)
    }
}

fn indexed(key: &[u8], octets: Bytes) -> Result<Indexed, StoreError> {
    let stored = stored_id_of(key).ok_or_else(|| StoreError::Damaged {
        object: format!("chunk_index key of {} octets", key.len()),
        detail: "it is not a StoredId".into(),
    })?;
    let row = IndexRow::decode(&octets, stored)?;
    Ok(Indexed { stored, octets, row })
}

fn sweep_batch(chunks: &[(Indexed, Bytes)]) -> Batch {
    let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
    for (chunk, condemned) in chunks {
        let key = stored_id_key(chunk.stored);
        if !planted(PlantedBug::SweepWithoutRecheck) {
            batch.expect(CONDEMNED, key.clone(), Expected::Value(condemned.clone()));
            batch.expect(CHUNK_INDEX, key.clone(), Expected::Value(chunk.octets.clone()));
        }
        batch.delete(CHUNK_INDEX, key.clone());
        batch.delete(CONDEMNED, key.clone());
        batch.delete(DAMAGED_CHUNKS, key);
        if let Place::Staged { sequence } = chunk.row.place {
            batch.delete(STAGED_CHUNKS, staged_key(sequence, chunk.stored));
        }
    }
    batch
}
