//! Which packs go, which are rewritten, which are merged.
//!
//! What is live in a pack is counted during the pass over the chunks. That count only says where to
//! look: what is done to a pack is decided by the index rows of the chunks that its own index
//! names, as they are at the time.

use bytes::Bytes;

use super::{
    CollectPhase, Run,
    chunks::{Live, PackLive},
    doomed::{self, DoomedRow},
    rewrite::{Group, Moving, Victim, Why},
    scour,
};
use crate::{
    catalog::{
        engine::{Batch, Durability, Expected},
        pages::Pages,
    },
    error::StoreError,
    ids::StoredId,
    pack::{
        format::{ENTRY_OCTETS, FOOTER_OCTETS, HEADER_OCTETS},
        index::{CHUNK_INDEX, IndexRow, PACKS, PackRow, Place, stored_id_key},
        store::PackId,
    },
    sabotage::{PlantedBug, planted},
};

/// Rows read at a time.
const PAGE: usize = 512;
/// So many small packs are merged, even when they do not make a large one together.
const SMALL_PACKS_MAX: usize = 64;

/// A row of `packs`.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) pack: PackId,
    /// The row as it was before the pack was looked at.
    pub(super) octets: Bytes,
    pub(super) row: PackRow,
}

/// Small packs that wait for company.
#[derive(Debug, Default)]
struct Small {
    packs: Vec<Named>,
    live_octets: u64,
}

/// What waits until all packs were looked at.
#[derive(Debug, Default)]
struct Waiting {
    /// Small packs, warm and cold ones: these are never merged with each other.
    small: [Small; 2],
    /// Packs of which much is cold.
    cooling: Vec<(Named, PackLive)>,
    cold_octets: u64,
}

impl Run<'_> {
    /// Goes over all packs.
    pub(super) async fn collect_packs(&mut self, live: Live) -> Result<(), StoreError> {
        let mut group = Group::default();
        let mut waiting = Waiting::default();
        let marked = self.marked_packs().await?;
        let mut pages = Pages::prefix(PACKS, &[], PAGE);
        while let Some(page) = pages.next(&*self.octets.engine).await? {
            for (key, octets) in page {
                let named = named(&key, octets)?;
                let (live, marked) = (live.of(named.pack), marked.contains(&named.pack));
                self.place(named, live, marked, &mut group, &mut waiting).await?;
            }
            self.tell(CollectPhase::Packs);
        }
        self.cool(&mut waiting, &mut group).await?;
        for small in waiting.small {
            if small.packs.len() >= SMALL_PACKS_MAX {
                self.merge(small, &mut group).await?;
            }
        }
        self.move_group(group).await
    }

    /// Rewrites the packs of which much is cold, when that is enough for a cold pack. Otherwise they
    /// are packs like any other.
    async fn cool(&mut self, waiting: &mut Waiting, group: &mut Group) -> Result<(), StoreError> {
        let enough = waiting.cold_octets >= self.options.cold_octets_min;
        for (named, live) in std::mem::take(&mut waiting.cooling) {
            if enough {
                self.plan(named, Why::Cold, true, group).await?;
                self.move_full(group).await?;
            } else {
                self.place_small(named, live, group, waiting).await?;
            }
        }
        Ok(())
    }

    /// Whether so much of a pack is cold, and for so long, that it is rewritten for it.
    async fn is_cooling(&self, named: &Named, live: PackLive) -> Result<bool, StoreError> {
        let percent = u64::from(self.options.cold_percent_min);
        let much = live.cold_octets > 0
            && live.cold_octets.saturating_mul(100) >= live.octets.saturating_mul(percent);
        Ok(much && !named.pack.is_cold() && self.may_cool(named.pack, live).await?)
    }

    /// Whether what is cold in a pack may lie in a cold one: it does, or the pack is old enough.
    async fn may_cool(&self, pack: PackId, live: PackLive) -> Result<bool, StoreError> {
        let Some(after) = self.options.cold_after else { return Ok(false) };
        if pack.is_cold() || after.is_zero() {
            return Ok(true);
        }
        if live.cold_octets == 0 {
            return Ok(false);
        }
        self.budget.pay(0, 1).await;
        let written_at = self.octets.packs.written_at(pack).await?;
        let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        Ok(written_at.is_some_and(|at| at.plus_millis(after) <= self.now()))
    }

    async fn place(
        &mut self,
        named: Named,
        live: PackLive,
        marked: bool,
        group: &mut Group,
        waiting: &mut Waiting,
    ) -> Result<(), StoreError> {
        let needed = live.octets + overhead(live.chunks);
        let whole = named.row.pack_octets;
        if live.chunks == 0 {
            return self.remove_dead(named).await;
        }
        let half_dead =
            needed.saturating_mul(100) < whole.saturating_mul(self.options.live_percent_min.into());
        if half_dead || marked {
            let may_cool = self.may_cool(named.pack, live).await?;
            self.plan(named, Why::HalfDead, may_cool, group).await?;
        } else if self.is_cooling(&named, live).await? {
            waiting.cold_octets += live.cold_octets;
            waiting.cooling.push((named, live));
        } else {
            self.place_small(named, live, group, waiting).await?;
        }
        self.move_full(group).await
    }

    /// Lets a pack wait for others when it is small, and merges them when they are enough.
    async fn place_small(
        &mut self,
        named: Named,
        live: PackLive,
        group: &mut Group,
        waiting: &mut Waiting,
    ) -> Result<(), StoreError> {
        if named.row.pack_octets >= self.small_pack_octets() {
            return Ok(());
        }
        let [warm, cold] = &mut waiting.small;
        let small = if named.pack.is_cold() { cold } else { warm };
        small.live_octets += live.octets + overhead(live.chunks);
        small.packs.push(named);
        if small.live_octets >= self.small_pack_octets() && small.packs.len() > 1 {
            let small = std::mem::take(small);
            self.merge(small, group).await?;
        }
        Ok(())
    }

    /// Moves what is planned when the list has grown as long as it may.
    async fn move_full(&mut self, group: &mut Group) -> Result<(), StoreError> {
        if group.memory_octets() >= self.options.memory_octets_max {
            self.move_group(std::mem::take(group)).await?;
        }
        Ok(())
    }

    /// What is smaller is merged; a pack that merging makes must not be small again.
    fn small_pack_octets(&self) -> u64 {
        self.options.small_pack_octets.min(self.octets.config.pack_octets_max as u64 / 4)
    }

    async fn merge(&mut self, small: Small, group: &mut Group) -> Result<(), StoreError> {
        for named in small.packs {
            let may_cool = named.pack.is_cold() && self.options.cold_after.is_some();
            self.plan(named, Why::Small, may_cool, group).await?;
        }
        Ok(())
    }

    /// Adds what is live in a pack to the chunks that will be moved.
    async fn plan(
        &mut self,
        named: Named,
        why: Why,
        may_cool: bool,
        group: &mut Group,
    ) -> Result<(), StoreError> {
        let Some(chunks) = self.named_chunks(&named).await? else { return Ok(()) };
        let victim = u32::try_from(group.victims.len()).unwrap_or(u32::MAX);
        for (stored, row) in chunks {
            let Place::Packed { offset, .. } = row.place else { continue };
            let IndexRow { stored_octets, plain_octets, .. } = row;
            let order = u32::MAX;
            group.chunks.push(Moving {
                stored,
                victim,
                offset,
                stored_octets,
                plain_octets,
                order,
                cold: false,
            });
        }
        group.victims.push(Victim { named, why, may_cool });
        Ok(())
    }

    /// The chunks of a pack whose index rows name it; `None` when the pack cannot be read, which is
    /// reported. In a dry run the rows of what would have been swept are still among them.
    async fn named_chunks(
        &mut self,
        named: &Named,
    ) -> Result<Option<Vec<(StoredId, IndexRow)>>, StoreError> {
        let entries = match self.octets.packs.read_index(named.pack).await {
            Ok(Some((_, entries))) => entries,
            Ok(None) => {
                self.report.damage(format!("{}: there is no such object", named.pack.path()));
                return Ok(None);
            }
            Err(StoreError::Damaged { object, detail }) => {
                self.report.damage(format!("{object}: {detail}"));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.budget.pay(overhead(u32::try_from(entries.len()).unwrap_or(u32::MAX)), 3).await;
        let stored: Vec<StoredId> = entries.into_iter().map(|entry| entry.stored_id).collect();
        self.still_named(named.pack, &stored).await.map(Some)
    }

    /// Those of `stored` whose index rows name `pack`, with the rows.
    pub(super) async fn still_named(
        &self,
        pack: PackId,
        stored: &[StoredId],
    ) -> Result<Vec<(StoredId, IndexRow)>, StoreError> {
        let mut found = Vec::new();
        for stored in stored.chunks(PAGE) {
            let keys = stored.iter().map(|stored| (CHUNK_INDEX, stored_id_key(*stored)));
            let rows = self.octets.engine.multi_get(&keys.collect::<Vec<_>>()).await?;
            for (stored, row) in stored.iter().zip(rows) {
                let Some(row) = row else { continue };
                let row = IndexRow::decode(&row, *stored)?;
                if matches!(row.place, Place::Packed { pack: named, .. } if named == pack) {
                    found.push((*stored, row));
                }
            }
        }
        Ok(found)
    }

    /// Removes a pack in which the pass over the chunks found nothing live.
    async fn remove_dead(&mut self, named: Named) -> Result<(), StoreError> {
        if planted(PlantedBug::ScanIgnoresMove) {
            self.doom(&named).await?;
            return Ok(());
        }
        let Some(chunks) = self.named_chunks(&named).await? else { return Ok(()) };
        let empty = self.options.dry_run || chunks.is_empty();
        if empty && self.doom(&named).await? {
            self.report.packs_removed += 1;
        }
        Ok(())
    }

    /// Removes the row of a pack that no index row names, and dooms the object. Says whether the row
    /// was still as it had been before the index was looked at.
    pub(super) async fn doom(&mut self, named: &Named) -> Result<bool, StoreError> {
        let pack_octets = named.row.pack_octets;
        if self.options.dry_run {
            self.dry_doomed.push((named.pack, pack_octets));
            return Ok(true);
        }
        let generation = self.octets.generation().await?;
        let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
        let key = Bytes::copy_from_slice(&named.pack.0);
        if !planted(PlantedBug::ScanIgnoresMove) {
            batch.expect(PACKS, key.clone(), Expected::Value(named.octets.clone()));
        }
        batch.delete(PACKS, key);
        scour::unmark(named.pack, &mut batch);
        doomed::doom(named.pack, &DoomedRow { generation, pack_octets }, &mut batch);
        let applied = self.commit_or_leave(batch).await?;
        self.report.conflicts += u64::from(!applied);
        Ok(applied)
    }
}

fn named(key: &[u8], octets: Bytes) -> Result<Named, StoreError> {
    let pack = PackId::from_octets(key).ok_or_else(|| StoreError::Damaged {
        object: format!("packs key of {} octets", key.len()),
        detail: "it is not a PackId".into(),
    })?;
    let row = PackRow::decode(&octets, pack)?;
    Ok(Named { pack, octets, row })
}

/// Octets of a pack of so many chunks beside their stored forms.
pub(super) fn overhead(chunks: u32) -> u64 {
    HEADER_OCTETS + FOOTER_OCTETS as u64 + u64::from(chunks) * ENTRY_OCTETS as u64
}
