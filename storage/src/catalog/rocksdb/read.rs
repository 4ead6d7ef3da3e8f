//! Reads, at the present state or at a snapshot.
//!
//! A read first asks memory only. What RocksDB cannot answer from there goes to the blocking pool,
//! where at most a configured number of reads run; the rest wait in order.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use rocksdb::{ColumnFamily, DB, ErrorKind, ReadOptions, ReadTier, SnapshotWithThreadMode};
use tokio::sync::Semaphore;
use yoke::{Yoke, Yokeable};

use super::engine_error;
use crate::{
    catalog::{
        commit,
        engine::{Family, Page, PageFiller, Reader, Scan},
    },
    error::StoreError,
};

/// Scans of more entries are not tried in memory first: they would hold the caller's thread.
const INLINE_ENTRIES_MAX: usize = 1_024;

/// RocksDB's snapshot, which borrows the database.
#[derive(Yokeable)]
struct Borrowed<'d>(SnapshotWithThreadMode<'d, DB>);

/// The snapshot together with the database it borrows.
type OwnedSnapshot = Yoke<Borrowed<'static>, Arc<DB>>;

/// One state of the database to read from.
#[derive(Clone)]
pub(super) struct View {
    db: Arc<DB>,
    snapshot: Option<Arc<OwnedSnapshot>>,
    families: Arc<BTreeSet<Family>>,
    blocking_reads: Arc<Semaphore>,
}

/// Where a read may look.
#[derive(Clone, Copy)]
enum Tier {
    Memory,
    Disk,
}

/// Why a read gave nothing.
enum Miss {
    /// It is not in memory.
    Incomplete,
    Failed(StoreError),
}

impl Miss {
    fn of(operation: &'static str) -> impl Fn(rocksdb::Error) -> Self {
        move |error| match error.kind() {
            ErrorKind::Incomplete => Self::Incomplete,
            _ => Self::Failed(engine_error(operation, error)),
        }
    }
}

impl View {
    /// The present state, whatever it is at each read.
    pub(super) fn present(
        db: Arc<DB>,
        families: Arc<BTreeSet<Family>>,
        blocking_reads: Arc<Semaphore>,
    ) -> Self {
        Self { db, snapshot: None, families, blocking_reads }
    }

    /// The state of now, for as long as the result lives.
    pub(super) fn snapshot(self) -> Self {
        let snapshot = Yoke::attach_to_cart(Arc::clone(&self.db), |db| Borrowed(db.snapshot()));
        Self { snapshot: Some(Arc::new(snapshot)), ..self }
    }

    fn options(&self, tier: Tier) -> ReadOptions {
        let mut options = ReadOptions::default();
        if let Some(snapshot) = &self.snapshot {
            options.set_snapshot(&snapshot.get().0);
        }
        if let Tier::Memory = tier {
            options.set_read_tier(ReadTier::BlockCache);
        }
        options
    }

    fn column(&self, family: Family, operation: &'static str) -> Result<&ColumnFamily, Miss> {
        commit::declared(&self.families, family, operation).map_err(Miss::Failed)?;
        self.db.cf_handle(family.0).ok_or_else(|| {
            let source = format!("family `{}` has no column", family.0).into();
            Miss::Failed(StoreError::Engine { operation, source })
        })
    }

    fn get_in(&self, tier: Tier, family: Family, key: &[u8]) -> Result<Option<Bytes>, Miss> {
        let column = self.column(family, "read")?;
        let value = self.db.get_pinned_cf_opt(column, key, &self.options(tier));
        let value = value.map_err(Miss::of("read"))?;
        Ok(value.map(|octets| Bytes::copy_from_slice(&octets)))
    }

    /// Many keys at once.
    ///
    /// A key that is absent, that the filter of a table lets through, and whose place is behind the last
    /// row of a block, sends RocksDB to the next block. When that is not in memory and only memory may be
    /// read, RocksDB 11 answers that the key is there with an empty value, and reports no error (a read of
    /// a single key says `Incomplete`). So an empty value from memory is looked up on disk.
    fn multi_get_in(
        &self,
        tier: Tier,
        keys: &[(Family, Bytes)],
    ) -> Result<Vec<Option<Bytes>>, Miss> {
        let columns: Result<Vec<_>, Miss> = keys
            .iter()
            .map(|(family, key)| Ok((self.column(*family, "read")?, key.clone())))
            .collect();
        let values = self.db.multi_get_cf_opt(columns?, &self.options(tier));
        let in_memory = matches!(tier, Tier::Memory);
        let one = |value: Result<Option<Vec<u8>>, rocksdb::Error>| match value
            .map_err(Miss::of("read"))?
        {
            Some(octets) if in_memory && octets.is_empty() => Err(Miss::Incomplete),
            octets => Ok(octets.map(Bytes::from)),
        };
        values.into_iter().map(one).collect()
    }

    fn page_in(&self, tier: Tier, scan: &Scan, octets_max: usize) -> Result<Page, Miss> {
        let column = self.column(scan.family, "scan")?;
        let mut options = self.options(tier);
        options.set_iterate_lower_bound(scan.start.to_vec());
        if let Some(end) = &scan.end {
            if *end <= scan.start {
                return Ok(Page::default());
            }
            options.set_iterate_upper_bound(end.to_vec());
        }
        let mut iterator = self.db.raw_iterator_cf_opt(column, options);
        if scan.reverse {
            iterator.seek_to_last();
        } else {
            iterator.seek_to_first();
        }
        let (mut page, mut more) = (PageFiller::new(scan, octets_max), false);
        while let Some((key, value)) = iterator.item() {
            if !page.has_room(key.len() + value.len()) {
                more = true;
                break;
            }
            page.push(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            if scan.reverse { iterator.prev() } else { iterator.next() }
        }
        iterator.status().map_err(Miss::of("scan"))?;
        Ok(page.finish(more))
    }

    /// Reads in memory, then, when that is not enough, on the blocking pool.
    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        inline: bool,
        read: impl Fn(&Self, Tier) -> Result<T, Miss> + Send + 'static,
    ) -> Result<T, StoreError> {
        if inline {
            match read(self, Tier::Memory) {
                Ok(found) => return Ok(found),
                Err(Miss::Failed(error)) => return Err(error),
                Err(Miss::Incomplete) => {}
            }
        }
        let permit = Arc::clone(&self.blocking_reads).acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let view = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&view, Tier::Disk)
        });
        match reading.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(Miss::Failed(error))) => Err(error),
            Ok(Err(Miss::Incomplete)) => {
                let source = "the database answered a full read only in part".into();
                Err(StoreError::Engine { operation, source })
            }
            Err(error) => Err(engine_error(operation, error)),
        }
    }
}

#[async_trait::async_trait]
impl Reader for View {
    async fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        // The common case, without copying the key.
        match self.get_in(Tier::Memory, family, key) {
            Ok(found) => return Ok(found),
            Err(Miss::Failed(error)) => return Err(error),
            Err(Miss::Incomplete) => {}
        }
        let key = key.to_vec();
        self.read("read", false, move |view, tier| view.get_in(tier, family, &key)).await
    }

    async fn multi_get(&self, keys: &[(Family, Bytes)]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let keys = keys.to_vec();
        self.read("read", true, move |view, tier| view.multi_get_in(tier, &keys)).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        let scan = scan.clone();
        let inline = scan.limit <= INLINE_ENTRIES_MAX;
        self.read("scan", inline, move |view, tier| view.page_in(tier, &scan, octets_max)).await
    }
}
