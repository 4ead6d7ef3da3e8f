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

/// Reads of more keys are not tried in memory first either.
const INLINE_KEYS_MAX: usize = 256;

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

    /// Many keys at one state.
    ///
    /// In memory one by one: RocksDB's read of many keys does not keep to memory (it reads blocks from
    /// disk, on the caller's thread), and it answers that an absent key is there, with an empty value and
    /// no error, when a table's filter lets the key through, its place is behind the last row of a block,
    /// and the next block is not in memory. A read of a single key says `Incomplete` to both.
    fn multi_get_in(
        &self,
        tier: Tier,
        keys: &[(Family, Bytes)],
    ) -> Result<Vec<Option<Bytes>>, Miss> {
        let columns: Result<Vec<_>, Miss> = keys
            .iter()
            .map(|(family, key)| Ok((self.column(*family, "read")?, key.clone())))
            .collect();
        let columns = columns?;
        if let Tier::Disk = tier {
            let values = self.db.multi_get_cf_opt(columns, &self.options(tier));
            let read = |value: Result<Option<Vec<u8>>, rocksdb::Error>| {
                Ok(value.map_err(Miss::of("read"))?.map(Bytes::from))
            };
            return values.into_iter().map(read).collect();
        }
        let now = (self.snapshot.is_none() && keys.len() > 1).then(|| self.db.snapshot());
        let mut options = self.options(tier);
        if let Some(now) = &now {
            options.set_snapshot(now);
        }
        let read = |(column, key): (&ColumnFamily, Bytes)| {
            let value = self.db.get_pinned_cf_opt(column, key, &options);
            Ok(value.map_err(Miss::of("read"))?.map(|octets| Bytes::copy_from_slice(&octets)))
        };
        columns.into_iter().map(read).collect()
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
        let inline = keys.len() <= INLINE_KEYS_MAX;
        self.read("read", inline, move |view, tier| view.multi_get_in(tier, &keys)).await
    }

    async fn page(&self, scan: &Scan, octets_max: usize) -> Result<Page, StoreError> {
        let scan = scan.clone();
        let inline = scan.limit <= INLINE_ENTRIES_MAX;
        self.read("scan", inline, move |view, tier| view.page_in(tier, &scan, octets_max)).await
    }
}
