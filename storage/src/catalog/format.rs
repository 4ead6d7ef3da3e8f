//! Which format the catalog has: what keeps programs away that would harm it.
//!
//! A program knows a range of formats, opens no catalog above it, and writes what the catalog's
//! own format allows. A catalog begins with the lowest and is raised, for ever, with the first
//! thing that a program of the format before would harm:
//!
//! | format | raised by | what a program of the one before would do |
//! |---|---|---|
//! | 2 | the first snapshot of an account | remove messages that only a snapshot holds, give numbers of snapshots again |
//! | 2 | the first message in the archive that notes where it came from | lose that note with the next change of flags |
//! | 2 | the first cold pack | look for the pack elsewhere, and take its chunks for lost |
//!
//! * The record is raised, and durable, before the batch that needs it. A crash in between leaves a
//!   raised catalog without such a thing, which harms nobody.
//! * Nothing lowers it: what was written stays, and what a snapshot kept can only be known by
//!   reading all of it.
//! * A catalog of the lowest format that has such things already, because a program wrote them that
//!   did not raise it, is raised when it is opened.
//!
//! Not here: versions of single records (`records`), which families there are (`rocksdb`).

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;

use super::{
    engine::{Batch, Durability, Engine, Expected, Reader},
    keys,
    pages::Pages,
    records::{self, FormatRecord, HeadRecord},
};
use crate::{
    error::StoreError,
    pack::{index::PACKS, store::PackId},
};

/// The formats of the catalog that this program knows.
pub const CATALOG_FORMATS: RangeInclusive<u32> = 1..=2;

/// Entries read at once.
const PAGE: usize = 1_000;

/// The format of an open catalog.
pub(crate) struct CatalogFormat {
    engine: Arc<dyn Engine>,
    /// Whether the record is known to say the highest format.
    raised: AtomicBool,
}

impl std::fmt::Debug for CatalogFormat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CatalogFormat")
            .field("raised", &self.raised)
            .finish_non_exhaustive()
    }
}

/// Refuses a catalog of a newer format; says which one it has. `None` = nobody has marked it yet.
pub(crate) async fn pass_gate(reader: &(impl Reader + ?Sized)) -> Result<Option<u32>, StoreError> {
    Ok(mark(reader).await?.map(|(format, _)| format))
}

/// The format that a catalog is marked with, and the octets that say so.
async fn mark(reader: &(impl Reader + ?Sized)) -> Result<Option<(u32, Bytes)>, StoreError> {
    let found = reader.get(keys::CATALOG_FORMAT, keys::FORMAT_KEY).await?;
    let Some(octets) = found else { return Ok(None) };
    let record: FormatRecord = records::decode(keys::CATALOG_FORMAT, keys::FORMAT_KEY, &octets)?;
    let (found, known) = (record.format, *CATALOG_FORMATS.end());
    match found {
        _ if CATALOG_FORMATS.contains(&found) => Ok(Some((found, octets))),
        _ if found > known => {
            Err(StoreError::TooNew { object: "the catalog".to_owned(), found, known })
        }
        _ => Err(StoreError::Damaged {
            object: "the catalog".to_owned(),
            detail: format!("format {found} was never written by any program"),
        }),
    }
}

impl CatalogFormat {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, raised: AtomicBool::new(false) }
    }

    /// Marks a new catalog, and raises one that has what its format does not allow.
    pub(crate) async fn open(&self) -> Result<(), StoreError> {
        let Some(found) = pass_gate(&*self.engine).await? else {
            self.write(None, *CATALOG_FORMATS.start()).await?;
            return Ok(());
        };
        if found == *CATALOG_FORMATS.end() {
            self.raised.store(true, Ordering::Release);
        } else if self.has_snapshots_or_archive().await? || self.has_cold_packs().await? {
            self.raise().await?;
        }
        Ok(())
    }

    /// Makes the catalog, durably, one that older programs leave alone. Costs nothing when it is one.
    pub(crate) async fn raise(&self) -> Result<(), StoreError> {
        while !self.raised.load(Ordering::Acquire) {
            let (found, last) = (mark(&*self.engine).await?, *CATALOG_FORMATS.end());
            let is_last = found.as_ref().is_some_and(|(format, _)| *format == last);
            if is_last || self.write(found.map(|(_, octets)| octets), last).await? {
                self.raised.store(true, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Writes `format` where `found` stands; false when somebody else was first.
    async fn write(&self, found: Option<Bytes>, format: u32) -> Result<bool, StoreError> {
        let expected = found.map_or(Expected::Absent, Expected::Value);
        let mut batch = Batch { durability: Durability::Synced, ..Batch::default() };
        batch.expect(keys::CATALOG_FORMAT, keys::FORMAT_KEY, expected);
        batch.put(
            keys::CATALOG_FORMAT,
            keys::FORMAT_KEY,
            records::encode(&FormatRecord { format }),
        );
        match self.engine.commit(batch).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether an account ever had a snapshot, or has messages in its archive. What cannot be read
    /// says nothing.
    async fn has_snapshots_or_archive(&self) -> Result<bool, StoreError> {
        let mut pages = Pages::prefix(keys::ACCOUNT_HEADS, &[], PAGE);
        while let Some(page) = pages.next(&*self.engine).await? {
            let has = |head: HeadRecord| {
                head.next_snapshot > 1 || head.snapshot > 0 || head.archive_messages > 0
            };
            let mut heads =
                page.iter().map(|(key, value)| records::decode(keys::ACCOUNT_HEADS, key, value));
            if heads.any(|head| head.is_ok_and(has)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn has_cold_packs(&self) -> Result<bool, StoreError> {
        let mut pages = Pages::prefix(PACKS, &[], PAGE);
        while let Some(page) = pages.next(&*self.engine).await? {
            let mut packs = page.iter().filter_map(|(key, _)| PackId::from_octets(key));
            if packs.any(PackId::is_cold) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalog::simulated::SimulatedEngine;

    #[tokio::test]
    async fn a_mark_with_a_field_that_this_program_does_not_know_is_raised_all_the_same() {
        let engine = SimulatedEngine::new(&[keys::CATALOG_FORMAT]);
        // Field 15, a varint: it is gone when the record is encoded again.
        let first = records::encode(&FormatRecord { format: *CATALOG_FORMATS.start() });
        let mut batch = Batch::default();
        let octets = [&first[..], &[0x78, 0x01]].concat();
        batch.put(keys::CATALOG_FORMAT, keys::FORMAT_KEY, octets);
        engine.commit(batch).await.expect("commit");
        let format = CatalogFormat::new(engine.clone());
        let raised = tokio::time::timeout(Duration::from_mins(1), format.raise()).await;
        raised.expect("it ends").expect("raised");
        let found = pass_gate(&*engine).await.expect("read");
        assert_eq!(found, Some(*CATALOG_FORMATS.end()));
    }
}
