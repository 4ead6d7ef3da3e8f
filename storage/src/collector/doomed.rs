//! Packs that no row names any more, until their objects are deleted.
//!
//! | family | key | value |
//! |---|---|---|
//! | `doomed_packs` | instant in ms (8), PackId (16) | [`DoomedRow`] |
//! | `pack_generations` | number (8) | `pack::index::GenerationRow` |
//!
//! * A pack is doomed without an instant (all octets `ff`) in the batch that removes its row, and
//!   gets one afterwards: later than every checkpoint whose row is there by then. So a checkpoint
//!   that names the pack is always the older one, whatever the clocks say.
//! * An object is deleted when its instant and the grace period are past, no retained checkpoint is
//!   older than the instant, all generations up to its own are retired, and no row names it. Once
//!   they are retired no batch can name it any more, so that reading is final.
//! * Before each deletion, as before the run, the node confirms that the object store is its own
//!   (`crate::claim`): what it does not name may be another node's, restored since.
//! * A generation is retired when the grace period since its end is over. It ends when something
//!   was doomed in it.

use std::collections::HashMap;

use bytes::Bytes;
use trust::clock::UnixMillis;

use super::{CollectPhase, Run};
use crate::{
    catalog::{
        engine::{Batch, Durability, Expected, Scan},
        pages::Pages,
    },
    claim,
    error::StoreError,
    pack::{
        index::{
            BACKUP_CHECKPOINTS, DOOMED_PACKS, GenerationRow, PACK_GENERATIONS, PACKS,
            generation_key, generation_of,
        },
        store::PackId,
    },
    record,
};

/// The instant of packs that have none yet.
pub(crate) const UNDATED: u64 = u64::MAX;
/// Rows read or written at a time.
const PAGE: usize = 1_000;

const ROW_VERSION: u8 = 1;

/// What is known of a doomed pack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct DoomedRow {
    /// The newest generation when it was doomed: no batch of a later one names it.
    pub(super) generation: u64,
    /// Octets of the object.
    pub(super) pack_octets: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct DoomedFields {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(uint64, tag = "2")]
    pack_octets: u64,
}

impl DoomedRow {
    fn encode(self) -> Bytes {
        let fields = DoomedFields { generation: self.generation, pack_octets: self.pack_octets };
        record::encode(ROW_VERSION, &fields).into()
    }
}

/// A row of `doomed_packs`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doomed {
    instant: u64,
    pub(super) pack: PackId,
    row: DoomedRow,
}

impl Doomed {
    fn decode(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let parts = key.split_first_chunk::<8>();
        let parts = parts.and_then(|(instant, pack)| {
            Some((u64::from_be_bytes(*instant), PackId::from_octets(pack)?))
        });
        let Some((instant, pack)) = parts else {
            return Err(StoreError::Damaged {
                object: format!("doomed_packs key of {} octets", key.len()),
                detail: "it is not an instant and a PackId".into(),
            });
        };
        let fields: DoomedFields =
            record::decode(value, ROW_VERSION, || format!("doomed_packs row {pack}"))?;
        let DoomedFields { generation, pack_octets } = fields;
        Ok(Self { instant, pack, row: DoomedRow { generation, pack_octets } })
    }

    fn key(&self) -> Bytes {
        key(self.instant, self.pack)
    }
}

fn key(instant: u64, pack: PackId) -> Bytes {
    [instant.to_be_bytes().as_slice(), &pack.0].concat().into()
}

/// Adds to the batch that removes the row of a pack, or finds none, that the object is to go.
pub(super) fn doom(pack: PackId, row: &DoomedRow, batch: &mut Batch) {
    batch.put(DOOMED_PACKS, key(UNDATED, pack), row.encode());
}

impl Run<'_> {
    /// Every doomed pack, by instant. There are as many as were rewritten within the grace period
    /// or since the oldest retained checkpoint.
    pub(super) async fn all_doomed(&self) -> Result<Vec<Doomed>, StoreError> {
        let mut all = Vec::new();
        let mut pages = Pages::prefix(DOOMED_PACKS, &[], PAGE);
        while let Some(page) = pages.next(&*self.octets.engine).await? {
            for (key, value) in &page {
                all.push(Doomed::decode(key, value)?);
            }
        }
        Ok(all)
    }

    /// Dates what was doomed, retires generations, and deletes the objects whose time has come.
    pub(super) async fn remove_doomed(&mut self) -> Result<(), StoreError> {
        self.report.octets_after = self.report.octets_before + self.report.written_octets;
        if !self.options.dry_run {
            self.date().await?;
            self.begin_generation().await?;
        }
        let newest_retired = self.retire_generations().await?;
        let mut doomed = self.drop_revived(self.all_doomed().await?).await?;
        doomed.append(&mut self.would_be_doomed().await?);
        let oldest_checkpoint = self.checkpoint(false).await?;
        for doomed in &doomed {
            let instant = i64::try_from(doomed.instant).unwrap_or(i64::MAX);
            if newest_retired.is_none_or(|newest| doomed.row.generation > newest)
                || !self.is_due(UnixMillis(instant))
            {
                self.report.packs_waiting += 1;
            } else if oldest_checkpoint.is_some_and(|oldest| oldest < doomed.instant) {
                self.report.packs_held += 1;
            } else {
                self.delete(doomed).await?;
            }
            self.tell(CollectPhase::Deleting);
        }
        Ok(())
    }

    /// Leaves out, and forgets, what came into use again. What is not left out and of a retired
    /// generation will never come.
    async fn drop_revived(&self, doomed: Vec<Doomed>) -> Result<Vec<Doomed>, StoreError> {
        let mut dead = Vec::with_capacity(doomed.len());
        for page in doomed.chunks(PAGE) {
            let rows = page.iter().map(|doomed| (PACKS, doomed.pack.0.to_vec().into()));
            let rows = self.octets.engine.multi_get(&rows.collect::<Vec<_>>()).await?;
            for (doomed, row) in page.iter().zip(rows) {
                match row {
                    None => dead.push(*doomed),
                    Some(_) if self.options.dry_run => {}
                    Some(_) => self.forget(doomed).await?,
                }
            }
        }
        Ok(dead)
    }

    async fn delete(&mut self, doomed: &Doomed) -> Result<(), StoreError> {
        self.confirm_claim().await?;
        if !self.options.dry_run {
            self.octets.packs.delete(doomed.pack).await?;
            self.budget.pay(0, 1).await;
            self.forget(doomed).await?;
        }
        self.report.packs_deleted += 1;
        self.report.deleted_octets += doomed.row.pack_octets;
        self.report.octets_after = self.report.octets_after.saturating_sub(doomed.row.pack_octets);
        Ok(())
    }

    pub(super) async fn confirm_claim(&self) -> Result<(), StoreError> {
        let (engine, objects) = (&*self.octets.engine, &**self.octets.packs.objects());
        self.budget.pay(0, 1).await;
        if self.options.dry_run {
            return claim::look(engine, objects).await;
        }
        claim::confirm(engine, &*self.octets.random, objects).await
    }

    /// Removes the row: the object is gone, or in use again. Should a crash lose this, the next run
    /// finds out again.
    async fn forget(&self, doomed: &Doomed) -> Result<(), StoreError> {
        let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
        batch.delete(DOOMED_PACKS, doomed.key());
        self.octets.engine.commit(batch).await?;
        Ok(())
    }

    /// The oldest or newest retained checkpoint.
    async fn checkpoint(&self, newest: bool) -> Result<Option<u64>, StoreError> {
        let scan = Scan { reverse: newest, ..Scan::prefix(BACKUP_CHECKPOINTS, &[], 1) };
        let found = self.octets.engine.scan(&scan).await?;
        let instant = found.first().map(|(key, _)| {
            key.split_first_chunk::<8>().map(|(instant, _)| u64::from_be_bytes(*instant))
        });
        instant
            .map(|instant| {
                instant.ok_or_else(|| StoreError::Damaged {
                    object: "a key of backup_checkpoints".into(),
                    detail: "it does not begin with an instant".into(),
                })
            })
            .transpose()
    }

    /// Gives an instant to what has none, and leaves one row, the latest, for each pack.
    async fn date(&self) -> Result<(), StoreError> {
        let now = u64::try_from(self.now().0).unwrap_or(0);
        let newest = self.checkpoint(true).await?;
        let instant = newest.map_or(now, |newest| now.max(newest.saturating_add(1)));
        let mut by_pack: HashMap<PackId, Vec<Doomed>> = HashMap::new();
        for doomed in self.all_doomed().await? {
            by_pack.entry(doomed.pack).or_default().push(doomed);
        }
        let mut batch = Batch::default();
        for doomed in by_pack.into_values() {
            let Some((latest, earlier)) = doomed.split_last() else { continue };
            for doomed in earlier {
                batch.delete(DOOMED_PACKS, doomed.key());
            }
            if latest.instant == UNDATED {
                batch.delete(DOOMED_PACKS, latest.key());
                batch.put(DOOMED_PACKS, key(instant, latest.pack), latest.row.encode());
            }
            if batch.delete.len() >= PAGE {
                self.octets.engine.commit(std::mem::take(&mut batch)).await?;
            }
        }
        self.octets.engine.commit(batch).await?;
        Ok(())
    }

    async fn generations(&self) -> Result<Vec<(u64, GenerationRow)>, StoreError> {
        let mut all = Vec::new();
        let mut pages = Pages::prefix(PACK_GENERATIONS, &[], PAGE);
        while let Some(page) = pages.next(&*self.octets.engine).await? {
            for (key, value) in &page {
                let number = generation_of(key)?;
                all.push((number, GenerationRow::decode(value, number)?));
            }
        }
        Ok(all)
    }

    /// Ends the newest generation when something was doomed in it.
    async fn begin_generation(&self) -> Result<(), StoreError> {
        let newest = self.octets.generation().await?;
        let doomed = self.all_doomed().await?;
        if doomed.iter().all(|doomed| doomed.row.generation < newest) {
            return Ok(());
        }
        let row = GenerationRow { since_millis: self.now().0 };
        let next = generation_key(newest.saturating_add(1));
        let mut batch = Batch::default();
        batch.expect(PACK_GENERATIONS, next.clone(), Expected::Absent);
        batch.put(PACK_GENERATIONS, next, row.encode());
        self.commit_or_leave(batch).await.map(|_| ())
    }

    /// Retires the generations that ended longer than the grace period ago, and returns the newest
    /// that is retired. The newest of all stays; without grace a dry run takes that one for ended.
    async fn retire_generations(&self) -> Result<Option<u64>, StoreError> {
        let generations = self.generations().await?;
        let mut retired = generations.first().and_then(|(number, _)| number.checked_sub(1));
        // Durable before anything is deleted for it.
        let mut batch = Batch::default();
        for pair in generations.windows(2) {
            let [(number, _), (_, next)] = pair else { continue };
            if !self.is_due(UnixMillis(next.since_millis)) {
                break;
            }
            batch.delete(PACK_GENERATIONS, generation_key(*number));
            retired = Some(*number);
        }
        self.commit_unless_dry(batch).await?;
        if self.options.dry_run && self.options.grace.is_zero() {
            retired = generations.last().map(|(number, _)| *number);
        }
        Ok(retired)
    }

    /// What a dry run would have doomed.
    async fn would_be_doomed(&mut self) -> Result<Vec<Doomed>, StoreError> {
        let mut doomed = Vec::new();
        let generation = self.octets.generation().await?;
        let newest = self.checkpoint(true).await?;
        let now = u64::try_from(self.now().0).unwrap_or(0);
        let instant = newest.map_or(now, |newest| now.max(newest.saturating_add(1)));
        for (pack, pack_octets) in std::mem::take(&mut self.dry_doomed) {
            doomed.push(Doomed { instant, pack, row: DoomedRow { generation, pack_octets } });
        }
        Ok(doomed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Golden;

    #[test]
    fn doomed_packs_stay_as_they_are() {
        let (pack, row) = (PackId([4; 16]), DoomedRow { generation: 12, pack_octets: 1 << 33 });
        for (name, instant) in [("dated", 1_795_867_200_123), ("undated", UNDATED)] {
            let doomed = key(instant, pack);
            let golden = Golden::of("doomed_packs").variant(name).key(&doomed);
            let read = |octets: &[u8]| {
                let Doomed { instant, pack, row } = Doomed::decode(&doomed, octets).expect("a row");
                (instant, pack, row)
            };
            let golden = golden.fields("doomed::DoomedFields", 9);
            golden.holds(&(instant, pack, row), |(.., row)| row.encode(), read);
        }
    }
}
