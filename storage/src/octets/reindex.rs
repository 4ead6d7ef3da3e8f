//! Rebuilds the index of chunks from what holds them: packs and staged chunks.
//!
//! * Nothing is thrown away: a pack that cannot be read is named and passed over, a row whose
//!   chunk is nowhere stays and is counted.
//! * A row that leads to its chunk stays as it is. A row that is missing, or that names a place
//!   without the chunk, is written anew when another place has it: the first, in the order of
//!   PackIds, whose stored form is verified. Packs that the collector has doomed come last.
//! * The store's secret must be the old one: chunks are named under it.
//!
//! Nobody else may use the store meanwhile.
//!
//! Not here: which chunks are needed (`check`, `collector`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::store::{OctetStore, describe, off_thread};
use crate::{
    catalog::{
        engine::{Batch, Durability},
        pages::Pages,
    },
    error::StoreError,
    ids::StoredId,
    pack::{
        format::PackEntry,
        index::{
            CHUNK_INDEX, DOOMED_PACKS, IndexRow, PACKS, PackRow, Place, STAGED_CHUNKS,
            staged_key_parts, stored_id_key, stored_id_of,
        },
        store::PackId,
        stored,
    },
};

/// Rows read at a time.
const ROWS: usize = 256;
/// Objects listed one by one; the others are counted.
const LISTED_MAX: usize = 1_000;

/// What [`OctetStore::rebuild_index`] did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IndexRebuilt {
    /// Packs read.
    pub packs: u64,
    /// Packs in the object store.
    pub packs_total: u64,
    /// Chunks found in packs and in the catalog.
    pub chunks: u64,
    /// Chunks that had no row and have one now.
    pub added: u64,
    /// Chunks whose row led nowhere, or to octets that are damaged, and now leads to them.
    pub mended: u64,
    /// Rows whose chunk is nowhere. They stay.
    pub lost: u64,
    /// Packs and chunks that cannot be read, with the reason. They stay.
    pub damaged: Vec<(String, String)>,
    /// Those beyond the first 1,000.
    pub damaged_left_out: u64,
}

impl IndexRebuilt {
    fn damage(&mut self, object: String, detail: String) {
        if self.damaged.len() < LISTED_MAX {
            self.damaged.push((object, detail));
        } else {
            self.damaged_left_out += 1;
        }
    }
}

/// What is known of the places while the index is rebuilt.
struct Places {
    /// Packs whose own index can be read.
    sound: BTreeSet<PackId>,
    /// Doomed packs, with the key that dooms each.
    doomed: BTreeMap<PackId, Bytes>,
}

impl OctetStore {
    /// Gives every chunk of every pack, and every staged one, the row that leads to it. `progress`
    /// is told after every pack.
    pub async fn rebuild_index(
        &self,
        progress: &(dyn Fn(&IndexRebuilt) + Send + Sync),
    ) -> Result<IndexRebuilt, StoreError> {
        let mut rebuilt = IndexRebuilt::default();
        let (packs, _) = self.packs.list().await?;
        rebuilt.packs_total = packs.len() as u64;
        let mut places = Places { sound: BTreeSet::new(), doomed: self.doomed_packs().await? };
        for pack in &packs {
            match self.packs.read_index(*pack).await {
                Ok(Some(_)) => {
                    places.sound.insert(*pack);
                }
                Ok(None) => {}
                Err(StoreError::Damaged { object, detail }) => rebuilt.damage(object, detail),
                Err(error) => return Err(error),
            }
        }
        let (last, first): (Vec<_>, Vec<_>) =
            places.sound.iter().copied().partition(|pack| places.doomed.contains_key(pack));
        for pack in first {
            self.reindex_pack(pack, &places, &mut rebuilt).await?;
            progress(&rebuilt);
        }
        self.reindex_staged(&places, &mut rebuilt).await?;
        for pack in last {
            self.reindex_pack(pack, &places, &mut rebuilt).await?;
            progress(&rebuilt);
        }
        self.count_lost(&places, &mut rebuilt).await?;
        Ok(rebuilt)
    }

    async fn doomed_packs(&self) -> Result<BTreeMap<PackId, Bytes>, StoreError> {
        let mut doomed = BTreeMap::new();
        let mut pages = Pages::prefix(DOOMED_PACKS, &[], ROWS);
        while let Some(page) = pages.next(&*self.engine).await? {
            for (key, _) in &page {
                // The instant, then the pack.
                if let Some(pack) = key.get(8..).and_then(PackId::from_octets) {
                    doomed.insert(pack, key.clone());
                }
            }
        }
        Ok(doomed)
    }

    async fn reindex_pack(
        &self,
        pack: PackId,
        places: &Places,
        rebuilt: &mut IndexRebuilt,
    ) -> Result<(), StoreError> {
        let Some((pack_octets, entries)) = self.packs.read_index(pack).await? else {
            return Ok(());
        };
        rebuilt.packs += 1;
        let chunks = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let doomed = places.doomed.get(&pack);
        let mut named = doomed.is_none();
        for entries in entries.chunks(ROWS) {
            let mut batch = Batch { durability: Durability::Synced, ..Batch::default() };
            for entry in entries {
                rebuilt.chunks += 1;
                let place = Place::Packed { pack, offset: entry.offset };
                let PackEntry { stored_id, stored_octets, plain_octets, .. } = *entry;
                let row = IndexRow { place, stored_octets, plain_octets };
                named |= self.reindex_chunk(stored_id, row, places, rebuilt, &mut batch).await?;
            }
            if named {
                if pack.is_cold() {
                    self.format.raise().await?;
                }
                if self.engine.get(PACKS, &pack.0).await?.is_none() {
                    let row = PackRow { pack_octets, chunks };
                    batch.put(PACKS, pack.0.to_vec(), row.encode());
                }
                if let Some(key) = doomed {
                    batch.delete(DOOMED_PACKS, key.clone());
                }
            }
            self.engine.commit(batch).await?;
        }
        Ok(())
    }

    async fn reindex_staged(
        &self,
        places: &Places,
        rebuilt: &mut IndexRebuilt,
    ) -> Result<(), StoreError> {
        let mut pages = Pages::prefix(STAGED_CHUNKS, &[], ROWS);
        while let Some(page) = pages.next(&*self.engine).await? {
            let mut batch = Batch { durability: Durability::Synced, ..Batch::default() };
            for (key, value) in &page {
                let Some((sequence, stored_id)) = staged_key_parts(key) else {
                    let object = crate::catalog::keys::object(STAGED_CHUNKS, key);
                    rebuilt.damage(object, "its key is no staged chunk's".into());
                    continue;
                };
                rebuilt.chunks += 1;
                let place = Place::Staged { sequence };
                let Some(plain_octets) = plain_octets(value) else {
                    rebuilt.damage(describe(stored_id, place), "it cannot be decompressed".into());
                    continue;
                };
                let stored_octets = u32::try_from(value.len()).unwrap_or(u32::MAX);
                let row = IndexRow { place, stored_octets, plain_octets };
                self.reindex_chunk(stored_id, row, places, rebuilt, &mut batch).await?;
            }
            self.engine.commit(batch).await?;
        }
        Ok(())
    }

    /// Writes `row` when the present one does not lead to the chunk and `row` does.
    async fn reindex_chunk(
        &self,
        stored_id: StoredId,
        row: IndexRow,
        places: &Places,
        rebuilt: &mut IndexRebuilt,
        batch: &mut Batch,
    ) -> Result<bool, StoreError> {
        let present = match self.index_row(stored_id).await {
            Err(StoreError::Damaged { .. }) => Some(None),
            present => present?.map(Some),
        };
        if present == Some(Some(row)) {
            return Ok(true);
        }
        if let Some(Some(present)) = present
            && self.leads_to(stored_id, present, places).await?
        {
            return Ok(false);
        }
        match self.verify_place(stored_id, row).await {
            Ok(()) => {}
            Err(StoreError::Damaged { object, detail }) => {
                rebuilt.damage(object, detail);
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        if present.is_some() {
            rebuilt.mended += 1;
        } else {
            rebuilt.added += 1;
        }
        batch.put(CHUNK_INDEX, stored_id_key(stored_id), row.encode());
        Ok(true)
    }

    /// Whether a row leads to its chunk. The chunks of sound packs are believed: `check` and
    /// `scrub` verify them.
    async fn leads_to(
        &self,
        stored_id: StoredId,
        row: IndexRow,
        places: &Places,
    ) -> Result<bool, StoreError> {
        match row.place {
            Place::Packed { pack, .. } if places.sound.contains(&pack) => {
                let known = self.engine.get(PACKS, &pack.0).await?.is_some();
                Ok(known || !places.doomed.contains_key(&pack))
            }
            _ => match self.verify_place(stored_id, row).await {
                Ok(()) => Ok(true),
                Err(StoreError::Damaged { .. }) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Reads and verifies the stored form at the place that `row` names.
    pub(crate) async fn verify_place(
        &self,
        stored_id: StoredId,
        row: IndexRow,
    ) -> Result<(), StoreError> {
        let Some(octets) = self.stored_form(stored_id, &row).await? else {
            return Err(StoreError::Damaged {
                object: describe(stored_id, row.place),
                detail: "nothing is there".into(),
            });
        };
        let secret = self.secret.clone();
        off_thread(octets.len(), move || {
            let object = || describe(stored_id, row.place);
            if octets.len() as u64 != u64::from(row.stored_octets) {
                return Err(StoreError::Damaged {
                    object: object(),
                    detail: format!("{} octets instead of {}", octets.len(), row.stored_octets),
                });
            }
            stored::verify(&octets, row.plain_octets, stored_id, &secret, &object)
        })
        .await
    }

    /// Counts the rows whose chunk is nowhere.
    async fn count_lost(
        &self,
        places: &Places,
        rebuilt: &mut IndexRebuilt,
    ) -> Result<(), StoreError> {
        let mut pages = Pages::prefix(CHUNK_INDEX, &[], ROWS);
        while let Some(page) = pages.next(&*self.engine).await? {
            for (key, value) in &page {
                let row = stored_id_of(key).map(|stored| (stored, IndexRow::decode(value, stored)));
                let leads = match row {
                    Some((stored, Ok(row))) => self.leads_to(stored, row, places).await?,
                    Some((_, Err(error @ StoreError::TooNew { .. }))) => return Err(error),
                    _ => false,
                };
                if !leads {
                    rebuilt.lost += 1;
                    let object = crate::catalog::keys::object(CHUNK_INDEX, key);
                    rebuilt.damage(object, "its chunk is in no pack that can be read".into());
                }
            }
        }
        Ok(())
    }
}

/// Octets of a chunk of which only the stored form is known.
fn plain_octets(stored: &[u8]) -> Option<u32> {
    let (&suite, frame) = stored.split_first()?;
    if suite != stored::SUITE_PLAIN {
        return None;
    }
    let plain = zstd::bulk::decompress(frame, stored::PLAIN_OCTETS_MAX as usize).ok()?;
    u32::try_from(plain.len()).ok()
}
