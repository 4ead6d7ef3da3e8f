//! Old values leave the disk.
//!
//! RocksDB keeps a value that was replaced or removed in its write-ahead log until every family
//! whose writes are in that log has been flushed, and in its tables until they are compacted.
//! Both happen in time by themselves; [`purge`] makes them happen now.
//!
//! Not here: when (`Store::purge`).

use std::collections::BTreeSet;

use rocksdb::{BottommostLevelCompaction, CompactOptions, DB, FlushOptions};

use super::engine_error;
use crate::{
    catalog::engine::{Family, PurgeRange},
    error::StoreError,
};

/// Octets of the tables of a family.
const TABLES_PROPERTY: &str = "rocksdb.total-sst-files-size";

/// Flushes `families`, all there are, so that their log is let go, then compacts `ranges` down to
/// the last level. Returns the octets of the tables of their families, as they were before.
pub(super) fn purge(
    db: &DB,
    families: impl Iterator<Item = Family>,
    ranges: &[PurgeRange],
) -> Result<u64, StoreError> {
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
    let (mut octets, mut counted) = (0, BTreeSet::new());
    for (family, start, end) in ranges {
        if let Some(handle) = db.cf_handle(family.0) {
            if counted.insert(*family) {
                let tables = db.property_int_value_cf(&handle, TABLES_PROPERTY);
                let tables = tables.map_err(|error| engine_error("purge", error))?;
                octets += tables.unwrap_or(0);
            }
            db.compact_range_cf_opt(&handle, Some(start), end.as_ref(), &options);
        }
    }
    Ok(octets)
}
