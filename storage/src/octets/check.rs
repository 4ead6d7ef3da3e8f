//! Checks what the octet store keeps.
//!
//! A check reads every stored form that the index names, once, and looks at the frame of every
//! pack. It changes nothing and needs no quiet store: a chunk that the packer moves meanwhile is
//! looked up again.
//!
//! Not here: rebuilding the index (`octets::reindex`), whether messages can be rebuilt and rows add up (`check`), which calls
//! [`OctetStore::verify_message`] for each.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::store::{OctetStore, describe, off_thread};
use crate::{
    catalog::pages::Pages,
    error::StoreError,
    ids::StoredId,
    pack::{
        index::{CHUNK_INDEX, IndexRow, PACKS, PackRow, Place, STAGED_CHUNKS, stored_id_of},
        store::PackId,
        stored,
    },
};

/// Rows read at a time.
const ROWS: usize = 256;
/// Damages listed one by one; the rest is counted.
pub const DAMAGES_MAX: usize = 1_000;

/// What a check found.
#[derive(Debug, Default)]
pub struct OctetCheck {
    /// Chunks in the index.
    pub chunks: u64,
    /// Those of them that are staged.
    pub staged: u64,
    /// Octets of the chunks.
    pub plain_octets: u64,
    /// Octets of their stored forms.
    pub stored_octets: u64,
    /// Packs that the catalog names.
    pub packs: u64,
    /// Octets of those packs.
    pub pack_octets: u64,
    /// What is wrong, [`StoreError::Damaged`] and [`StoreError::TooNew`] only.
    pub damages: Vec<StoreError>,
    /// Damages beyond the first [`DAMAGES_MAX`].
    pub damages_left_out: u64,
    /// Objects under `packs/` that the catalog does not name: packs of batches that were never
    /// committed, or files of somebody else. No damage; the collector removes old ones.
    pub unnamed: Vec<String>,
}

impl OctetCheck {
    /// Takes note of damage; anything else ends the check.
    fn note(&mut self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        match result {
            Ok(()) => Ok(()),
            Err(error @ (StoreError::Damaged { .. } | StoreError::TooNew { .. })) => {
                if self.damages.len() < DAMAGES_MAX {
                    self.damages.push(error);
                } else {
                    self.damages_left_out += 1;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl OctetStore {
    /// Verifies index, staged chunks and packs against each other, and every chunk against its
    /// name. `progress` hears the number of chunks looked at, now and then.
    pub async fn check_octets(
        &self,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<OctetCheck, StoreError> {
        let mut check = OctetCheck::default();
        let mut pages = Pages::prefix(CHUNK_INDEX, &[], ROWS);
        while let Some(rows) = pages.next(&*self.engine).await? {
            for (key, row) in &rows {
                let result = self.check_chunk(key, row, &mut check).await;
                check.note(result)?;
            }
            progress(check.chunks);
        }
        let named = self.check_packs(&mut check).await?;
        let (packs, strangers) = self.packs.list().await?;
        let unnamed = packs.into_iter().filter(|pack| !named.contains(pack)).map(PackId::path);
        check.unnamed = unnamed.chain(strangers).collect();
        Ok(check)
    }

    async fn check_chunk(
        &self,
        key: &[u8],
        row: &[u8],
        check: &mut OctetCheck,
    ) -> Result<(), StoreError> {
        check.chunks += 1;
        let stored = stored_id_of(key).ok_or_else(|| StoreError::Damaged {
            object: format!("chunk_index key of {} octets", key.len()),
            detail: "it is not a StoredId".into(),
        })?;
        let row = IndexRow::decode(row, stored)?;
        check.staged += u64::from(matches!(row.place, Place::Staged { .. }));
        check.plain_octets += u64::from(row.plain_octets);
        check.stored_octets += u64::from(row.stored_octets);
        let mut present = Some(row);
        let mut before = None;
        while let Some(row) = present.filter(|_| present != before) {
            if let Some(octets) = self.stored_form(stored, &row).await? {
                return self.check_stored_form(stored, row, octets).await;
            }
            before = present;
            present = self.index_row(stored).await?;
        }
        match present {
            // It was removed while the check ran.
            None => Ok(()),
            Some(row) => Err(StoreError::Damaged {
                object: describe(stored, row.place),
                detail: "nothing is there".into(),
            }),
        }
    }

    async fn check_stored_form(
        &self,
        stored: StoredId,
        row: IndexRow,
        octets: Bytes,
    ) -> Result<(), StoreError> {
        let secret = self.secret.clone();
        off_thread(octets.len(), move || {
            let object = || describe(stored, row.place);
            if octets.len() as u64 != u64::from(row.stored_octets) {
                return Err(StoreError::Damaged {
                    object: object(),
                    detail: format!("{} octets instead of {}", octets.len(), row.stored_octets),
                });
            }
            stored::verify(&octets, row.plain_octets, stored, &secret, &object)
        })
        .await
    }

    /// Looks at every pack that the catalog names, and returns their names.
    async fn check_packs(&self, check: &mut OctetCheck) -> Result<BTreeSet<PackId>, StoreError> {
        let mut named = BTreeSet::new();
        let mut pages = Pages::prefix(PACKS, &[], ROWS);
        while let Some(rows) = pages.next(&*self.engine).await? {
            for (key, row) in &rows {
                let result = self.check_pack(key, row, check, &mut named).await;
                check.note(result)?;
            }
        }
        Ok(named)
    }

    async fn check_pack(
        &self,
        key: &[u8],
        row: &[u8],
        check: &mut OctetCheck,
        named: &mut BTreeSet<PackId>,
    ) -> Result<(), StoreError> {
        let pack = PackId::from_octets(key).ok_or_else(|| StoreError::Damaged {
            object: format!("packs key of {} octets", key.len()),
            detail: "it is not a PackId".into(),
        })?;
        named.insert(pack);
        let row = PackRow::decode(row, pack)?;
        check.packs += 1;
        check.pack_octets += row.pack_octets;
        let damaged =
            |detail: &str| StoreError::Damaged { object: pack.path(), detail: detail.into() };
        let Some((pack_octets, entries)) = self.packs.read_index(pack).await? else {
            // The collector removes the row before the object.
            return match self.engine.get(PACKS, key).await? {
                None => Ok(()),
                Some(_) => Err(damaged("there is no such object")),
            };
        };
        if pack_octets != row.pack_octets || entries.len() as u64 != u64::from(row.chunks) {
            return Err(damaged("its length or its chunks are not those the catalog knows"));
        }
        Ok(())
    }

    /// Staged chunks that wait for the packer, counted up to `at_most`.
    pub async fn staged_chunks(&self, at_most: usize) -> Result<usize, StoreError> {
        let (mut pages, mut found) = (Pages::prefix(STAGED_CHUNKS, b"", ROWS), 0);
        while found < at_most {
            let Some(page) = pages.next(&*self.engine).await? else { break };
            found += page.len();
        }
        Ok(found.min(at_most))
    }
}

/// The first key after `key`.
pub(crate) fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
