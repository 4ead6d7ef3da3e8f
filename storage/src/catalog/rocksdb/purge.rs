//! Old values leave the disk.
//!
//! RocksDB keeps a value that was replaced or removed in its write-ahead log until every family
//! whose writes are in that log has been flushed, and in its tables until they are compacted.
//! Both happen in time by themselves; [`purge`] makes them happen now.
//!
//! Not here: when (`Store::purge`).

use rocksdb::{BottommostLevelCompaction, CompactOptions, DB, FlushOptions};

use super::engine_error;
use crate::{
    catalog::engine::{Family, PurgeRange},
    error::StoreError,
};

/// Flushes `families`, all there are, so that their log is let go, then compacts `ranges` down to
/// the last level.
pub(super) fn purge(
    db: &DB,
    families: impl Iterator<Item = Family>,
    ranges: &[PurgeRange],
) -> Result<(), StoreError> {
    let mut flush = FlushOptions::default();
    flush.set_wait(true);
    for family in families {
        if let Some(handle) = db.cf_handle(family.0) {
            db.flush_cf_opt(&handle, &flush).map_err(|error| engine_error("purge", error))?;
        }
    }
    let mut options = CompactOptions::default();
    options.set_exclusive_manual_compaction(false);
    options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    for (family, start, end) in ranges {
        if let Some(handle) = db.cf_handle(family.0) {
            db.compact_range_cf_opt(&handle, Some(start), end.as_ref(), &options);
        }
    }
    Ok(())
}
