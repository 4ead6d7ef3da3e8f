//! Bounds of the engine, and how RocksDB is set up with them.
//!
//! Families differ in three ways that matter ([`Use`]): staged chunks are large, compressed
//! already, and gone within minutes; the chunk index is asked for names that it mostly does not
//! have; everything else is rows, read by key or in key order.
//!
//! Each family writes its own changes to a table when they fill its share of
//! [`RocksConfig::write_buffer_octets_max`]. Without such a share it would be RocksDB that picks a
//! family when all together are over the bound, and it picks the one that was written first, not
//! the largest: every few seconds another family would get a table of a few rows.

use std::time::Duration;

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, DataBlockIndexType, Options,
};

use crate::{
    catalog::engine::Family,
    pack::index::{CHUNK_INDEX, STAGED_CHUNKS},
};

/// Every bound of the engine, with its default. None of them is part of a format.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RocksConfig {
    /// Octets of blocks, indexes and filters kept in memory. 128 MiB.
    pub cache_octets_max: usize,
    /// Octets of changes kept in memory before they are written to tables. 64 MiB.
    pub write_buffer_octets_max: usize,
    /// Octets of write-ahead log before the oldest changes are written to tables. 256 MiB.
    pub log_octets_max: u64,
    /// Table files held open. 1,024.
    pub open_files_max: u16,
    /// Threads that write and merge tables. 2.
    pub background_jobs_max: u16,
    /// Batches that wait for the leader; more callers wait for a place. 1,024.
    pub commits_waiting_max: usize,
    /// Batches committed under one sync. 256.
    pub group_batches_max: usize,
    /// Octets committed under one sync; a larger batch goes alone. 16 MiB.
    pub group_octets_max: usize,
    /// How long a group gathers when the groups before it held more than one batch. 200 µs.
    pub group_wait: Duration,
    /// Reads that may touch the disk at the same time. 64.
    pub blocking_reads_max: usize,
}

impl Default for RocksConfig {
    fn default() -> Self {
        Self {
            cache_octets_max: 128 << 20,
            write_buffer_octets_max: 64 << 20,
            log_octets_max: 256 << 20,
            open_files_max: 1_024,
            background_jobs_max: 2,
            commits_waiting_max: 1_024,
            group_batches_max: 256,
            group_octets_max: 16 << 20,
            group_wait: Duration::from_micros(200),
            blocking_reads_max: 64,
        }
    }
}

/// Bits of bloom filter for each key: about one wrong "maybe" in a hundred.
const BLOOM_BITS: f64 = 10.0;

/// RocksDB's own text log: files kept, and octets of each.
const LOG_FILES_MAX: usize = 5;
const LOG_FILE_OCTETS_MAX: usize = 4 << 20;

/// The share of the write buffer that one family fills before it is written to a table.
const FAMILY_SHARE: usize = 4;
/// Buffers of a family that may wait while another is being written, so that writers do not.
const BUFFERS_MAX: i32 = 4;

/// Octets of a table after which the system is told to write them: a sync of the log never has to
/// wait for a whole table.
const TABLE_SYNC_OCTETS: u64 = 1 << 20;

/// A table of which so many of so many neighbours are deletions is merged soon: what was worked off a
/// queue is then not read over again by every scan.
const DELETIONS_WINDOW: usize = 2_048;
const DELETIONS_MAX: usize = 1_024;
const DELETIONS_RATIO: f64 = 0.5;

/// Of the buffer of the chunk index, the part that is a filter over its keys.
const INDEX_FILTER_RATIO: f64 = 0.02;
/// Entries per slot in the hash index of a block.
const HASH_RATIO: f64 = 0.75;

/// How a family is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Use {
    Rows,
    /// Large values that are compressed already and leave soon.
    StagedChunks,
    /// Asked for single keys, of which most are absent.
    ChunkIndex,
}

impl Use {
    fn of(family: Family) -> Self {
        match family {
            STAGED_CHUNKS => Self::StagedChunks,
            CHUNK_INDEX => Self::ChunkIndex,
            _ => Self::Rows,
        }
    }
}

/// What all families share.
pub(super) struct Shared {
    cache: Cache,
}

impl Shared {
    pub(super) fn new(config: &RocksConfig) -> Self {
        Self { cache: Cache::new_lru_cache(config.cache_octets_max) }
    }

    /// Options of the database, and of RocksDB's own family, which stays empty.
    pub(super) fn database(&self, config: &RocksConfig) -> Options {
        let mut options = self.rows(config, Use::Rows);
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_paranoid_checks(true);
        // A torn end is what a power cut leaves; anything else in the log was synced.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_db_write_buffer_size(config.write_buffer_octets_max);
        options.set_max_total_wal_size(config.log_octets_max);
        options.set_max_open_files(i32::from(config.open_files_max));
        options.set_max_background_jobs(i32::from(config.background_jobs_max.max(1)));
        options.set_bytes_per_sync(TABLE_SYNC_OCTETS);
        // There is one writer: what lets many write at a time only costs it.
        options.set_allow_concurrent_memtable_write(false);
        options.set_enable_write_thread_adaptive_yield(false);
        options.set_keep_log_file_num(LOG_FILES_MAX);
        options.set_max_log_file_size(LOG_FILE_OCTETS_MAX);
        options
    }

    /// Options of a family.
    pub(super) fn family(&self, config: &RocksConfig, family: Family) -> Options {
        self.rows(config, Use::of(family))
    }

    fn rows(&self, config: &RocksConfig, used: Use) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_bloom_filter(BLOOM_BITS, false);
        // Indexes and filters count against the cache, so that memory is bounded by it.
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        let mut options = Options::default();
        options.set_write_buffer_size((config.write_buffer_octets_max / FAMILY_SHARE).max(1 << 16));
        options.set_max_write_buffer_number(BUFFERS_MAX);
        options.add_compact_on_deletion_collector_factory(
            DELETIONS_WINDOW,
            DELETIONS_MAX,
            DELETIONS_RATIO,
        );
        match used {
            Use::Rows => {
                options.set_compression_type(DBCompressionType::Lz4);
                options.set_bottommost_compression_type(DBCompressionType::Zstd);
            }
            Use::StagedChunks => options.set_compression_type(DBCompressionType::None),
            Use::ChunkIndex => {
                // Names are random octets: there is nothing to compress.
                options.set_compression_type(DBCompressionType::None);
                options.set_memtable_whole_key_filtering(true);
                options.set_memtable_prefix_bloom_ratio(INDEX_FILTER_RATIO);
                table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
                table.set_data_block_hash_ratio(HASH_RATIO);
            }
        }
        options.set_block_based_table_factory(&table);
        options
    }
}
