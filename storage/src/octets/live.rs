//! What packs hold: how many of their octets are chunks that the index leads to.
//!
//! Not here: which of those chunks a message needs (`collector`), what messages add up to
//! (`figures`).

use std::collections::BTreeMap;

use super::store::OctetStore;
use crate::{
    catalog::{engine::Family, pages::Pages},
    error::StoreError,
    pack::{
        index::{CHUNK_INDEX, DAMAGED_CHUNKS, IndexRow, PACKS, PackRow, Place, stored_id_of},
        store::PackId,
    },
};

/// Rows read at a time.
const ROWS: usize = 1_000;

/// What the packs of a store add up to. Counted beside its writers, page by page.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PackFigures {
    /// Packs.
    pub packs: u64,
    /// Octets of the packs.
    pub pack_octets: u64,
    /// Octets of the chunks in them that the index leads to.
    pub live_octets: u64,
    /// Packs of which less than half is live.
    pub sparse_packs: u64,
    /// Chunks whose stored form was found damaged.
    pub damaged_chunks: u64,
}

impl OctetStore {
    /// Counts what the packs hold. Takes some 50 octets of memory for each pack.
    pub async fn pack_figures(&self) -> Result<PackFigures, StoreError> {
        let mut packs: BTreeMap<PackId, (u64, u64)> = BTreeMap::new();
        let mut figures = PackFigures::default();
        self.each(PACKS, |key, value| {
            let Some(pack) = PackId::from_octets(key) else { return };
            if let Ok(row) = PackRow::decode(value, pack) {
                packs.insert(pack, (row.pack_octets, 0));
            }
        })
        .await?;
        self.each(CHUNK_INDEX, |key, value| {
            let row = stored_id_of(key).map(|stored| IndexRow::decode(value, stored));
            if let Some(Ok(IndexRow { place: Place::Packed { pack, .. }, stored_octets, .. })) = row
                && let Some((_, live)) = packs.get_mut(&pack)
            {
                *live += u64::from(stored_octets);
            }
        })
        .await?;
        self.each(DAMAGED_CHUNKS, |_, _| figures.damaged_chunks += 1).await?;
        for (octets, live) in packs.into_values() {
            figures.packs += 1;
            figures.pack_octets += octets;
            figures.live_octets += live;
            figures.sparse_packs += u64::from(live < octets / 2);
        }
        Ok(figures)
    }

    /// Octets of all packs.
    pub async fn pack_octets(&self) -> Result<u64, StoreError> {
        let mut octets = 0;
        self.each(PACKS, |key, value| {
            let row = PackId::from_octets(key).map(|pack| PackRow::decode(value, pack));
            octets += row.map_or(0, |row| row.map_or(0, |row| row.pack_octets));
        })
        .await?;
        Ok(octets)
    }

    async fn each(
        &self,
        family: Family,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError> {
        let mut pages = Pages::prefix(family, &[], ROWS);
        while let Some(page) = pages.next(&*self.engine).await? {
            for (key, value) in &page {
                visit(key, value);
            }
        }
        Ok(())
    }
}
